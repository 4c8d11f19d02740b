"""The compiled step against autograd: the same numbers up to rounding, whatever the stack, loss and optimizer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array
from torch import Tensor, nn

import gossamer as gs
from gossamer.activation import AllReLU, Hoyer, SReLU, TopK
from gossamer.connectivity import FeatureMajorLinear, Pattern, SparseLinear, SparseLinearReLU
from gossamer.models.noise import Dropout
from gossamer.training import Samples
from gossamer.training.compiled import CompiledSteps, Refused
from gossamer.training.passes import Pass, one_pass
from gossamer.training.samples import SparseRows
from gossamer.training.task import MULTICLASS, MULTILABEL, REGRESSION, Task

TASKS = {"classes": MULTICLASS, "labels": MULTILABEL, "numbers": REGRESSION}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def activation(name: str, units: int, chance: torch.Generator) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "leaky": lambda: nn.LeakyReLU(0.1),
        "allrelu": lambda: AllReLU(0.6, 1),
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "identity": nn.Identity,
        "srelu": lambda: SReLU(units, generator=chance),
        "hoyer": lambda: Hoyer(0.6, norm=1.5),
        "signed hoyer": lambda: Hoyer(0.6, signed=True),
        "topk": lambda: TopK(max(1, units // 2)),
        "signed topk": lambda: TopK(max(1, units // 3), signed=True),
    }
    return kinds[name]()


def linear(kind: str, inputs: int, outputs: int, chance: torch.Generator, bias: bool = True) -> nn.Module:
    if kind in ("sparse", "sparse relu"):
        layer = SparseLinear if kind == "sparse" else SparseLinearReLU
        return layer(inputs, outputs, 0.4, bias=bias, generator=chance)
    dense = (nn.Linear if kind == "dense" else FeatureMajorLinear)(inputs, outputs, bias=bias)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.uniform_(-0.5, 0.5, generator=chance)
    return dense


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, int, int]:
    """A stack with a sparse layer at least, its numbers of inputs and outputs."""
    chance = generator(draw(st.integers(0, 99)))
    sizes = draw(st.lists(st.integers(2, 40), min_size=2, max_size=4))
    kinds = [draw(st.sampled_from(["sparse", "sparse", "sparse relu", "dense", "feature-major"])) for _ in sizes[1:]]
    kinds[draw(st.integers(0, len(kinds) - 1))] = "sparse"
    layers: list[nn.Module] = [Dropout(0.2)] if draw(st.booleans()) else []
    names = ["relu", "leaky", "allrelu", "sigmoid", "tanh", "identity", "srelu"]
    names += ["hoyer", "signed hoyer", "topk", "signed topk"]
    for i, (kind, inputs, outputs) in enumerate(zip(kinds, sizes, sizes[1:], strict=False)):
        layers.append(linear(kind, inputs, outputs, chance, draw(st.booleans())))
        if i < len(kinds) - 1:
            layers.append(activation(draw(st.sampled_from(names)), outputs, chance))
            if draw(st.booleans()):
                layers.append(Dropout(draw(st.sampled_from([0.1, 0.5]))))
    return nn.Sequential(*layers), sizes[0], sizes[-1]


def samples(n: int, inputs: int, outputs: int, task: str, dtype: torch.dtype, weighted: bool, seed: int = 0) -> Samples:
    chance = generator(seed)
    x = torch.randn(n, inputs, generator=chance, dtype=dtype)
    y = {
        "classes": lambda: torch.randint(outputs, (n,), generator=chance),
        "labels": lambda: torch.randint(2, (n, outputs), generator=chance).to(dtype),
        "numbers": lambda: torch.randn(n, outputs, generator=chance, dtype=dtype),
    }[task]()
    return Samples(x, y, torch.rand(n, generator=chance, dtype=dtype) * 2 if weighted else None)


def optimizer_of(name: str, net: nn.Module, **options: Any) -> torch.optim.Optimizer:
    first, *rest = net.parameters()
    groups: list[dict[str, Any]] = (
        [{"params": [first]}, {"params": rest, "lr": 0.003}] if rest else [{"params": [first]}]
    )
    if name == "sgd":
        return torch.optim.SGD(groups, 0.01, weight_decay=0.01, **options)
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(groups, 0.01, weight_decay=0.01, **options)


class Pair:
    """A network twice, to be trained by both."""

    def __init__(self, net: nn.Module, optimizer: str, **options: Any) -> None:
        self.nets = {"compiled": net, "autograd": copy.deepcopy(net)}
        self.optimizers = {step: optimizer_of(optimizer, net, **options) for step, net in self.nets.items()}

    def train(self, samples: Samples, task: Task, epochs: int = 3, **options: Any) -> dict[str, list[Pass]]:
        out = {
            step: [
                one_pass(net, self.optimizers[step], samples, task, seed=(0, epoch), step=step, **options)
                for epoch in range(epochs)
            ]
            for step, net in self.nets.items()
        }
        assert {passed.fallback for passed in out["compiled"]} == {None}
        assert {passed.fallback for passed in out["autograd"]} == {"the compiled step is turned off"}
        return out

    def check(self, tolerance: float) -> None:
        """Weights, gradients and the optimizer's state are the same."""
        a, b = self.nets.values()
        for (name, left), right in zip(a.named_parameters(), b.parameters(), strict=True):
            close(left, right, tolerance, name)
            assert left.grad is not None
            assert right.grad is not None
            close(left.grad, right.grad, tolerance, f"gradient of {name}")
        a_state, b_state = (optimizer.state_dict()["state"] for optimizer in self.optimizers.values())
        assert a_state.keys() == b_state.keys()
        for key in a_state:
            assert a_state[key].keys() == b_state[key].keys()
            for name, value in a_state[key].items():
                assert value.dtype == b_state[key][name].dtype
                close(value, b_state[key][name], tolerance, name)


