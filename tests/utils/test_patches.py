"""Saving tensors where a disk or network share refuses a write."""

from __future__ import annotations

import pytest
import torch

from ultralytics.utils import patches


@pytest.mark.parametrize("refusals", [0, 2, 4])
def test_torch_save_tries_a_refused_write_again(tmp_path, monkeypatch, refusals):
    pauses, attempts, file = [], [], tmp_path / "a.pt"
    patches.torch_save({"x": 1}, file)

    def save(content, f):
        attempts.append(f)
        f.write(b"half a file")
        if len(attempts) <= refusals:
            raise RuntimeError("no space left")
        f.seek(0)
        torch.save(content, f)

    monkeypatch.setattr(patches, "_torch_save", save)
    monkeypatch.setattr(patches.time, "sleep", pauses.append)
    if refusals == 4:
        with pytest.raises(RuntimeError, match="no space left"):
            patches.torch_save({"x": 2}, file)
    else:
        patches.torch_save({"x": 2}, file)
    assert pauses == [0.5, 1.0, 2.0][:refusals]
    assert patches.torch_load(file) == {"x": 1 if refusals == 4 else 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
