"""Sparse multi-head attention: the masked dense module is its oracle."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer import InputError
from gossamer.connectivity import SparseMultiheadAttention

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def attention(**options: Any) -> Any:
    options = dict[str, Any]({"density": 0.4, "generator": seeded(), "dtype": torch.float64}) | options
    return SparseMultiheadAttention(8, 2, **options)


PADDING = torch.zeros(3, 5, dtype=torch.bool)
PADDING[1, 3:] = True
CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "padding": {"key_padding_mask": PADDING},
    "numbers for padding": {"key_padding_mask": torch.zeros(3, 5, dtype=torch.float64).masked_fill(PADDING, -2.0)},
    "causal": {"attn_mask": CAUSAL, "is_causal": True},
    "by heads": {"attn_mask": numbers(6, 5, 5)},
    "both": {"key_padding_mask": PADDING, "attn_mask": CAUSAL},
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_it_equals_the_masked_dense_module(mask: str, need_weights: bool, batch_first: bool, bias: bool) -> None:
    sparse = attention(batch_first=batch_first, bias=bias)
    dense = sparse.to_dense()
    shape = (3, 5, 8) if batch_first else (5, 3, 8)
    a = [numbers(*shape, seed=seed).requires_grad_() for seed in (1, 2, 3)]
    b = [x.detach().clone().requires_grad_() for x in a]
    options = {"need_weights": need_weights, **MASKS[mask]}
    (y, weights), (expected, expected_weights) = sparse(*a, **options), dense(*b, **options)
    torch.testing.assert_close(y, expected)
    assert (weights is None) == (not need_weights)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights)
    factors = numbers(*y.shape, seed=4)
    (y * factors).sum().backward()
    (expected * factors).sum().backward()
    for mine, right in zip(a, b, strict=True):
        torch.testing.assert_close(mine.grad, right.grad)
    rows = dense.in_proj_weight.grad.chunk(3)
    for name, gradient in zip(
        ("q_proj", "k_proj", "v_proj", "out_proj"), (*rows, dense.out_proj.weight.grad), strict=True
    ):
        layer = getattr(sparse, name)
        torch.testing.assert_close(layer.weight_values.grad, gradient.flatten()[layer.pattern.flat_indices])


def test_other_widths_of_keys_and_values() -> None:
    sparse = attention(kdim=6, vdim=4)
    dense = sparse.to_dense()
    given = numbers(5, 3, 8), numbers(7, 3, 6), numbers(7, 3, 4)
    for mine, right in zip(sparse(*given), dense(*given), strict=True):
        torch.testing.assert_close(mine, right)
    again = SparseMultiheadAttention.from_dense(dense)
    torch.testing.assert_close(again(*given)[0], dense(*given)[0])


def test_without_a_batch_and_by_heads() -> None:
    sparse = attention()
    dense, x = sparse.to_dense(), numbers(5, 8)
    for options in ({}, {"average_attn_weights": False}, {"key_padding_mask": PADDING[1]}):
        for mine, right in zip(sparse(x, x, x, **options), dense(x, x, x, **options), strict=True):
            torch.testing.assert_close(mine, right)


def test_is_causal_alone_is_a_causal_mask() -> None:
    sparse, x = attention(batch_first=True), numbers(3, 5, 8)
    expected = sparse(x, x, x, attn_mask=CAUSAL)
    for mine, right in zip(sparse(x, x, x, is_causal=True), expected, strict=True):
        torch.testing.assert_close(mine, right)


def test_dropout_follows_its_generator() -> None:
    sparse, x = attention(dropout=0.5), numbers(5, 3, 8)
    sparse.generator = seeded(1)
    first = sparse(x, x, x, need_weights=False)[0]
    sparse.generator = seeded(1)
    assert torch.equal(sparse(x, x, x, need_weights=False)[0], first)
    sparse.generator = None
    torch.manual_seed(0)
    assert not torch.equal(sparse(x, x, x, need_weights=False)[0], first)
    sparse.eval()
    torch.testing.assert_close(sparse(x, x, x)[0], sparse.to_dense()(x, x, x)[0])


def test_inside_the_transformers_of_pytorch() -> None:
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True, dtype=torch.float64)
    model: Any = gs.sparsify_(nn.TransformerDecoder(layer, 2), 0.4, generator=seeded())
    assert isinstance(model.layers[1].multihead_attn, SparseMultiheadAttention)
    dense, x, memory = gs.to_dense(model), numbers(3, 5, 8), numbers(3, 4, 8, seed=2)
    assert type(dense.layers[1].multihead_attn) is nn.MultiheadAttention
    torch.testing.assert_close(model(x, memory), dense(x, memory))
    torch.testing.assert_close(model.eval()(x, memory), dense.eval()(x, memory))
    torch.testing.assert_close(copy.deepcopy(model)(x, memory), dense(x, memory))


@pytest.mark.parametrize("rule", ["SET", "CoRSET", "RigL"])
def test_rewiring(rule: str) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    torch.manual_seed(0)
    model: Any = gs.sparsify_(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), 0.4, generator=seeded())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    rewire = getattr(gs, rule)(model, optimizer)
    assert "layers.0.self_attn.q_proj" in rewire.layers
    counts = [layer.nnz for layer in rewire.layers.values()]
    x = numbers(6, 5, 8).float()
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        rewire.step()
    assert [layer.nnz for layer in rewire.layers.values()] == counts
    assert sum(entry["grown"] for entry in rewire.log) > 0


def test_frozen_parameters_stay_frozen() -> None:
    dense = nn.MultiheadAttention(8, 2).eval()
    dense.out_proj.weight.requires_grad_(False)
    sparse: Any = SparseMultiheadAttention.from_dense(dense)
    assert not sparse.training
    assert not sparse.out_proj.weight_values.requires_grad
    assert sparse.out_proj.bias.requires_grad
    assert sparse.q_proj.weight_values.requires_grad
    again = sparse.to_dense()
    for name, parameter in dense.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter)
        assert again.get_parameter(name).requires_grad == parameter.requires_grad


def test_errors() -> None:
    for options, message in (
        ({"density": None}, "needs either density or patterns"),
        ({"density": None, "patterns": {}}, "patterns must be given for q_proj, k_proj, v_proj, out_proj, got"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\]"),
        ({"kdim": 0}, "kdim must be"),
    ):
        with pytest.raises(InputError, match=message):
            attention(**options)
    with pytest.raises(InputError, match="embed_dim must be divisible by num_heads = 3, got 8"):
        SparseMultiheadAttention(8, 3, density=0.5)
    sparse, x = attention(), numbers(5, 3, 8)
    with pytest.raises(InputError, match=r"key must have shape \(…, 8\) with 2 or 3 dimensions"):
        sparse(x, x[..., 1:], x)
    with pytest.raises(InputError, match=r"value must have shape"):
        sparse(x, x, x[0])
    with pytest.raises(InputError, match=r"attn_mask must have shape \(5, 5\) or \(6, 5, 5\), got \(4, 5\)"):
        sparse(x, x, x, attn_mask=CAUSAL[1:])
    with pytest.raises(InputError, match=r"key_padding_mask must have shape \(3, 5\)"):
        sparse(x, x, x, key_padding_mask=PADDING[1:])
    with pytest.raises(InputError, match=r"masks must be booleans or floating point, got torch\.int64"):
        sparse(x, x, x, attn_mask=CAUSAL.long())
    with pytest.raises(InputError, match="neither add_bias_kv nor add_zero_attn"):
        SparseMultiheadAttention.from_dense(nn.MultiheadAttention(8, 2, add_zero_attn=True))
