from __future__ import annotations

import pytest

from gossamer import InputError
from gossamer.plasticity import schedule
from gossamer.plasticity.schedule import fraction_at


def test_values() -> None:
    assert [schedule.constant(0.3)(t) for t in (0, 5)] == [0.3, 0.3]
    assert [schedule.cosine(0.4, 4)(t) for t in (0, 2, 4, 9)] == pytest.approx([0.4, 0.2, 0.0, 0.0])
    assert [schedule.cubic(0.0, 2, end=0.8)(t) for t in (0, 1, 2, 3)] == pytest.approx([0.0, 0.7, 0.8, 0.8])


def test_fraction_at_takes_numbers_and_functions() -> None:
    assert fraction_at(0.2, 7) == 0.2
    assert fraction_at(lambda step: step / 10, 7) == 0.7
    with pytest.raises(InputError, match=r"fraction must be in \[0, 1\], got 1.2"):
        fraction_at(lambda step: step / 10, 12)


def test_refuses_what_is_no_fraction() -> None:
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"in \[0, 1\]"):
            schedule.constant(value)
        with pytest.raises(InputError, match=r"in \[0, 1\]"):
            schedule.cosine(value, 3)
    with pytest.raises(InputError, match="steps"):
        schedule.cubic(0.3, 0)
