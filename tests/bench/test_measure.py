from __future__ import annotations

import gc

import pytest

from gossamer.bench import measure as room
from gossamer.bench.measure import Sample, interleave
from gossamer.errors import InputError


def test_a_sample_is_its_median_and_quartiles() -> None:
    found = Sample.of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert found == Sample(3.0, 2.0, 4.0, 5)
    assert Sample.of([7.0]) == Sample(7.0, 7.0, 7.0, 1)


def test_a_sample_is_noisy_if_its_quartiles_are_far_apart() -> None:
    assert Sample(1.0, 0.9, 1.11, 5).noisy
    assert not Sample(1.0, 0.95, 1.1, 5).noisy


def test_contenders_take_turns_and_each_begins_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(room, "_clock", lambda step, times: (step(), 0.1)[1])  # long calls: nothing untimed
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = interleave(steps, rounds=3, seconds=0.0)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {name: sample.count for name, sample in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_short_calls_are_repeated_and_preceded_by_an_untimed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []
    calls = 0

    def step() -> None:
        nonlocal calls
        calls += 1

    def clock(step: room.Step, count: int) -> float:
        times.append(count)
        return 1e-4

    monkeypatch.setattr(room, "_clock", clock)
    interleave({"a": step}, rounds=2, seconds=0.0)
    assert times == [1, 1, 1, 20, 20]  # 2 ms of each turn
    assert calls == 2  # before each turn


def test_there_is_a_pause_where_the_threads_change(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    steps = dict.fromkeys("abc", lambda: None)
    interleave(steps, rounds=1, seconds=0.0, apart=("b",))
    assert len(pauses) == 2
    interleave(steps, rounds=1, seconds=0.0)
    assert len(pauses) == 2


def test_rounds_go_on_until_the_time_is_spent() -> None:
    assert interleave({"a": lambda: None}, rounds=1, seconds=0.05)["a"].count > 1


def test_slow_contenders_get_fewer_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def step() -> None:
        nonlocal now
        now += 10.0

    monkeypatch.setattr("time.perf_counter", lambda: now)
    assert interleave({"a": step}, rounds=7, seconds=1.0)["a"] == Sample(10.0, 10.0, 10.0, 3)
    assert interleave({"a": step}, rounds=2, seconds=1.0)["a"].count == 2
    assert interleave({"a": step}, rounds=7, seconds=10.0)["a"].count == 7


def test_garbage_collection_is_off_during_the_measurement_and_on_again_after_an_error() -> None:
    seen: list[bool] = []
    interleave({"a": lambda: seen.append(gc.isenabled())}, rounds=1, seconds=0.0)
    assert not any(seen)
    assert gc.isenabled()

    def fails() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        interleave({"a": fails})
    assert gc.isenabled()


def test_nothing_to_measure() -> None:
    assert interleave({}, rounds=1, seconds=0.0) == {}


@pytest.mark.parametrize("arguments", [{"rounds": 0}, {"seconds": -1.0}, {"seconds": float("nan")}])
def test_impossible_effort_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError):
        interleave({"a": lambda: None}, **arguments)  # type: ignore[arg-type]
