from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer import InputError, SparseLinear
from gossamer.connectivity import FeatureMajorLinear
from gossamer.connectivity.allocate import Allocation
from gossamer.runs import Options
from gossamer.training.architecture import build
from gossamer.training.recipe import completed, sizes_for

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
        max_grad_norm=st.none() | st.integers(1, 10),
        patience=st.none() | st.integers(1, 10),
        twin=st.booleans(),
    )
)
def test_toml_gives_back_what_was_written(options: Options) -> None:
    assert Options.from_toml(options.to_toml()) == options


@given(st.floats(0, 1e9, exclude_min=True) | st.integers(1, 1000))
def test_toml_keeps_epsilon_and_says_no_density_beside_it(epsilon: float) -> None:
    options = replace(OPTIONS, density=None, epsilon=epsilon)
    assert Options.from_toml(options.to_toml()) == options
    assert "density" not in options.to_toml()


def test_toml_is_what_a_reader_expects() -> None:
    assert 'data = "digits"\nmodel = "mlp"\nhidden = [30, 20]\ndensity = 0.1\n' in OPTIONS.to_toml()


@pytest.mark.parametrize("allocate", ["er", "erk"])
def test_epsilon_says_how_many_connections_each_hidden_layer_has(allocate: Allocation) -> None:
    options = replace(OPTIONS, density=None, epsilon=2.0, allocate=allocate)
    network = build(options, 64, 10, sparse=True, seed=0)
    counts = [layer.nnz for layer in network.children() if isinstance(layer, SparseLinear)]
    assert counts == [2 * (64 + 30), 2 * (30 + 20)]
    assert options.density_for(64) == sum(counts) / (64 * 30 + 30 * 20)
    assert not any(isinstance(m, SparseLinear) for m in build(options, 64, 10, sparse=False, seed=0).modules())
    small = build(replace(options, epsilon=15.0), 64, 10, sparse=True, seed=0)  # 15 · (30 + 20) > 30 · 20: dense
    assert [type(small.linear1), type(small.linear2)] == [SparseLinear, FeatureMajorLinear]
    assert replace(options, hidden=()).density_for(64) == 1
    assert replace(OPTIONS, density=0.3).density_for(64) == 0.3


def test_what_is_not_said_is_chosen_by_the_data_and_by_what_is() -> None:
    said = {"hidden": None, "density": None, "epsilon": 3.0, "optimizer": "sgd", "rewire": "ctre", "batch_size": 7}
    assert completed(said, 100_000, 50) == {
        "hidden": (1000, 1000),
        "epsilon": 3.0,
        "epochs": 10,
        "batch_size": 7,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "rewire": "CTRE",
        "fraction": 0.2,
    }
    own = {"hidden": (5,), "epochs": 2, "batch_size": 8, "learning_rate": 0.5, "fraction": 0.9, "rewire": "SET"}
    assert completed(own | {"optimizer": "sgd"}, 100, 5) == own | {"optimizer": "sgd"}
    assert completed({}, 100, 5) == sizes_for(100, 5)
    assert completed({"rewire": "sett"}, 100, 5)["rewire"] == "sett"  # the recipe refuses it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": (3, 0)}, "hidden"),
        ({"hidden": 3}, "hidden"),
        ({"density": 0.0}, r"density must be in \(0, 1\]"),
        ({"density": "0.1"}, "density must be of type float"),
        ({"density": float("nan")}, "density"),
        ({"epsilon": 2.0}, "give one of them, got density = 0.1 and epsilon = 2.0"),
        ({"density": None, "epsilon": 0.0}, "epsilon must be a finite number above 0, got 0.0"),
        ({"density": None, "epsilon": float("nan")}, "epsilon must be a finite number above 0"),
        ({"density": None, "epsilon": float("inf")}, "epsilon must be a finite number above 0"),
        ({"density": None, "epsilon": "20"}, "epsilon must be of type float"),
        ({"density": None, "epsilon": 2.0, "allocate": "uniform"}, "allocate must be 'er' or 'erk' where epsilon"),
        ({"output_density": 1.5}, "output_density"),
        ({"allocate": "evenly"}, "allocate"),
        ({"activation": "tanh"}, "activation"),
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
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
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
        (OPTIONS.to_toml() + "epsilon = 2\n", "config.toml: density and epsilon"),
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