def close(a: Tensor, b: Tensor, tolerance: float, what: str) -> None:
    scale = float(b.detach().abs().max()) if b.numel() else 0.0
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(scale, 1e-3), msg=lambda m: f"{what}: {m}")


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(
    made=networks(),
    task=st.sampled_from(list(TASKS)),
    optimizer=st.sampled_from(["sgd", "momentum", "nesterov", "adam", "adamw"]),
    batch_size=st.integers(1, 40),
    n=st.integers(2, 60),
    clipped=st.booleans(),
    weighted=st.booleans(),
)
def test_any_stack_is_trained_as_by_autograd(
    made: tuple[nn.Sequential, int, int],
    task: str,
    optimizer: str,
    batch_size: int,
    n: int,
    clipped: bool,
    weighted: bool,
) -> None:
    net, inputs, outputs = made
    options: dict[str, Any] = {}
    if optimizer in ("momentum", "nesterov"):
        options = {"momentum": 0.9, "nesterov": optimizer == "nesterov"}
        optimizer = "sgd"
    pair = Pair(net.double(), optimizer, **options)
    given = samples(n, inputs, outputs, task, torch.float64, weighted)
    limit = 0.1 if clipped else None
    passes = pair.train(given, TASKS[task], epochs=2, batch_size=batch_size, max_grad_norm=limit)
    for mine, theirs in zip(passes["compiled"], passes["autograd"], strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-9, abs=1e-12)
        assert mine.credit == pytest.approx(theirs.credit, rel=1e-6, abs=1e-9)
    pair.check(1e-6)


def test_single_precision_stays_close_over_many_steps() -> None:
    chance = generator(0)
    net = nn.Sequential(
        SparseLinear(20, 40, 0.3, generator=chance),
        nn.Tanh(),
        Dropout(0.2),
        SparseLinear(40, 30, 0.3, generator=chance),
        Hoyer(0.5, norm=2.0),
        linear("feature-major", 30, 5, chance),
    )
    pair = Pair(net, "adam")
    passes = pair.train(samples(200, 20, 5, "classes", torch.float32, False), MULTICLASS, epochs=10, batch_size=32)
    assert passes["compiled"][-1].loss == pytest.approx(passes["autograd"][-1].loss, rel=1e-3)
    pair.check(2e-2)


