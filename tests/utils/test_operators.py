"""Operators that do not repeat are named once, in words of our own."""

from __future__ import annotations

import warnings

import pytest
import torch

from ultralytics.utils.torch_utils import init_seeds


@pytest.fixture
def log(caplog):
    with warnings.catch_warnings():  # which puts back what `init_seeds` changes
        yield caplog
    init_seeds(0, deterministic=False)


def scatter() -> None:
    """Run an operator that torch knows no deterministic way for, on a CPU too."""
    torch.zeros(4).put_(torch.tensor([0, 1]), torch.ones(2))


def test_each_operator_is_named_once_a_training(log):
    for _ in range(2):
        log.clear()
        init_seeds(0, deterministic=True)
        for _ in range(3):
            scatter()
            warnings.warn("other_op does not have a deterministic implementation, but you set", stacklevel=1)
        texts = [record.getMessage() for record in log.records]
        assert [text.partition("operator ")[2].split()[0] for text in texts] == ["'put_'", "'other_op'"]
        assert all("deterministic=True" in text and "same seed" in text for text in texts)


def test_other_warnings_go_their_way(log):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            init_seeds(0, deterministic=True)  # twice over: still shown once
        warnings.warn("something else", stacklevel=1)
        torch.zeros(2).sum()
    assert [str(w.message) for w in seen] == ["something else"] and not log.records


def test_nothing_is_said_where_it_was_not_asked_for(log):
    init_seeds(0, deterministic=False)
    scatter()
    assert not log.records
