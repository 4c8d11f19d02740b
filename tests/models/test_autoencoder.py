"""The supervised auto-encoder: its gradient against differences and against the published formulas, its constraints."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gossamer import InputError, SReLU, constraints, measures
from gossamer.activation import Hoyer, TopK
from gossamer.models import autoencoder, tied_pass
from gossamer.models.autoencoder import SupervisedAutoencoder, correlation_cost, exponential_schedule

ACTIVITIES: dict[str, Callable[[], str | nn.Module]] = {
    "hoyer": lambda: "hoyer:0.6",
    "hoyer, signed": lambda: Hoyer(0.6, signed=True),
    "l0": lambda: TopK(4, signed=True),
    "largest": lambda: "topk:4",
    "relu": lambda: "relu",
    "tanh": nn.Tanh,
    "identity": lambda: "none",
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(activation: str | nn.Module = "hoyer:0.6", *, bias: bool = False, seed: int = 0) -> SupervisedAutoencoder:
    """20 inputs, 15 units, 4 classes in float64, with a classification part that matters."""
    net = SupervisedAutoencoder(
        20, 15, 4, activation=activation, connectivity=0.5, bias=bias, generator=seeded(seed)
    ).double()
    with torch.no_grad():
        for parameter in (net.output.weight, net.output.bias, *([net.bias] if net.bias is not None else [])):
            parameter.normal_(0, 0.5, generator=seeded(seed + 1))
    return net


def batch(size: int = 7, seed: int = 2) -> tuple[Tensor, Tensor]:
    x = torch.rand(size, 20, dtype=torch.float64, generator=seeded(seed))
    return x, torch.randint(0, 4, (size,), generator=seeded(seed))


@pytest.fixture(params=["few active", "many active", "plain torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products with active units only, dense products, and PyTorch's own derivative."""
    if request.param == "plain torch":
        monkeypatch.setattr(autoencoder, "eager_in_cpp", lambda x, weight: False)
    else:
        monkeypatch.setattr(tied_pass, "_FEW", 1.0 if request.param == "few active" else 0.0)