@pytest.mark.usefixtures("two_threads")
def test_threads_share_wide_layers() -> None:
    chance = generator(1)
    net = nn.Sequential(
        SparseLinear(300, 400, 0.2, generator=chance),
        Hoyer(0.7, norm=3.0),
        Dropout(0.3),
        SparseLinearReLU(400, 300, 0.2, generator=chance),
        SReLU(300, generator=chance),
        SparseLinear(300, 400, 0.2, generator=chance),
        TopK(50),
        linear("feature-major", 400, 120, chance),
    ).double()
    pair = Pair(net, "adamw")
    given = samples(300, 300, 120, "labels", torch.float64, False)
    pair.train(given, MULTILABEL, epochs=2, batch_size=128, max_grad_norm=0.5)
    pair.check(1e-6)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def small_net(seed: int = 0, dropout: float = 0.2) -> nn.Sequential:
    chance = generator(seed)
    return nn.Sequential(
        SparseLinear(12, 30, 0.3, generator=chance),
        nn.ReLU(),
        Dropout(dropout),
        SparseLinear(30, 4, 0.5, generator=chance),
    ).double()


@pytest.mark.parametrize("layout", ["columns", "steps", "negative"])
def test_samples_of_any_layout(layout: str) -> None:
    x, y, _ = samples(50, 12, 4, "classes", torch.float64, False)
    assert isinstance(x, Tensor)
    other = {
        "columns": x.t().contiguous().t(),
        "steps": x.repeat_interleave(2, 1)[:, ::2],
        "negative": torch.cat([x, x])[50:],
    }[layout]
    pair = Pair(small_net(), "adam")
    pair.train(Samples(other, y), MULTICLASS, batch_size=16)
    pair.check(1e-9)


