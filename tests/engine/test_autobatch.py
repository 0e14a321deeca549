"""The batch that fills a GPU's memory: what its trials run, for every task, with the memory of a GPU made up."""

from __future__ import annotations

import pytest
import torch
import zoo

from ultralytics.cfg import get_cfg
from ultralytics.engine.training.autobatch import auto_batch, fitting_batch, trial_batch

MODELS = ["yolo11n", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb", "yolo11n-cls"]
GB = 2**30


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A GPU of 10 GB, 1 GB of it taken, in which an image needs half a GB beside 1 GB; the batches that were tried."""
    tried: list[int] = []
    original = trial_batch

    def trial(model, n, imgsz, device):
        tried.append(n)
        if n > 8:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return original(model, n, imgsz, device)

    monkeypatch.setattr("ultralytics.engine.training.autobatch.trial_batch", trial)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9 * GB, 10 * GB))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GB)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2 * GB + tried[-1] * GB // 2)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return tried


@pytest.mark.parametrize("name", MODELS)
def test_a_trial_is_a_step_of_the_task(name: str, gpu: list[int]):
    model = zoo.build(name)
    model.args = get_cfg()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    batch = fitting_batch(model, 32, 0.72, False, torch.device("cpu"))
    assert gpu == [1, 2, 4, 8, 16]  # the last was too many
    assert batch == 10  # (7.2 GB - 1 GB taken - 1 GB at least) / 0.5 GB
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items()) and model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("overlap_mask", [True, False])
def test_masks_are_those_of_the_settings(overlap_mask: bool):
    model = zoo.build("yolo11n-seg")
    model.args = get_cfg(overrides={"overlap_mask": overlap_mask, "mask_ratio": 2})
    batch = trial_batch(model, 3, 64, torch.device("cpu"))
    assert batch["masks"].shape == (3 if overlap_mask else len(batch["cls"]), 32, 32)
    loss, items = model(batch)
    assert torch.isfinite(loss) and items[1] > 0  # masks are learnt from


def test_on_a_cpu_there_is_nothing_to_fill(log: list[str]):
    assert auto_batch(torch.nn.Linear(1, 1), 64, 0.7) == 16
    assert any("batch=16 is used" in line for line in log)
