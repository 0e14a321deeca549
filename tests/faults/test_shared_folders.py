"""Runs that start at once: each has a run folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import FAST, tiny_model

from ultralytics import YOLO

AT_ONCE = 4
# One process imports everything; those that it forks begin in the same moment, far closer than commands would.
JOBS = """
import json, os, sys, time, traceback
from pathlib import Path
from ultralytics import YOLO
from ultralytics.lab.compare import command

mode, data, trials, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
fast = dict(imgsz=32, batch=4, workers=0, plots=False, project="runs", name="x")
quiet = dict(device="cpu", verbose=False)

def train(model):
    model.train(data=data, epochs=1, val=False, **fast, **quiet)
    return model.trainer.last

def val(model):
    return model.val(data=data, **fast, **quiet, save_json=True, conf=0.0, max_det=5).save_dir / "predictions.json"

def predict(model):
    source = Path(data).parent / "images" / "val" / "val_0.jpg"
    return Path(model.predict(source, save=True, **fast, **quiet)[0].save_dir) / "val_0.jpg"

def compare(model):
    def work(plan, conditions):  # of hours; here until all have begun
        folder = plan.folder
        (folder / "proof").write_text("")
        end = time.time() + 60
        while len(list(Path("runs").glob("x*/proof"))) < count and time.time() < end:
            time.sleep(0.01)
        found.append(folder / "proof")
    found, command.carry_out = [], work
    command.compare(["tiny.yaml"], seeds=1, runtimes=(), data=data, epochs=1, device="cpu", **fast)
    return found[0]

for trial in range(trials):
    start, children, log = time.time() + 0.3, [], os.open("log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for k in range(count):
        if child := os.fork():
            children.append(child)
            continue
        os.dup2(log, 1), os.dup2(log, 2)
        try:
            model = YOLO("tiny.yaml" if mode in ("train", "compare") else "m.pt")
            while time.time() < start:
                pass
            proof = globals()[mode](model)
            Path(f"said{trial}-{k}.json").write_text(json.dumps(str(proof)))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    if mode == "compare":  # which would go on in the folders of the trial before
        os.rename("runs", f"runs{trial}")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("mode", ["train", "val", "predict", "compare"])
def test_runs_that_start_at_once_have_folders_of_their_own(work_dir: Path, tiny_data_copy: Path, mode: str):
    """`TRIALS=20` in the environment repeats it as often."""
    trials = int(os.getenv("TRIALS", "3"))
    YOLO(tiny_model(work_dir)).save("m.pt")
    YOLO("m.pt").val(data=str(tiny_data_copy), **FAST)  # writes the caches
    command = [sys.executable, "-c", JOBS, mode, str(tiny_data_copy), str(trials), str(AT_ONCE)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    proofs = [json.loads(f.read_text()) for f in work_dir.glob("said*.json")]
    assert len(proofs) == trials * AT_ONCE, Path("log.txt").read_text()[-4000:]
    by_trial = [{json.loads(f.read_text()) for f in work_dir.glob(f"said{t}-*.json")} for t in range(trials)]
    assert [len(found) for found in by_trial] == [AT_ONCE] * trials
    if mode != "compare":
        assert len({*proofs}) == trials * AT_ONCE and all(Path(proof).is_file() for proof in proofs)
        assert len([*Path("runs").iterdir()]) == trials * AT_ONCE