@pytest.mark.parametrize("shifted", [False, True])
def test_sparse_rows(shifted: bool) -> None:
    x = csr_array(random_array((60, 12), density=0.3, rng=np.random.default_rng(0)))
    shift = torch.linspace(-1, 1, 12, dtype=torch.float64) if shifted else None
    rows = SparseRows(x, torch.device("cpu"), shift)
    pair = Pair(small_net(), "adam")
    pair.train(Samples(rows, torch.randint(4, (60,), generator=generator(0))), MULTICLASS, batch_size=16)
    pair.check(1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
def test_what_is_no_number_spreads_as_by_autograd(value: float) -> None:
    given = samples(40, 12, 4, "classes", torch.float64, False)
    assert isinstance(given.x, Tensor)
    given.x[3, 2] = value
    pair = Pair(small_net(), "adam")
    passes = pair.train(given, MULTICLASS, epochs=1, batch_size=16)
    np.testing.assert_allclose(passes["compiled"][0].loss, passes["autograd"][0].loss)
    for a, b in zip(*(net.parameters() for net in pair.nets.values()), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_isolated_units_and_a_layer_without_connections() -> None:
    chance = generator(0)
    empty = Pattern.from_flat_indices(torch.zeros(0, dtype=torch.int64), 6, 12)
    few = Pattern.from_flat_indices(torch.tensor([0, 5, 17]), 4, 6)
    net = nn.Sequential(
        SparseLinear(12, 6, pattern=empty, generator=chance), nn.Sigmoid(), SparseLinear(6, 4, pattern=few)
    ).double()
    pair = Pair(net, "adam")
    pair.train(samples(20, 12, 4, "classes", torch.float64, False), MULTICLASS, batch_size=8)
    pair.check(1e-9)


@pytest.mark.parametrize("event", ["rewiring", "a hook", "another rate"])
def test_what_changes_between_steps_is_seen(event: str) -> None:
    pair = Pair(small_net(), "adam")
    given = samples(100, 12, 4, "classes", torch.float64, False)
    fallbacks = []
    for step, net in pair.nets.items():
        optimizer = pair.optimizers[step]
        rewire = gs.Rewire(net, optimizer)

        def on_step(
            number: int, loss: Tensor, net: Any = net, optimizer: Any = optimizer, rewire: Any = rewire
        ) -> None:
            if number == 4:
                if event == "rewiring":
                    rewire.step()
                elif event == "a hook":
                    net[0].register_forward_hook(lambda *_: None)
                else:
                    optimizer.param_groups[0]["lr"] = 0.1

        passed = one_pass(net, optimizer, given, MULTICLASS, batch_size=10, seed=(0, 0), step=step, on_step=on_step)
        fallbacks.append(passed.fallback)
    assert fallbacks[0] == ("a hook watches 0" if event == "a hook" else None)
    pair.check(1e-9)


def test_either_goes_on_from_the_other() -> None:
    for optimizer in ("sgd", "adam"):
        pair = Pair(small_net(), optimizer, **({"momentum": 0.9} if optimizer == "sgd" else {}))
        given = samples(60, 12, 4, "classes", torch.float64, False)
        for epoch in range(4):
            for step, net in pair.nets.items():
                own = ("autograd", "compiled")[epoch % 2] if step == "compiled" else "autograd"
                optimizer_of = pair.optimizers[step]
                one_pass(net, optimizer_of, given, MULTICLASS, batch_size=16, seed=(0, epoch), step=own)
        pair.check(1e-9)


def test_a_graph_from_before_notices_the_change() -> None:
    net = small_net()
    given = samples(20, 12, 4, "classes", torch.float64, False)
    assert isinstance(given.x, Tensor)
    loss = net(given.x).sum()
    assert one_pass(net, optimizer_of("sgd", net), given, MULTICLASS, batch_size=8, seed=(0, 0)).fallback is None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def refusal(net: nn.Module, given: Samples, task: Task = MULTICLASS, optimizer: Any = None) -> str:
    optimizer = optimizer_of("adam", net) if optimizer is None else optimizer
    with pytest.raises(Refused) as refused:
        CompiledSteps(net, optimizer, given, task, noise=generator(0))
    return str(refused.value)


def test_reasons_to_refuse() -> None:
    given = samples(20, 12, 4, "classes", torch.float64, False)
    x, y = given.x, given.y
    assert isinstance(x, Tensor)
    assert isinstance(y, Tensor)
    plain: Any = small_net(dropout=0.0)
    CompiledSteps(plain, optimizer_of("adam", plain), given, MULTICLASS)

    assert "the samples torch.float64" in refusal(copy.deepcopy(plain).float(), given)
    assert "bfloat16" in refusal(copy.deepcopy(plain).bfloat16(), Samples(x.bfloat16(), y))
    assert "float16" in refusal(copy.deepcopy(plain).half(), Samples(x.half(), y))
    assert "samples have shape (20, 12, 1)" in refusal(plain, Samples(x[:, :, None], y))
    assert "ask for 7 outputs" in refusal(plain, Samples(x, y + 3 - int(y.max()) + 3))
    assert "not whole numbers from 0" in refusal(plain, Samples(x, y - 100))
    assert "none of those" in refusal(plain, given, Task(lambda o, y, w: o.sum(), lambda o, y: o[:, 0]))
    assert "no layer is sparse" in refusal(nn.Sequential(nn.Linear(12, 4)).double(), given)
    assert "BatchNorm1d" in refusal(nn.Sequential(*plain, nn.BatchNorm1d(4)).double(), given)
    assert "reads 12 numbers and gets 4" in refusal(nn.Sequential(*plain, *copy.deepcopy(plain)), given)
    assert "share a parameter" in refusal(
        nn.Sequential(plain[0], plain[0]), given, optimizer=optimizer_of("sgd", plain)
    )
    assert "dense and large" in refusal(
        nn.Sequential(SparseLinear(12, 600, 0.1), nn.Linear(600, 600), nn.Linear(600, 4)).double(), given
    )
    for layer in (Hoyer(0.5, packed=True), TopK(2, packed=True), TopK(2, dim=0), Hoyer(0.5, norm="preserve")):
        assert refusal(nn.Sequential(plain[0], layer, plain[3]), given, optimizer=optimizer_of("sgd", plain))
    assert "sparseness" in refusal(
        nn.Sequential(plain[0], Hoyer(1e-7), plain[3]), given, optimizer=optimizer_of("sgd", plain)
    )

    frozen = copy.deepcopy(plain)
    frozen[0].weight_values.requires_grad_(False)
    assert "not trained" in refusal(frozen, given)
    assert "not trained" in refusal(plain, given, optimizer=torch.optim.SGD([plain[0].weight_values], 0.1))
    assert "LBFGS" in refusal(plain, given, optimizer=torch.optim.LBFGS(plain.parameters()))
    optimizer: torch.optim.Optimizer
    for optimizer in (
        torch.optim.Adam(plain.parameters(), amsgrad=True),
        torch.optim.SGD(plain.parameters(), maximize=True),
    ):
        assert "options besides" in refusal(plain, given, optimizer=optimizer)

    watched = copy.deepcopy(plain)
    watched[1].register_full_backward_hook(lambda *_: None)
    assert "hook watches 1" in refusal(watched, given)
    watched = copy.deepcopy(plain)
    watched[0].bias.register_hook(lambda g: g)
    assert "gradients of 0" in refusal(watched, given)
    optimizer = optimizer_of("adam", plain)
    optimizer.register_step_post_hook(lambda *_: None)
    assert "watches the optimizer" in refusal(plain, given, optimizer=optimizer)
    weighted = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4).double())
    assert "parametrized" in refusal(nn.Sequential(*plain, weighted), given) or "Parametrized" in refusal(
        nn.Sequential(*plain, weighted), given
    )
    dropping: Any = small_net(dropout=0.5)
    dropping[2].generator = generator(3)
    assert "generator of its own" in refusal(dropping, given)
    with torch.autocast("cpu", torch.bfloat16):
        assert "autocast" in refusal(plain, given)
    with torch.no_grad():
        assert "gradients are off" in refusal(plain, given)


