"""Sparse LSTM and GRU layers: the masked dense layers are their oracle."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import gossamer as gs
from gossamer import InputError, SparseGRU, SparseLSTM

pytestmark = pytest.mark.usefixtures("one_thread")

Recurrent = SparseLSTM | SparseGRU
KINDS = pytest.mark.parametrize("kind", [SparseLSTM, SparseGRU])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def layers(kind: type[Recurrent], *sizes: int, density: float = 0.4, **options: Any) -> Any:
    make: Any = kind
    return make(*(sizes or (7, 5)), density=density, generator=seeded(), dtype=torch.float64, **options)


def state_of(kind: type[Recurrent], *shape: int) -> Any:
    return (numbers(*shape, seed=2), numbers(*shape, seed=3)) if kind is SparseLSTM else numbers(*shape, seed=2)


def flat(state: Any) -> Tensor:
    return torch.cat([part.flatten() for part in state]) if isinstance(state, tuple) else state.flatten()


def compare(sparse: Recurrent, dense: nn.LSTM | nn.GRU, x: Tensor, state: Any) -> None:
    """Outputs, states and all gradients agree."""
    sparse.zero_grad()
    dense.zero_grad()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    (y, after), (expected, expected_after) = sparse(a, state), dense(b, state)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(flat(after), flat(expected_after))
    weights, more = numbers(*y.shape, seed=7), numbers(flat(after).numel(), seed=8)
    ((y * weights).sum() + flat(after) @ more).backward()
    ((expected * weights).sum() + flat(expected_after) @ more).backward()
    torch.testing.assert_close(a.grad, b.grad)
    for name, layer in sparse.projections().items():
        gradient = getattr(dense, f"weight_{name}").grad.flatten()[layer.pattern.flat_indices]
        torch.testing.assert_close(layer.weight_values.grad, gradient)
        if layer.bias is not None:
            torch.testing.assert_close(layer.bias.grad, getattr(dense, f"bias_{name}").grad)


@KINDS
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_they_equal_the_masked_dense_layers(
    kind: type[Recurrent], num_layers: int, bidirectional: bool, batch_first: bool, bias: bool
) -> None:
    options = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    sparse = layers(kind, 7, 5, num_layers, **options)
    dense = sparse.to_dense()
    x = numbers(3, 4, 7)
    compare(sparse, dense, x, None)
    compare(sparse, dense, x, state_of(kind, num_layers * (1 + bidirectional), 3 if batch_first else 4, 5))


@KINDS
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_sequence_without_a_batch(kind: type[Recurrent], bidirectional: bool) -> None:
    sparse = layers(kind, bidirectional=bidirectional, batch_first=True)
    dense, x = sparse.to_dense(), numbers(6, 7)
    state = state_of(kind, 1 + bidirectional, 5)
    for given in (None, state):
        (y, after), (expected, expected_after) = sparse(x, given), dense(x, given)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(flat(after), flat(expected_after))


@KINDS
def test_the_state_is_carried(kind: type[Recurrent]) -> None:
    sparse, x = layers(kind, 7, 5, 2), numbers(8, 3, 7)
    whole, last = sparse(x)
    first, state = sparse(x[:3])
    second, state = sparse(x[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(flat(state), flat(last))


@KINDS
def test_training_follows_the_masked_dense_layers(kind: type[Recurrent]) -> None:
    """Steps of Adam: the same as those of the dense layers whose gradients are masked."""
    sparse = layers(kind)
    dense, x, target = sparse.to_dense(), numbers(4, 3, 7), numbers(4, 3, 5, seed=5)
    masks = {name: parameter != 0 for name, parameter in dense.named_parameters()}
    optimizers = [torch.optim.Adam(net.parameters(), lr=0.1) for net in (sparse, dense)]
    for _ in range(3):
        for net, optimizer in zip((sparse, dense), optimizers, strict=True):
            optimizer.zero_grad()
            (net(x)[0] - target).square().mean().backward()
            if net is dense:
                for name, parameter in dense.named_parameters():
                    parameter.grad.mul_(masks[name])
            optimizer.step()
    torch.testing.assert_close(sparse(x)[0], dense(x)[0])


@KINDS
def test_rewiring(kind: type[Recurrent]) -> None:
    """Rules that watch nothing, that compare activations, and that read gradients, all with the count constant."""
    x, target = numbers(6, 4, 7), numbers(6, 4, 5, seed=5)
    for rule in ("SET", "CoRSET", "RigL"):
        net = layers(kind, 7, 5, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        rewire = getattr(gs, rule)(net, optimizer)
        counts = {name: layer.nnz for name, layer in net.projections().items()}
        assert list(rewire.layers) == list(counts) == ["ih_l0", "hh_l0", "ih_l1", "hh_l1"]
        before = net.hh_l1.pattern.flat_indices
        for _ in range(3):
            optimizer.zero_grad()
            (net(x)[0] - target).square().mean().backward()
            optimizer.step()
            rewire.step()
        assert {name: layer.nnz for name, layer in net.projections().items()} == counts
        assert not torch.equal(net.hh_l1.pattern.flat_indices, before)
        rewire.remove_hooks()
        compare(net, net.to_dense(), x, None)


@KINDS
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_watched_projection_is_called_at_each_step_with_the_same_result(
    kind: type[Recurrent], bidirectional: bool
) -> None:
    net = layers(kind, 7, 5, bidirectional=bidirectional)
    seen: list[tuple[Tensor, Tensor]] = []
    handle = net.hh_l0.register_forward_hook(lambda layer, args, y: seen.append((args[0], y)))
    compare(net, net.to_dense(), numbers(4, 3, 7), None)
    assert len(seen) == 4
    expected = net(numbers(4, 3, 7))[0]
    torch.testing.assert_close(seen[-1][0], expected[-2, :, :5])
    handle.remove()
    torch.testing.assert_close(net(numbers(4, 3, 7))[0], expected)


@KINDS
def test_dropout_between_layers(kind: type[Recurrent]) -> None:
    net, x = layers(kind, 7, 5, 2, dropout=0.5), numbers(4, 3, 7)
    net.generator = seeded(1)
    first = net(x)[0]
    net.generator = seeded(1)
    assert torch.equal(net(x)[0], first)
    assert not torch.equal(net(x)[0], first)
    net.eval()
    torch.testing.assert_close(net(x)[0], net.to_dense()(x)[0])
    gone = layers(kind, 7, 5, 2, dropout=1.0)
    torch.testing.assert_close(gone(x)[0], gone(-x)[0])  # the second layer reads zeros


@KINDS
def test_noise_on_recurrent_weights_is_one_mask_for_all_steps(kind: type[Recurrent]) -> None:
    net = layers(kind, recurrent_noise=gs.Bridgeout(p=0.5, q=2.0, generator=seeded(1)))
    x = numbers(4, 3, 7)
    net(x)[0].sum().backward()
    dropped = net.hh_l0.weight_values.grad == 0
    assert 0 < int(dropped.sum()) < net.hh_l0.nnz
    noisy = copy.deepcopy(net)
    with torch.no_grad():
        noisy.hh_l0.weight_values.mul_(~dropped * 2)
    net.recurrent_noise.generator = seeded(1)
    expected = noisy.eval()(x)[0]
    torch.testing.assert_close(net(x)[0], expected)
    net.hh_l0.register_forward_hook(lambda *_: None)
    net.recurrent_noise.generator = seeded(1)
    torch.testing.assert_close(net(x)[0], expected)  # step by step, with the same mask
    net.eval()
    torch.testing.assert_close(net(x)[0], net.to_dense()(x)[0])


@KINDS
def test_parametrized_recurrent_weights_are_computed_once(kind: type[Recurrent]) -> None:
    net, x = layers(kind), numbers(4, 3, 7)
    expected = net(x)[0]
    calls = []

    class Watched(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            calls.append(w)
            return -w

    with torch.no_grad():
        net.hh_l0.weight_values.neg_()
    nn.utils.parametrize.register_parametrization(net.hh_l0, "weight_values", Watched(), unsafe=True)
    calls.clear()
    y = net(x)[0]
    torch.testing.assert_close(y, expected)
    assert len(calls) == 1
    y.sum().backward()
    assert net.hh_l0.parametrizations.weight_values.original.grad is not None


@KINDS
def test_copies_and_files(kind: type[Recurrent], tmp_path: Path) -> None:
    net, x = layers(kind, 7, 5, 2), numbers(4, 3, 7)
    expected = net(x)[0]
    assert torch.equal(copy.deepcopy(net)(x)[0], expected)
    other = kind(7, 5, 2, density=0.2, generator=seeded(9), dtype=torch.float64)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x)[0], expected)
    assert "hh_l1.weight_values" in net.state_dict()
    torch.save(net, tmp_path / "net.pt")
    assert torch.equal(torch.load(tmp_path / "net.pt", weights_only=False)(x)[0], expected)


@KINDS
def test_from_dense_and_back(kind: type[Recurrent]) -> None:
    dense: Any = kind._dense(7, 5, 2, bidirectional=True, dropout=0.25, batch_first=True, dtype=torch.float64).eval()
    dense.weight_hh_l0.requires_grad_(False)
    with torch.no_grad():
        dense.weight_ih_l1.mul_(torch.rand(dense.weight_ih_l1.shape, generator=seeded()) < 0.3)
    sparse: Any = kind.from_dense(dense)
    x = numbers(4, 3, 7)
    torch.testing.assert_close(sparse(x)[0], dense(x)[0])
    assert (sparse.num_layers, sparse.bidirectional, sparse.dropout, sparse.batch_first) == (2, True, 0.25, True)
    assert not sparse.training
    assert not sparse.hh_l0.weight_values.requires_grad
    assert sparse.hh_l0.nnz == dense.weight_hh_l0.numel()
    again = sparse.to_dense()
    assert not again.training
    for name, parameter in dense.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter)
        assert again.get_parameter(name).requires_grad == parameter.requires_grad


@KINDS
def test_whole_models_become_dense(kind: type[Recurrent]) -> None:
    model = nn.ModuleDict({"body": layers(kind), "again": nn.Identity()})
    model["again"] = model["body"]
    dense, expected = gs.to_dense(model), type(layers(kind).to_dense())
    assert type(dense["body"]) is expected
    assert dense["again"] is dense["body"]
    assert type(gs.to_dense(layers(kind))) is expected


@KINDS
def test_dtypes_and_autocast(kind: type[Recurrent]) -> None:
    net = kind(7, 5, density=0.4, generator=seeded())
    x = numbers(4, 3, 7).float()
    expected = net(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(x)[0]
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, expected, atol=2e-2, rtol=0.0)
    half = net.bfloat16()(x.bfloat16())[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=3e-2, rtol=0.0)


@KINDS
def test_the_dispatcher_of_compilers_sees_one_operator(kind: type[Recurrent]) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    net, x = layers(kind), numbers(4, 3, 7)
    with torch.no_grad():
        graph = make_fx(lambda x: net(x)[0])(x)
        names = [str(node.target) for node in graph.graph.nodes]
        assert sum("gossamer.lstm" in name or "gossamer.gru" in name for name in names) == 1
        other = numbers(4, 3, 7, seed=4)
        torch.testing.assert_close(graph(other), net(other)[0])


@KINDS
def test_density_is_shared_among_projections(kind: type[Recurrent]) -> None:
    net = kind(40, 10, 2, density=0.1, allocate="er", generator=seeded())
    total = sum(layer.in_features * layer.out_features for layer in net.projections().values())
    assert net.nnz == pytest.approx(0.1 * total, abs=4)
    assert net.density == pytest.approx(0.1, rel=0.01)
    assert f"40, 10, num_layers=2, density={net.density:.4g}, nnz={net.nnz}" in repr(net)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    same = kind(40, 10, 2, density=0.1, allocate="er", generator=seeded())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), same.parameters(), strict=True))


@KINDS
def test_errors(kind: type[Recurrent]) -> None:
    for options, message in (
        ({"density": 0.0}, r"density must be in \(0, 1\]"),
        ({"density": None}, "needs either density or patterns"),
        ({"density": 0.5, "patterns": {}}, "needs either density or patterns"),
        ({"density": None, "patterns": {}}, "patterns must be given for ih_l0, hh_l0, got"),
        ({"density": 0.5, "dropout": 1.5}, r"dropout must be in \[0, 1\]"),
        ({"density": 0.5, "num_layers": 0}, "num_layers must be"),
        ({"density": 0.5, "recurrent_noise": 0.5}, "recurrent_noise must be a Bridgeout module or None"),
    ):
        with pytest.raises(InputError, match=message):
            kind(7, 5, **options)
    with pytest.raises(InputError, match="hidden_size must be"):
        kind(7, 0, density=0.5)
    net = layers(kind)
    with pytest.raises(InputError, match=r"x must have shape \(steps, batch, 7\) or \(steps, 7\), got \(2, 3, 6\)"):
        net(numbers(2, 3, 6))
    with pytest.raises(InputError, match="x must have at least one step"):
        net(numbers(0, 3, 7))
    with pytest.raises(InputError, match="got a PackedSequence: pad the sequences"):
        net(pack_sequence([numbers(3, 7), numbers(2, 7)]))
    with pytest.raises(InputError, match=r"h0 must have shape \(1, 3, 5\), got \(1, 2, 5\)"):
        net(numbers(2, 3, 7), state_of(kind, 1, 2, 5))
    h0 = numbers(1, 3, 5)
    for wrong in ((h0,), (h0, h0, h0), (h0, None)) if kind is SparseLSTM else ((h0, h0), [h0]):
        with pytest.raises(InputError, match=r"hx must be (a pair of tensors|a tensor h0)"):
            net(numbers(2, 3, 7), wrong)
    assert net(numbers(2, 0, 7))[0].shape == (2, 0, 5)


def test_a_projected_output_has_no_counterpart() -> None:
    with pytest.raises(InputError, match="no projection of its output"):
        SparseLSTM.from_dense(nn.LSTM(7, 5, proj_size=3))
