"""Prediction in one call against the network itself: the same outputs, whatever the stack, and whatever changes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import gossamer as gs
from gossamer.activation import AllReLU, Hoyer, Sparseout, SReLU, TopK
from gossamer.connectivity import FeatureMajorLinear, Pattern, SparseLinear, SparseLinearReLU
from gossamer.models.noise import Dropout, GaussianNoise

pytestmark = pytest.mark.skipif(not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="PyTorch 2.10 or newer")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def dense(kind: type[nn.Linear], inputs: int, outputs: int, chance: torch.Generator, bias: bool = True) -> nn.Linear:
    layer = kind(inputs, outputs, bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.5, 0.5, generator=chance)
    return layer


def activation(name: str, units: int, chance: torch.Generator) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "leaky": lambda: nn.LeakyReLU(0.1),
        "allrelu": lambda: AllReLU(0.6, 1),
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "identity": nn.Identity,
        "srelu": lambda: SReLU(units, generator=chance),
        "hoyer": lambda: Hoyer(0.8, norm=1.5),
        "little hoyer": lambda: Hoyer(1e-6),
        "signed hoyer": lambda: Hoyer(0.6, signed=True),
        "topk": lambda: TopK(max(1, units // 10)),
        "signed topk": lambda: TopK(max(1, units // 3), signed=True),
        "dropout": lambda: nn.Dropout(0.5),
        "own dropout": lambda: Dropout(1.0),
        "noise": lambda: GaussianNoise(1.0),
        "sparseout": lambda: Sparseout(0.5, 1.0),
    }
    return kinds[name]()


NAMES = ["relu", "leaky", "allrelu", "sigmoid", "tanh", "identity", "srelu", "hoyer", "signed hoyer", "topk"]
NAMES += ["signed topk", "dropout", "own dropout", "noise", "sparseout", "little hoyer"]


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, int]:
    """A stack with a sparse layer at least, and its number of inputs."""
    chance = generator(draw(st.integers(0, 99)))
    sizes = draw(st.lists(st.sampled_from([2, 5, 16, 33, 100, 300]), min_size=2, max_size=4))
    kinds = [draw(st.sampled_from(["sparse", "sparse relu", "dense", "feature-major"])) for _ in sizes[1:]]
    kinds[draw(st.integers(0, len(kinds) - 1))] = "sparse"
    layers: list[nn.Module] = [activation(draw(st.sampled_from(NAMES)), sizes[0], chance)]
    for kind, inputs, outputs in zip(kinds, sizes, sizes[1:], strict=False):
        bias = draw(st.booleans())
        if kind in ("sparse", "sparse relu"):
            sparse = SparseLinear if kind == "sparse" else SparseLinearReLU
            layers.append(sparse(inputs, outputs, 0.4, bias=bias, generator=chance))
        else:
            layers.append(dense(nn.Linear if kind == "dense" else FeatureMajorLinear, inputs, outputs, chance, bias))
        layers += [activation(draw(st.sampled_from(NAMES)), outputs, chance) for _ in range(draw(st.integers(0, 2)))]
    return nn.Sequential(*layers), sizes[0]


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda x: x,
    "columns": lambda x: x.t().contiguous().t(),
    "every second": lambda x: x.repeat_interleave(2, 0).repeat_interleave(2, 1)[::2, ::2],
    "padded rows": lambda x: nn.functional.pad(x, (1, 2))[:, 1:-2],
    "padded columns": lambda x: nn.functional.pad(x, (0, 0, 1, 2)).t().contiguous().t()[1:-2],
    "one row": lambda x: x[:1].expand(x.shape),
}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    made=networks(),
    batch=st.sampled_from([1, 2, 3, 4, 7, 16, 31, 65, 150]),
    layout=st.sampled_from(list(LAYOUTS)),
    training=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
def test_any_stack_predicts_as_the_network_does(
    made: tuple[nn.Sequential, int], batch: int, layout: str, training: bool, threads: int
) -> None:
    network, inputs = made
    network.double().eval()
    x = LAYOUTS[layout](numbers(batch, inputs, dtype=torch.float64))
    with torch.no_grad():
        expected = network(x)
    network.train(training)
    predict, before = gs.Predictor(network), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        outputs = predict(x)
    finally:
        torch.set_num_threads(before)
    assert predict.fallback is None
    assert outputs.is_contiguous()
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max() + 1))
    assert all(module.training == training for module in network.modules())


def net(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    chance = generator(seed)
    layers = SparseLinear(12, 30, 0.3, generator=chance), nn.ReLU(), Dropout(0.2)
    return nn.Sequential(*layers, SparseLinear(30, 40, 0.5, generator=chance), dense(nn.Linear, 40, 4, chance)).to(
        dtype
    )


def check(predict: gs.Predictor, x: Tensor, fallback: str | None = None) -> None:
    network = predict.network
    outputs = predict(x)
    assert predict.fallback == fallback
    with torch.no_grad():
        torch.testing.assert_close(outputs, copy.deepcopy(network).eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 5, 100, 700])
@pytest.mark.parametrize("activation", ["relu", "hoyer:0.8", "topk:40", "srelu"])
def test_wide_layers_in_single_precision(batch: int, activation: str) -> None:
    made = gs.models.MLP(64, (400, 300), 10, density=0.1, activation=activation, generator=generator(0))
    predict = gs.Predictor(made.eval())
    x = numbers(batch, 64)
    with torch.inference_mode():
        torch.testing.assert_close(predict(x), made(x), rtol=1e-3, atol=1e-4)
    assert predict.fallback is None


def test_rows_of_a_batch_do_not_mix() -> None:
    predict = gs.Predictor(gs.models.MLP(9, (50,), 3, density=0.3, activation="topk:5", generator=generator(0)))
    x = numbers(300, 9)
    x[17] = torch.nan
    outputs = predict(x)
    assert outputs[17].isnan().all()
    torch.testing.assert_close(outputs[torch.arange(300) != 17], predict(x[torch.arange(300) != 17]))
    torch.testing.assert_close(outputs[[3]], predict(x[3:4]))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "numbers": lambda n: n[0].weight_values.data.mul_(2),
    "other memory": lambda n: setattr(n[0].weight_values, "data", n[0].weight_values.data * 2),
    "another parameter": lambda n: setattr(n[3], "bias", nn.Parameter(numbers(40))),
    "no bias": lambda n: setattr(n[3], "bias", None),
    "a pattern": lambda n: n[0].set_pattern(Pattern.erdos_renyi(30, 12, 0.3, generator(7)), numbers(108)),
    "a pattern of another length": lambda n: n[0].set_pattern(
        Pattern.erdos_renyi(30, 12, 0.5, generator(7)), numbers(180)
    ),
    "a layer": lambda n: n.__setitem__(1, nn.Tanh()),
    "another layer": lambda n: n.append(nn.Sigmoid()),
    "an argument": lambda n: setattr(n[2], "p", 0.5),
    "a mode": lambda n: n.train(),
    "a type": lambda n: setattr(n[0], "__class__", SparseLinearReLU),
    "a dtype": lambda n: n.double().float(),
    "loaded weights": lambda n: n.load_state_dict(net(5).state_dict()),
    "rewiring": lambda n: rewire(n),
}


def rewire(network: nn.Sequential) -> None:
    gs.Rewire(network, torch.optim.SGD(network.parameters(), 0.1)).step()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("batch", [1, 20])
def test_no_output_is_stale(change: str, batch: int) -> None:
    network, x = net().eval(), numbers(batch, 12)
    predict = gs.Predictor(network)
    check(predict, x)
    CHANGES[change](network)
    check(predict, x)
    check(predict, x)


def test_a_pattern_that_was_changed_in_place_and_validated_elsewhere() -> None:
    chance = generator(0)
    network = nn.Sequential(
        TopK(3), SparseLinear(200, 300, 0.2, generator=chance)
    ).eval()  # with the permutation in use
    predict, x = gs.Predictor(network), numbers(2, 200)
    check(predict, x)
    layer = network[1]
    other = SparseLinear(200, 300, 0.2, generator=chance)
    for name in ("indptr", "indices", "t_indptr", "t_indices"):
        getattr(layer, name).copy_(getattr(other, name))
    with torch.no_grad():
        layer(x)  # validates
        torch.testing.assert_close(predict(x), network(x), rtol=1e-4, atol=1e-5)


FALLBACKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a hook": (lambda n: n[0].register_forward_hook(lambda *a: None), "a hook watches 0"),
    "a hook before": (lambda n: n.register_forward_pre_hook(lambda *a: None), "a hook watches the network"),
    "a parametrization": (lambda n: parametrizations.weight_norm(n[4]), "4 is a ParametrizedLinear"),
    "a parametrized sparse layer": (
        lambda n: nn.utils.parametrize.register_parametrization(n[0], "weight_values", nn.Softplus()),
        "0 is a ParametrizedSparseLinear",
    ),
    "a forward": (lambda n: setattr(n[1], "forward", lambda x: x), "1 has a forward of its own"),
    "a subclass": (lambda n: n.__setitem__(1, type("Mine", (nn.ReLU,), {})()), "1 is a Mine"),
    "another layer": (lambda n: n.insert(1, nn.BatchNorm1d(30)), "1 is a BatchNorm1d"),
    "bfloat16": (lambda n: n.bfloat16(), "the parameters are torch.bfloat16"),
    "two dtypes": (lambda n: n[4].double(), "4 has torch.float64"),
}


@pytest.mark.parametrize("change", FALLBACKS)
def test_everything_else_is_computed_by_the_network(change: str) -> None:
    network, x = net().eval(), numbers(3, 12)
    predict = gs.Predictor(network)
    check(predict, x)
    act, reason = FALLBACKS[change]
    act(network)
    network.eval()
    try:
        with torch.no_grad():
            expected = network(x.to(next(network.parameters()).dtype))
    except RuntimeError:  # of dtypes
        with pytest.raises(RuntimeError):
            predict(x)
    else:
        torch.testing.assert_close(predict(x.to(expected.dtype)), expected)
    assert predict.fallback is not None
    assert predict.fallback.startswith(reason)


def test_a_hook_that_goes_again() -> None:
    network, x, seen = net().eval(), numbers(3, 12), []
    predict = gs.Predictor(network)
    handle = network[3].register_forward_hook(lambda *a: seen.append(1))
    predict(x)
    assert predict.fallback == "a hook watches 3"
    handle.remove()
    predict(x)
    assert predict.fallback is None
    assert seen == [1]
    everywhere = nn.modules.module.register_module_forward_hook(lambda *a: seen.append(2))
    try:
        predict(x)
    finally:
        everywhere.remove()
    assert predict.fallback == "hooks watch all modules"
    assert 2 in seen


class Subclass(Tensor):
    """Another kind of tensor."""


def test_other_inputs() -> None:
    network = net(dtype=torch.float64).eval()
    predict, x = gs.Predictor(network), numbers(3, 12, dtype=torch.float64)
    check(predict, x[0], "the input is torch.float64 on cpu of shape (12,)")
    for odd in (x.to_sparse(), x.as_subclass(Subclass), torch.complex(x, x).conj().imag, x[:0], x.expand(2, 3, 12)):
        with torch.no_grad():
            torch.testing.assert_close(predict(odd), network(odd))
        assert predict.fallback is not None or odd.shape == (3, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert gs.Predictor(net())(x.float()).dtype == torch.bfloat16
    torch.testing.assert_close(torch.func.vmap(predict)(x[:, None])[:, 0], network(x).detach())
    for wrong in (x.float(), x[:, 1:]):
        with pytest.raises((RuntimeError, gs.InputError)):
            predict(wrong)


def test_no_layer_is_sparse() -> None:
    predict = gs.Predictor(nn.Sequential(nn.Linear(3, 2)))
    predict(numbers(2, 3))
    assert predict.fallback == "no layer is sparse"


def test_it_is_a_module_that_can_be_copied_and_stored() -> None:
    network, x = net(), numbers(3, 12)
    predict = gs.Predictor(network)
    expected = predict(x)
    twin: Any
    for twin in (copy.deepcopy(predict), pickle.loads(pickle.dumps(predict))):
        torch.testing.assert_close(twin(x), expected)
        with torch.no_grad():
            twin.network[4].bias.add_(1)
        torch.testing.assert_close(twin(x), expected + 1)
    torch.testing.assert_close(predict(x), expected)
    assert not predict(x.requires_grad_()).requires_grad


def test_one_layer_that_stands_twice() -> None:
    layer = SparseLinear(8, 8, 0.5, generator=generator(0))
    predict, x = gs.Predictor(nn.Sequential(layer, nn.Tanh(), layer)), numbers(5, 8)
    check(predict, x)


def test_layers_without_connections() -> None:
    none = Pattern.from_flat_indices(torch.zeros(0, dtype=torch.int64), 6, 12)
    network = nn.Sequential(SparseLinear(12, 6, pattern=none, generator=generator(0)), nn.Sigmoid(), nn.Linear(6, 2))
    for batch in (1, 5):
        check(gs.Predictor(network), numbers(batch, 12))


def test_threads_share_a_predictor() -> None:
    from concurrent.futures import ThreadPoolExecutor

    made = gs.models.MLP(30, (200, 200), 5, density=0.2, activation="hoyer:0.7", generator=generator(0)).eval()
    predict = gs.Predictor(made)
    batches = [numbers(1 + i % 50, 30, seed=i) for i in range(200)]
    expected = [predict(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(predict, batches), expected, strict=True):
            torch.testing.assert_close(found, right)
