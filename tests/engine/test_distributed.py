"""Training in two processes on the CPU, launched by hand and by the `device` setting."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import FAST, tiny_model
from torch import distributed as dist

from ultralytics.cli import main
from ultralytics.engine.training import distributed
from ultralytics.engine.training.distributed import Peers
from ultralytics.engine.training.launch import _first
from ultralytics.utils.errors import ConfigError, RunError

SAME = {"imgsz": 128, "mosaic": 0.0, "optimizer": "SGD", "epochs": 1, "val": False, "project": "runs", "workers": 0}
EPOCHS = 4000  # never reached
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def words(**settings) -> list[str]:
    return ["detect", "train", *(f"{k}={v}" for k, v in settings.items())]


def launch(command: list[str]) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    try:
        out, err = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def row(folder: Path) -> dict[str, float]:
    """Return the only row of a run's results.csv."""
    with open(folder / "results.csv", encoding="utf-8") as f:
        (only,) = csv.DictReader(f)
    return {k.strip(): float(v) for k, v in only.items()}


def test_two_processes_train_like_one(work_dir: Path, tiny_data: Path):
    """The same images meet the same weights; only the batch norms see halves of a batch."""
    args = {**FAST, **SAME, "model": tiny_model(work_dir), "data": tiny_data}
    assert main(words(**args, name="one")) == 0
    done = launch([*TORCHRUN, "-m", "ultralytics", *words(**args, name="two")])
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = row(work_dir / "runs/one"), row(work_dir / "runs/two")
    assert one.keys() == two.keys()
    total = [sum(v for k, v in r.items() if k.startswith("train/")) for r in (one, two)]
    assert total[1] == pytest.approx(total[0], rel=0.02)
    assert [r["lr/pg1"] for r in (one, two)] == pytest.approx([one["lr/pg1"]] * 2)
    assert {f.name for f in (work_dir / "runs").iterdir()} == {"one", "two"}  # rank 1 writes no folder of its own
    ckpt = torch.load(work_dir / "runs/two/weights/best.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in ckpt["model"])
    assert done.stdout.count("Training for 1 epochs") == 1


SCRIPT = """
import sys
from own import Own
from ultralytics import YOLO

if __name__ == "__main__":
    model = YOLO("tiny.yaml")
    model.load("start.pt")
    model.train(trainer=Own, data=sys.argv[1], device="cpu,cpu", epochs=1, imgsz=64, batch=4, workers=0, plots=False,
                val=False, project="runs", name="a", optimizer="SGD", lr0=1e-9, warmup_epochs=0.0)
    print("HELD", model.ckpt_path)
"""
OWN = """
import os
from ultralytics.models.yolo.detect import DetectionTrainer

class Own(DetectionTrainer):
    def get_dataloader(self, *args, **kwargs):
        if os.getenv("RANK") == os.getenv("FAILING_RANK", "none"):
            raise RuntimeError("out of luck")
        return super().get_dataloader(*args, **kwargs)
"""


@pytest.mark.slow
def test_launched_from_python(work_dir: Path, tiny_data: Path):
    """`device='cpu,cpu'` starts two processes with a trainer of one's own and with the weights that were loaded."""
    from ultralytics import YOLO

    torch.manual_seed(3)
    YOLO(tiny_model(work_dir)).save("start.pt")
    Path("own.py").write_text(OWN)
    Path("script.py").write_text(SCRIPT)
    done = launch([sys.executable, "script.py", str(tiny_data)])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "HELD" in done.stdout and "best.pt" in done.stdout
    start, end = (torch.load(f, weights_only=True)["model"] for f in ("start.pt", "runs/a/weights/best.pt"))
    torch.testing.assert_close(end["model.0.conv.weight"].float(), start["model.0.conv.weight"], rtol=1e-3, atol=1e-3)
    assert [f.name for f in Path("runs").iterdir()] == ["a"]


@pytest.mark.slow  # test_lost_processes.py has the quick ones of this kind
def test_a_failing_process_ends_the_run(work_dir: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch):
    tiny_model(work_dir)
    from ultralytics import YOLO

    YOLO("tiny.yaml").save("start.pt")
    Path("own.py").write_text(OWN)
    Path("script.py").write_text(SCRIPT)
    monkeypatch.setenv("FAILING_RANK", "1")
    done = launch([sys.executable, "script.py", str(tiny_data)])
    assert done.returncode != 0
    assert "out of luck" in done.stderr and "Training in 2 processes failed with exit code 1" in done.stderr
    assert not Path("runs/a/weights/last.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["device", "torchrun"])
def test_ctrl_c_and_resume(work_dir: Path, tiny_data: Path, by: str):
    """The terminal sends Ctrl-C to all processes, and launchers pass it on; the run goes on with as many as before."""
    args = {**FAST, **SAME, "model": tiny_model(work_dir), "data": tiny_data, "epochs": EPOCHS, "name": "a"}
    command = {
        "device": [sys.executable, "-m", "ultralytics", *words(**{**args, "device": "cpu,cpu"})],
        "torchrun": [*TORCHRUN, "-m", "ultralytics", *words(**args)],
    }[by]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    last = work_dir / "runs/a/weights/last.pt"
    with Path("log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=log)
        while not last.with_name("previous.pt").exists() and process.poll() is None:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait()
    said = Path("log.txt").read_text()
    assert said.count(f"yolo train resume model={last.relative_to(work_dir)}") == 1, said
    ckpt = torch.load(last, weights_only=True)
    assert len(ckpt["ranks"]) == 2 and ckpt["epoch"] < EPOCHS - 1
    if by == "device":  # torchrun has words and an exit code of its own
        assert code == 130 and "Traceback" not in said, said
    done = launch(
        [sys.executable, "-m", "ultralytics", "train", "resume", f"model={last}", f"epochs={ckpt['epoch'] + 2}"]
    )
    assert done.returncode == 0, done.stderr
    assert "Launching 2 processes on devices cpu, cpu" in done.stdout and "The run began with" not in done.stdout


# Without processes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[Peers]:
    """Two ranks that send a heartbeat 100 times a second, and may be silent for 0.3 seconds."""
    monkeypatch.setattr(distributed, "HEARTBEAT", 0.01)
    store = dist.HashStore()
    return [Peers(store, rank, 2, 0.3) for rank in range(2)]


def test_a_rank_that_works_alone_is_waited_for(two: list[Peers]):
    with two[0], two[1], ThreadPoolExecutor() as pool:
        for first, second in (two, two[::-1]):
            waiting = pool.submit(first.barrier)
            time.sleep(1.0)
            assert not waiting.done()
            second.barrier()
            waiting.result()


def test_a_rank_without_a_sign_of_life_is_lost(two: list[Peers]):
    with two[1]:
        pass  # it was here
    with two[0], pytest.raises(RunError, match=r"Rank 1 has sent no heartbeat for 0.3 s \(ddp_timeout\)"):
        two[0].barrier()


WORDS = {"message": "RuntimeError: out of luck"}


@pytest.mark.parametrize(
    ("rank_0", "rank_1", "first"),
    [
        ((1, 100, WORDS), (-signal.SIGKILL, 101, ""), 1),  # rank 0 has noticed that its connection broke
        ((1, 100, WORDS), (-signal.SIGKILL, 130, ""), 0),  # rank 1 hung, and the agent ended it in the end
        ((-signal.SIGTERM, 100, ""), (1, 100, WORDS), 1),  # the agent ended rank 0
        ((1, 100, ""), (1, 100, WORDS), 1),  # rank 0 has followed by itself
    ],
)
def test_of_failures_the_cause_is_told(rank_0: tuple, rank_1: tuple, first: int):
    keys = ("exitcode", "timestamp", "message")
    failures = {rank: SimpleNamespace(**dict(zip(keys, values))) for rank, values in enumerate((rank_0, rank_1))}
    assert _first(failures) == (first, failures[first])


def test_of_ranks_that_fail_the_first_is_known(two: list[Peers]):
    assert [two[1].first_failed(), two[0].first_failed()] == [1, 1]


@pytest.mark.parametrize(
    ("device", "ranks"),
    [
        (None, []), ("cpu", []), (0, []), ("0,", []), ([0], []), ("0,1", ["0", "1"]), ([2, 3], ["2", "3"]),
        ("cuda:0,cuda:1", ["0", "1"]), ("(0, 1)", ["0", "1"]), ("cpu,cpu", ["cpu", "cpu"]),
    ],
)  # fmt: skip
def test_devices_that_need_a_process_each(device: object, ranks: list[str]):
    assert distributed.parse_ranks(device) == ranks


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="both GPUs are here")
def test_gpus_that_are_not_here(work_dir: Path, tiny_data: Path, capsys: pytest.CaptureFixture):
    args = {**FAST, **SAME, "model": tiny_model(work_dir), "data": tiny_data, "device": "0,1"}
    assert main(words(**args)) == 2
    error = capsys.readouterr().err
    assert "names GPU 1" in error and "device=cpu" in error and "Traceback" not in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(("batch", "fits"), [(3, 2), (1, 2), (-1, 16)])
def test_a_batch_that_cannot_be_shared(batch: int, fits: int):
    distributed.check_batch(4, 2)
    distributed.check_batch(batch, 1)
    with pytest.raises(ConfigError, match=f"batch={batch} cannot be shared by 2 processes.*such as batch={fits}"):
        distributed.check_batch(batch, 2)
