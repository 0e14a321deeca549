"""The watch over the processes of a training: who waits, who hangs, who is lost. No process is started here."""

from __future__ import annotations

import pytest
from torch import distributed as dist

from ultralytics.engine.training import watchdog
from ultralytics.engine.training.watchdog import BEGIN, END, FIRST, Watchdog
from ultralytics.utils.errors import ConfigError

LIMIT = 30.0


@pytest.fixture
def two() -> list[Watchdog]:
    """Two processes that have begun to train and were a while at it."""
    store = dist.HashStore()
    watches = [Watchdog(store, rank, 2, LIMIT) for rank in range(2)]
    for watch in watches:
        watch.beat(BEGIN)
        for _ in range(3):
            batch(watch)
    assert not any(pass_time(watches, 3))
    return watches


def batch(watch: Watchdog) -> None:
    watch.beat("batch")
    with watch.meeting():
        pass


def pass_time(watches: list[Watchdog], seconds: int, mute: tuple[Watchdog, ...] = ()) -> list:
    """Let seconds pass, in which the muted ones do nothing; return the first verdicts of all."""
    verdicts = dict.fromkeys(watches)
    for _ in range(seconds):
        for watch in watches:
            if watch not in mute:
                watch.store.set(str(watch.rank), watch._report())
        for watch in watches:
            if watch not in mute:
                watch.exchange()
                verdicts[watch] = verdicts[watch] or watch.judge(1.0)
    return list(verdicts.values())


def test_who_trains_is_left_alone(two):
    for _ in range(100):
        for watch in two:
            batch(watch)
        assert pass_time(two, 5) == [None, None]


def test_the_one_that_is_behind_hangs_and_the_other_waits(two):
    for watch in two:
        watch.beat("batch")
    waiting = two[0].meeting()
    waiting.__enter__()
    assert pass_time(two, 25) == [None, None]
    verdicts = pass_time(two, 300)
    assert verdicts[0] is None and verdicts[1].stack and verdicts[1].words.startswith("Rank 1 hangs")


def test_waiting_for_a_long_validation_is_no_hang(two):
    with two[1].meeting():
        for _ in range(200):
            two[0].beat("validation batch")
            assert pass_time(two, 20) == [None, None]
        with two[0].meeting():
            assert pass_time(two, 3) == [None, None]  # hours of waiting do not count now


def test_what_comes_for_the_first_time_may_take_long(two):
    for watch in two:
        watch.beat("metrics")
    assert pass_time(two, int(FIRST) - 5) == [None, None]
    assert all(pass_time(two, 10))


def test_what_took_long_before_may_take_long_again(two):
    for watch in two:
        watch.slowest["metrics"] = 5.0
        watch.beat("metrics")
    assert pass_time(two, 95) == [None, None]
    assert all(pass_time(two, 10))


def test_what_a_kind_of_step_took_is_remembered(two, monkeypatch: pytest.MonkeyPatch):
    now = [1000.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])
    two[0].beat("metrics")
    pass_time(two, 7)
    now[0] += 7.5
    two[0].beat("next")
    assert two[0].slowest["metrics"] == 7.5
    now[0] += 3600  # in which the process did not run, and neither did its watch
    two[0].beat("metrics")
    assert two[0].slowest["next"] < 10


def test_before_and_after_training_nothing_is_a_hang(two):
    for watch in two:
        watch.beat(END)
    assert pass_time(two, 3000) == [None, None]
    assert pass_time([Watchdog(dist.HashStore(), 0, 1, LIMIT)], 3000) == [None]


def test_a_process_that_says_nothing_is_lost(two):
    with two[0].meeting():
        assert pass_time(two, 29, mute=(two[1],)) == [None, None]
        verdict, _ = pass_time(two, 3, mute=(two[1],))
    assert verdict.rank == 1 and "Rank 1 (process" in verdict.words and "no sign of life" in verdict.words


def test_a_process_that_has_left_is_not_lost(two):
    two[0].beat(END)
    two[1].store.set("1", two[1]._report(gone=True))
    assert pass_time(two, 300, mute=(two[1],)) == [None, None]


def test_a_process_that_leaves_the_others_in_training_is_the_cause(two):
    two[1].store.set("1", two[1]._report(gone=True))
    with two[0].meeting():
        verdict, _ = pass_time(two, 300, mute=(two[1],))
    assert verdict.words == "Rank 1 has left the training."


def test_the_first_that_fails_is_the_cause(two):
    assert [two[1].claim(), two[0].claim()] == [1, 1]
    assert watchdog.first_failed(two[0].store, 0) == 0  # that is another part of the store
    verdicts = pass_time(two, 10)
    assert verdicts[0].rank == 1 and verdicts[1] is None


def test_a_store_that_is_lost_ends_the_process(two):
    two[0]._lost = "Connection reset by peer"
    assert "Connection reset by peer" in two[0].judge(1.0).words
    assert not [v for _ in range(29) if (v := two[1].judge(1.0))]  # it does not answer
    words = next(filter(None, (two[1].judge(1.0) for _ in range(3)))).words
    assert "not answered for 3" in words


def test_a_limit_that_is_no_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("YOLO_HANG_SECONDS", "soon")
    with pytest.raises(ConfigError, match="YOLO_HANG_SECONDS=soon is no number"):
        watchdog.start(0, 2)
    monkeypatch.setenv("YOLO_HANG_SECONDS", "0")
    assert watchdog.start(0, 2) is None
