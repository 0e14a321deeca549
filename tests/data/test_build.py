from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import zlib

import pytest
import torch
from processes import await_end, is_alive
from scenes import make_set, settings

from ultralytics.data import build_dataloader, build_yolo_dataset
from ultralytics.data.build import EpochBatches
from ultralytics.data.workers import LostProcess, is_stopped
from ultralytics.utils.errors import ConfigError

DATA = {"names": {0: "a", 1: "b"}}


def build(folder, mode="train", batch=4, rect=False, **overrides):
    return build_yolo_dataset(settings(imgsz=64, **overrides), str(folder), batch, DATA, mode=mode, rect=rect)


def mark(batch):
    """Return a short mark of all that is in a batch."""
    return (
        zlib.crc32(batch["img"].contiguous().numpy().tobytes()),
        zlib.crc32(batch["bboxes"].numpy().tobytes()),
        batch["batch_idx"].tolist(),
        batch["im_file"],
    )


def epochs(loader, n=2):
    return [[mark(b) for b in loader] for _ in range(n)]


@pytest.fixture
def folder(tmp_path):
    return make_set(tmp_path, 10)


@pytest.fixture(autouse=True)
def enough_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)


def test_workers_change_nothing(folder):
    seen = []
    for count in (0, 1, 2):
        loader = build_dataloader(build(folder), 4, count)
        assert loader.num_workers == count
        seen.append(epochs(loader))
        loader.close()
    assert seen[0] == seen[1] == seen[2]
    first, second = seen[0]
    assert [len(m[3]) for m in first] == [4, 4, 2] and len(loader) == 3  # the last batch is kept
    assert first != second
    for epoch in (first, second):
        assert len({f for m in epoch for f in m[3]}) == 10


@pytest.mark.parametrize("workers", [0, 2])
def test_set_epoch_resumes_anywhere(folder, workers):
    loader = build_dataloader(build(folder), 4, workers)
    seen = epochs(loader, 4)
    loader.set_epoch(2)
    assert epochs(loader, 1)[0] == seen[2]
    assert epochs(loader, 1)[0] == seen[3]
    resumed = build_dataloader(build(folder), 4, 0)
    resumed.set_epoch(3)
    assert epochs(resumed, 1)[0] == seen[3]
    loader.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_left_early_does_not_shift_the_next(folder, workers):
    whole = epochs(build_dataloader(build(folder), 4, 0), 2)
    loader = build_dataloader(build(folder), 4, workers)
    next(iter(loader))
    assert epochs(loader, 1)[0] == whole[1]
    loader.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_closing_the_mosaic_takes_effect_after_reset(folder, workers):
    dataset = build(folder)
    loader = build_dataloader(dataset, 4, workers)
    epochs(loader, 1)
    dataset.close_mosaic(settings(imgsz=64))
    loader.reset()
    after = epochs(loader, 1)[0]
    plain = build(folder)
    plain.close_mosaic(settings(imgsz=64))
    expected = build_dataloader(plain, 4, 0)
    expected.set_epoch(1)
    assert after == epochs(expected, 1)[0]
    loader.close()


def test_processes_live_on_between_epochs(folder):
    loader = build_dataloader(build(folder), 4, 2)
    epochs(loader, 1)
    before = [w.pid for w in loader._stream._workers]
    epochs(loader, 2)
    assert [w.pid for w in loader._stream._workers] == before
    loader.close()


def test_ranks_share_each_batch(folder):
    dataset = build(folder)
    alone = EpochBatches(dataset, 4).of(1)
    ranks = [EpochBatches(dataset, 2, rank=r, world=2) for r in range(2)]
    parts = [r.of(1) for r in ranks]
    for whole, a, b in zip(alone, *parts):
        assert sorted(whole) == sorted(a + b)
    assert [len(p) for p in parts] == [len(r) for r in ranks] == [3, 3]
    odd = [EpochBatches(dataset, 2, rank=r, world=3) for r in range(3)]
    assert len({sum(map(len, o.of(0))) for o in odd}) == 1  # all ranks take equally many steps
    assert {i for o in odd for batch in o.of(0) for _, i in batch} == set(range(10))


