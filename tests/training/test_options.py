from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer import InputError
from gossamer.training import Options
from gossamer.training.options import sizes_for

OPTIONS = Options(data="digits", hidden=(30, 20), epochs=2, batch_size=32, threads=1)

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)


@settings(deadline=None, max_examples=100)
@given(
    st.builds(
        replace,
        st.just(OPTIONS),
        data=TEXTS,
        target=st.none() | TEXTS,
        hidden=st.lists(st.integers(1, 5000)).map(tuple),
        density=st.floats(0, 1, exclude_min=True),
        learning_rate=st.floats(0, 1e300, exclude_min=True),
        clip=st.none() | st.integers(1, 10),
        patience=st.none() | st.integers(1, 10),
        twin=st.booleans(),
    )
)
def test_toml_gives_back_what_was_written(options: Options) -> None:
    assert Options.from_toml(options.to_toml()) == options


def test_toml_is_what_a_reader_expects() -> None:
    assert 'data = "digits"\nhidden = [30, 20]\ndensity = 0.1\n' in OPTIONS.to_toml()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": (3, 0)}, "hidden"),
        ({"hidden": 3}, "hidden"),
        ({"density": 0.0}, r"density must be in \(0, 1\]"),
        ({"density": "0.1"}, "density must be of type float"),
        ({"density": float("nan")}, "density"),
        ({"output_density": 1.5}, "output_density"),
        ({"allocate": "evenly"}, "allocate"),
        ({"activity": "tanh"}, "activity"),
        ({"dropout": -0.1}, "dropout"),
        ({"rewire": "SETT"}, "rewire must be one of 'none', 'SET'"),
        ({"fraction": 1.0}, "fraction"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"optimizer": "lion"}, "optimizer must be one of 'adam', 'adamw', 'sgd'"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"schedule": "step"}, "schedule"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"clip": 0.0}, "clip"),
        ({"patience": 0}, "patience"),
        ({"seed": -1}, "seed"),
        ({"seeds": 0}, "seeds"),
        ({"threads": 0}, "threads"),
        ({"amp": "yes"}, "amp"),
        ({"data": "caf\udce9.csv"}, "UTF-8"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(OPTIONS, **change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden = [", "config.toml is damaged"),
        (OPTIONS.to_toml() + "colour = 3\n", "doesn't know: colour"),
        ('data = "x"\n', "config.toml is incomplete.*hidden"),
        (OPTIONS.to_toml().replace("density = 0.1", "density = 7"), "config.toml: density"),
    ],
)
def test_a_bad_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options.from_toml(text)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 10**7), st.integers(1, 10**5))
def test_sizes_suit_any_data(samples: int, features: int) -> None:
    sizes = sizes_for(samples, features)
    assert sizes["batch_size"] >= 1
    assert 1 <= sizes["epochs"] <= 100
    replace(OPTIONS, **sizes)
