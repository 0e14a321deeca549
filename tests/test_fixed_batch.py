"""Scripts written for 8.3.0 that bring their own IoU, assigner, optimizer, dataset or validator: 8.3.0's losses."""

from __future__ import annotations

import json
from pathlib import Path

import fixed_batch
import numpy as np
import pytest

FIGURES = json.loads((Path(__file__).parent / "reference" / "fixed_batch.json").read_text())
SLOW = {"iou", "assigner", "dataset"}  # seconds each; test_loss_overrides and test_custom_datasets look at their parts
STOCK = np.array(FIGURES["validator"]["steps"])  # its training is the stock one


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in fixed_batch.SCRIPTS])
def test_losses_are_those_of_8_3_0(name, tmp_path):
    found, wanted = fixed_batch.figures(name, tmp_path), FIGURES[name]
    np.testing.assert_allclose(found["steps"][0], wanted["steps"][0], rtol=1e-4)
    # Rounding grows from step to step: another order of the same images alone makes 6e-5 by the third.
    np.testing.assert_allclose(found["steps"], wanted["steps"], rtol=1e-3)
    np.testing.assert_allclose(found["vals"], wanted["vals"], rtol=1e-3)
    if name != "validator":
        assert not np.allclose(wanted["steps"][1:], STOCK[1:], rtol=2e-3), "the script has an effect"