def test_rectangles_stay_together(folder):
    dataset = build(folder, mode="val", rect=True, batch=3)
    for rank in range(2):
        batches = EpochBatches(dataset, 3, shuffle=False, rank=rank, world=2)
        assert len(batches.of(0)) == len(batches) == 2
        for batch in batches.of(0):
            assert len({dataset[key]["img"].shape for key in batch}) == 1
    shuffled = EpochBatches(dataset, 3).of(0)
    assert {i for b in shuffled for _, i in b} == set(range(10))
    assert all(len({i // 3 for _, i in b}) == 1 for b in shuffled)


def test_validation_is_in_order_and_whole(folder):
    dataset = build(folder, mode="val", rect=True, batch=4)
    loader = build_dataloader(dataset, 4, 0, shuffle=False)
    for _ in range(2):
        assert [f for batch in loader for f in batch["im_file"]] == dataset.im_files


def test_the_global_generator_stays(folder):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    loader = build_dataloader(build(folder), 4, 2)
    epochs(loader, 1)
    loader.reset()
    loader.close()
    assert torch.equal(before, torch.get_rng_state())


def test_batch_is_bounded(folder):
    assert len(build_dataloader(build(folder), 64, 0)) == 1
    assert build_dataloader(build(folder), 1, 8).num_workers == 0
    assert build_dataloader(build(folder), 8, 64).num_workers == 4
    with pytest.raises(ConfigError, match="batch=0"):
        build_dataloader(build(folder), 0, 0)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads /proc")
def test_processes_ignore_the_keyboard_and_end_with_their_parent(folder, tmp_path):
    script = tmp_path / "load.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from scenes import settings
        from ultralytics.data import build_dataloader, build_yolo_dataset
        if __name__ == "__main__":
            dataset = build_yolo_dataset(settings(imgsz=64), {str(folder)!r}, 4, {DATA!r})
            loader = build_dataloader(dataset, 4, 1)
            for epochs in (1, 3):  # the later ones are more than is read ahead
                for _ in range(epochs):
                    list(loader)
                print("PIDS", *[w.pid for w in loader._stream._workers], flush=True)
                sys.stdin.readline()
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stdout if line.startswith("PIDS"))
        (pid,) = map(int, line.split()[1:])
        os.kill(pid, signal.SIGINT)
        process.stdin.write("\n")
        process.stdin.flush()
        assert next(line for line in process.stdout if line.startswith("PIDS")) == line  # it works on
        assert is_alive(pid)
    finally:
        process.kill()
        process.wait()
    await_end([pid])


# Processes that are lost ----------------------------------------------------------------------------------------------


def strike(loader, number):
    """Send a signal to the first process of a loader, and see that it has arrived."""
    worker = loader._stream._workers[0]
    os.kill(worker.pid, number)
    until = time.time() + 20
    while time.time() < until and not (is_stopped(worker) or not worker.is_alive()):
        time.sleep(0.01)
    return worker


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
@pytest.mark.parametrize("after", [1, 3])  # batches: within an epoch, and at its end, when the next is loaded ahead
def test_a_lost_process_changes_nothing(folder, impatient, log, number, after):
    loader = build_dataloader(build(folder), 4, 0)
    wanted = [b for epoch in epochs(loader, 3) for b in epoch]
    loader = build_dataloader(build(folder), 4, 2)
    seen, lost = [], None
    for _ in range(3):
        for batch in loader:
            seen.append(mark(batch))
            if len(seen) == after:
                lost = strike(loader, number)
    loader.close()
    assert seen == wanted and not lost.is_alive()
    said = "was stopped for" if number == signal.SIGSTOP else f"was ended by {signal.Signals(number).name}"
    assert [line for line in log if f"Loader process {lost.pid} {said}" in line and "nothing is lost" in line]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads /proc")
def test_processes_that_are_lost_again_and_again_end_the_loading(folder, impatient, log):
    loader = build_dataloader(build(folder), 4, 2)
    loader.collate_fn = end_this_process
    with pytest.raises(LostProcess, match=r"Loader process \d+ ended with exit code 3\..*the 3\. loss.*workers=1"):
        next(iter(loader))
    loader.close()
    assert sum("nothing is lost" in line for line in log) == 2


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads /proc")
def test_a_stopped_process_does_not_hold_up_the_end(folder, impatient):
    loader = build_dataloader(build(folder), 4, 2)
    next(iter(loader))
    lost = strike(loader, signal.SIGSTOP)
    others = loader._stream._workers
    loader.close()
    assert not lost.is_alive() and not any(w.is_alive() for w in others)


def test_mistakes_of_a_data_set_are_no_losses(folder):
    loader = build_dataloader(build(folder), 4, 1)
    loader.collate_fn = raise_mistake
    with pytest.raises(KeyError, match="a mistake"):
        next(iter(loader))
    loader.close()


def end_this_process(samples):
    os._exit(3)


def raise_mistake(samples):
    raise KeyError("a mistake")