def differences(function: Callable[[], Tensor], parameter: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of ``function`` in every number of ``parameter``."""
    found, flat = torch.zeros_like(parameter), parameter.data.view(-1)
    for i in range(flat.numel()):
        before = flat[i].item()
        values = []
        for shift in (step, -step):
            flat[i] = before + shift
            values.append(function().item())
        flat[i] = before
        found.view(-1)[i] = (values[0] - values[1]) / (2 * step)
    return found


# ---- the gradient ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "alpha"), [*((name, 0.3) for name in ACTIVITIES), ("hoyer", 0.0), ("hoyer", 1.0)]
)
def test_the_gradient_is_that_of_differences(activation: str, alpha: float, path: None) -> None:
    net, (x, y) = network(ACTIVITIES[activation](), bias=True), batch()
    x.requires_grad_()
    net.loss(x, y, alpha).backward()
    for name, parameter in [*net.named_parameters(), ("x", x)]:
        wanted = differences(lambda: net.loss(x, y, alpha).detach(), parameter)
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, wanted, rtol=0, atol=5e-9, msg=f"gradient of {name}")


@pytest.mark.parametrize("signed", [False, True])
def test_weights_receive_what_the_formulas_say_as_decoder_and_as_encoder(signed: bool, path: None) -> None:
    alpha, sparseness = 0.4, 0.6
    net, (x, y) = network(Hoyer(sparseness, signed=signed)), batch(1)
    net.loss(x, y, alpha).backward()
    W, V = net.weight.detach(), net.output.weight.detach()
    with torch.no_grad():
        h = net.encode(x)[0]
        centred = x[0] - x[0].mean()
        a = W.T @ h
        a = a - a.mean()
        rho = (a @ centred) / (a.norm() * centred.norm())
        g_r = -(1 - alpha) * (centred / (a.norm() * centred.norm()) - rho * a / a.norm() ** 2)
        g_z = alpha * (net(x)[0].softmax(0) - nn.functional.one_hot(y[0], 4))
        # J = β (Id − b bᵀ/d − t tᵀ/κ²) on the support, with the signs b
        u, active = W @ x[0], h != 0
        b, d, r = h.sign(), int(active.sum()), math.sqrt(15) - sparseness * (math.sqrt(15) - 1)
        size = torch.where(active, u.abs() if signed else u, 0.0)
        kappa2 = 1 - r * r / d
        beta = math.sqrt(kappa2) / torch.where(active, size - size.sum() / d, 0.0).norm()
        t = h - b * r / d
        J = beta * (torch.diag(active.double()) - torch.outer(b, b) / d - torch.outer(t, t) / kappa2)
        g_u = J @ (W @ g_r + V.T @ g_z)
    decoder, encoder = torch.outer(h, g_r), torch.outer(g_u, x[0])
    assert min(decoder.abs().max(), encoder.abs().max()) > 1e-3
    assert net.weight.grad is not None
    torch.testing.assert_close(net.weight.grad, decoder + encoder, rtol=0, atol=1e-12)


def test_all_paths_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = batch(30)
    found = []
    for few, compiled in ((1.0, True), (0.0, True), (0.0, False)):
        with monkeypatch.context() as patch:
            patch.setattr(tied_pass, "_FEW", few)
            if not compiled:
                patch.setattr(autoencoder, "eager_in_cpp", lambda x, weight: False)
            net = network()
            loss = net.loss(x, y, 0.5)
            loss.backward()
            assert net.weight.grad is not None
            found.append((loss.item(), net.weight.grad))
    for loss_value, grad in found[1:]:
        assert loss_value == pytest.approx(found[0][0], abs=1e-14)
        torch.testing.assert_close(grad, found[0][1], rtol=0, atol=1e-14)


def test_single_precision_stays_single(path: None) -> None:
    net, (x, y) = network().float(), batch()
    net.loss(x.float(), y, 0.5).backward()
    exact = network()
    exact.loss(x, y, 0.5).backward()
    assert net.weight.grad is not None
    assert exact.weight.grad is not None
    assert net.weight.grad.dtype == torch.float32
    torch.testing.assert_close(net.weight.grad.double(), exact.weight.grad, rtol=1e-4, atol=1e-5)


def test_it_can_be_differentiated_twice_in_a_row_but_not_again() -> None:
    net, (x, y) = network(), batch()
    loss = net.loss(x, y, 0.5)
    (first,) = torch.autograd.grad(loss, net.weight, retain_graph=True)
    (second,) = torch.autograd.grad(loss, net.weight, create_graph=True)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()


def test_parameters_of_the_activation_learn_too() -> None:
    x, y = batch()
    for activation in (SReLU(15).double(), Hoyer(nn.Parameter(torch.tensor(0.6, dtype=torch.float64)))):
        network(activation).loss(x, y, 0.5).backward()
        assert all(p.grad is not None for p in activation.parameters())
        assert any(p.grad.any() for p in activation.parameters() if p.grad is not None)


def test_functional_transforms_see_the_same_gradient() -> None:
    net, (x, y) = network("relu"), batch()
    parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(net, parameters, (x,)), y)

    found = torch.func.grad(loss)(parameters)["weight"]
    net.loss(x, y, 1.0).backward()
    assert net.weight.grad is not None
    torch.testing.assert_close(found, net.weight.grad)


# ---- the cost --------------------------------------------------------------------------------------------------------


def test_the_cost_is_a_mixture() -> None:
    net, (x, y) = network(), batch()
    parts = [net.loss(x, y, alpha).item() for alpha in (0.0, 0.3, 1.0)]
    assert parts[1] == pytest.approx(0.7 * parts[0] + 0.3 * parts[2])
    assert parts[0] == pytest.approx(correlation_cost(net.decode(net.encode(x)), x).mean().item())
    assert parts[2] == pytest.approx(nn.functional.cross_entropy(net(x), y).item())


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_the_reconstruction_cost_is_one_less_correlation(seed: int, scale: float, offset: float) -> None:
    a, b = torch.randn(2, 3, 9, dtype=torch.float64, generator=seeded(seed))
    wanted = [1 - np.corrcoef(p, q)[0, 1] for p, q in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(correlation_cost(a, b), wanted, atol=1e-12)
    torch.testing.assert_close(correlation_cost(scale * a + offset, b), correlation_cost(a, b))
    torch.testing.assert_close(correlation_cost(-a, b), 2 - correlation_cost(a, b))


def test_the_reconstruction_cost_has_the_right_gradient() -> None:
    a, b = torch.randn(2, 4, 6, dtype=torch.float64, generator=seeded())
    assert torch.autograd.gradcheck(correlation_cost, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("constant", ["x", "reconstruction"])
def test_a_constant_row_is_skipped(constant: str) -> None:
    x, y = torch.rand(2, 3, 5, generator=seeded())
    (x if constant == "x" else y)[1] = 0.5
    y.requires_grad_()
    cost = correlation_cost(y, x)
    cost.sum().backward()
    assert cost[1] == 0
    assert y.grad is not None
    assert not y.grad[1].any()
    assert y.grad[[0, 2]].abs().sum(1).all()


def test_blank_samples_and_dead_weights_leave_no_nan(path: None) -> None:
    net, (x, y) = network(), batch()
    x[2] = 0
    x[3] = 1
    net.loss(x, y, 0.5).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with torch.no_grad():
        net.weight.zero_()
    net.zero_grad()
    net.loss(x, y, 0.0).backward()
    assert net.weight.grad is not None
    assert not net.weight.grad.any()


def test_nan_in_a_sample_stays_there() -> None:
    net, (x, _) = network(), batch()
    x[1, 3] = math.nan
    code = net.encode(x)
    assert code[1].isnan().all()
    assert code[[0, 2, 3, 4, 5, 6]].isfinite().all()


def test_the_schedule_goes_from_reconstruction_to_classification() -> None:
    alpha = exponential_schedule(100)
    assert alpha(0) == 0
    assert alpha(100) == pytest.approx(1 - math.exp(-1))
    assert alpha(1e6) == 1
    assert pickle.loads(pickle.dumps(alpha))(7) == alpha(7)
    with pytest.raises(InputError, match="epochs"):
        exponential_schedule(0)


# ---- sparseness, and where training starts ---------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_every_code_has_the_sparseness_and_length_one(signed: bool) -> None:
    code = network(Hoyer(0.7, signed=signed)).encode(batch()[0])
    torch.testing.assert_close(measures.hoyer(code), torch.full((7,), 0.7, dtype=torch.float64))
    torch.testing.assert_close(code.norm(dim=1), torch.ones(7, dtype=torch.float64))


def test_projection_gives_every_unit_sparse_weights_of_length_one() -> None:
    net, (x, y) = network(), batch()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        net.loss(x, y, 0.5).backward()
        optimizer.step()
        assert (measures.hoyer(net.weight) - 0.5).abs().max() > 1e-3
        net.project_()
        torch.testing.assert_close(measures.hoyer(net.weight), torch.full((15,), 0.5, dtype=torch.float64))
        torch.testing.assert_close(net.weight.norm(dim=1), torch.ones(15, dtype=torch.float64))


def test_connectivity_may_be_any_set_or_none() -> None:
    few = SupervisedAutoencoder(20, 15, 4, connectivity=constraints.L0(3), generator=seeded())
    assert ((few.weight != 0).sum(1) == 3).all()
    free = SupervisedAutoencoder(20, 15, 4, connectivity=None, generator=seeded())
    before = free.weight.detach().clone()
    free.project_()
    assert torch.equal(free.weight, before)


def test_rows_start_as_samples() -> None:
    samples = torch.rand(40, 20, generator=seeded())
    net = SupervisedAutoencoder(20, 15, 4, connectivity=None, samples=samples, generator=seeded(1))
    likeness = net.weight @ nn.functional.normalize(samples, dim=1).t()
    assert (likeness.amax(1) > 0.999).all()
    assert len(likeness.argmax(1).unique()) == 15


@pytest.mark.parametrize("samples", [torch.rand(3, 20, generator=seeded()), torch.zeros(3, 20), torch.ones(1, 20)])
def test_units_differ_even_if_samples_are_few_or_blank(samples: Tensor) -> None:
    net = SupervisedAutoencoder(20, 15, 4, samples=samples, generator=seeded())
    assert net.weight.isfinite().all()
    assert len(net.weight.detach().unique(dim=0)) == 15


def test_the_generator_decides_and_torch_keeps_its_own() -> None:
    before = torch.get_rng_state()
    samples = torch.rand(40, 20, generator=seeded())
    first, same, other = (
        SupervisedAutoencoder(20, 15, 4, samples=samples, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.weight, same.weight)
    assert torch.equal(first.output.weight, same.output.weight)
    assert not torch.equal(first.weight, other.weight)


def test_it_can_be_copied_saved_and_loaded() -> None:
    net, (x, y) = network(), batch()
    other = network(seed=5)
    other.load_state_dict(copy.deepcopy(net).state_dict())
    assert torch.equal(net(x), other(x))
    assert torch.equal(net.loss(x, y, 0.5), pickle.loads(pickle.dumps(net)).loss(x, y, 0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_features": 1}, "in_features"),
        ({"hidden": 1}, "hidden"),
        ({"classes": 1}, "classes"),
        ({"activation": "loud"}, "activation"),
        ({"activation": Hoyer(0.5, packed=True)}, "packed"),
        ({"connectivity": 1.0}, "connectivity"),
        ({"connectivity": math.nan}, "connectivity"),
        ({"samples": torch.zeros(3, 5)}, "samples"),
        ({"samples": torch.zeros(0, 20)}, "samples"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"in_features": 20, "hidden": 15, "classes": 4}
    with pytest.raises(InputError, match=message):
        SupervisedAutoencoder(**(arguments | change), generator=seeded())  # type: ignore[arg-type]


def test_inputs_and_alpha_are_checked() -> None:
    net, (x, y) = network(), batch()
    with pytest.raises(InputError, match="shape"):
        net(x[:, :5])
    with pytest.raises(InputError, match="alpha"):
        net.loss(x, y, 1.5)