def test_refused_networks_are_trained_by_autograd() -> None:
    net = nn.Sequential(*small_net(dropout=0.0), nn.Softplus())
    given = samples(20, 12, 4, "classes", torch.float64, False)
    before = [parameter.clone() for parameter in net.parameters()]
    passed = one_pass(net, optimizer_of("adam", net), given, MULTICLASS, batch_size=8, seed=(0, 0))
    assert passed.fallback == "4 is a Softplus, no layer of those that the compiled step computes"
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_class_out_of_bounds_is_an_error_as_ever() -> None:
    net = small_net()
    given = samples(20, 12, 4, "classes", torch.float64, False)
    assert isinstance(given.y, Tensor)
    given.y[3] = 4
    with pytest.raises(IndexError, match="out of bounds"):
        one_pass(net, optimizer_of("adam", net), given, MULTICLASS, batch_size=8, seed=(0, 0))


def test_reports_come_in_order_and_say_what_autograd_says() -> None:
    seen: dict[str, list[tuple[int, float]]] = {"compiled": [], "autograd": []}
    given = samples(50, 12, 4, "classes", torch.float64, False)
    for step, found in seen.items():
        net = small_net()
        report = lambda number, loss, found=found: found.append((number, float(loss)))  # noqa: E731
        one_pass(net, optimizer_of("adam", net), given, MULTICLASS, batch_size=8, seed=(0, 0), step=step, report=report)
    assert [number for number, _ in seen["compiled"]] == list(range(1, 8))
    np.testing.assert_allclose(seen["compiled"], seen["autograd"])
