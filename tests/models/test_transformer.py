"""The decoder-only Transformer: its masked dense twin is the oracle."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer import InputError, SparseLinear
from gossamer.models import Transformer
from gossamer.models.noise import Dropout
from gossamer.models.transformer import apply_rotation, rotary_angles

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transformer(**options: Any) -> Any:
    options = (
        dict[str, Any]({"width": 16, "blocks": 2, "heads": 2, "context": 7, "density": 0.3, "generator": seeded()})
        | options
    )
    return Transformer(11, **options)


TOKENS = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(5))
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"positions": "learned", "tied": False},
    {"activation": "hoyer:0.6", "hidden": 24},
    {"activation": "topk:5"},
)


@pytest.mark.parametrize("options", VARIANTS)
def test_it_equals_its_masked_dense_twin(options: dict[str, Any]) -> None:
    sparse = transformer(**options).double()
    dense: Any = gs.to_dense(sparse)
    assert not any(isinstance(module, SparseLinear) for module in dense.modules())
    logits, expected = sparse(TOKENS), dense(TOKENS)
    torch.testing.assert_close(logits, expected)
    factors = torch.randn(logits.shape, generator=seeded(1), dtype=torch.float64)
    (logits * factors).sum().backward()
    (expected * factors).sum().backward()
    for name, module in sparse.named_modules():
        if isinstance(module, SparseLinear):
            gradient = dense.get_submodule(name).weight.grad
            torch.testing.assert_close(module.weight_values.grad, gradient.flatten()[module.pattern.flat_indices])
            assert module.bias is not None
            torch.testing.assert_close(module.bias.grad, dense.get_parameter(f"{name}.bias").grad)
    for name, parameter in sparse.named_parameters():
        if "norm" in name or "embedding" in name or name.startswith(("output", "positions")):
            torch.testing.assert_close(parameter.grad, dense.get_parameter(name).grad)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_logits_depend_on_the_past_alone(positions: str) -> None:
    model = transformer(positions=positions)
    changed = TOKENS.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % 11
    before, after = model(TOKENS), model(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])
    torch.testing.assert_close(model(TOKENS[:, :4]), before[:, :4])
    torch.testing.assert_close(model(TOKENS[1:2]), before[1:2])


def test_rotated_products_depend_on_distances() -> None:
    """⟨R_s q, R_t k⟩ is a function of s − t, and rotations keep lengths."""
    angles = rotary_angles(9, 6, torch.empty(0))
    assert angles.shape == (9, 3)
    torch.testing.assert_close(angles[2], 2 * 10_000.0 ** (-2 * torch.arange(3) / 6))
    q, k = (torch.randn(6, generator=seeded(seed)).double() for seed in (1, 2))
    turned_q, turned_k = (apply_rotation(x.expand(9, 6), angles.double()) for x in (q, k))
    products = turned_q @ turned_k.t()
    for offset in range(-3, 4):
        diagonal = products.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    torch.testing.assert_close(turned_q.norm(dim=1), q.norm().expand(9))


def test_a_dense_twin_has_the_same_shapes() -> None:
    sparse, dense = transformer(), transformer(density=None)
    assert [name for name, _ in sparse.named_children()] == [name for name, _ in dense.named_children()]
    block = dense.blocks[0]
    assert all(type(layer) is nn.Linear for layer in (block.qkv, block.attended, block.expand, block.contract))
    assert dense(TOKENS).shape == sparse(TOKENS).shape == (3, 7, 11)
    assert dense.output.weight is dense.embedding.weight
    total = sum(m.in_features * m.out_features for m in sparse.modules() if isinstance(m, SparseLinear))
    assert sum(m.nnz for m in sparse.modules() if isinstance(m, SparseLinear)) == pytest.approx(0.3 * total, abs=4)


@pytest.mark.parametrize("density", [0.3, None])
def test_all_draws_come_from_the_generators(density: float | None) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    a, b = transformer(density=density, dropout=0.5), transformer(density=density, dropout=0.5)
    for model in (a, b):
        for module in model.modules():
            if isinstance(module, Dropout):
                module.generator = seeded(3)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    first = a(TOKENS)
    assert torch.equal(first, b(TOKENS))
    assert not torch.equal(first, a(TOKENS))
    assert torch.equal(a.eval()(TOKENS), b.eval()(TOKENS))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("rule", ["SET", "CoRSET", "RigL"])
def test_training_and_rewiring(rule: str) -> None:
    model = transformer()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    rewire = getattr(gs, rule)(model, optimizer)
    counts = {name: layer.nnz for name, layer in rewire.layers.items()}
    losses = []
    for step in range(24):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(TOKENS[:, :-1]).flatten(0, 1), TOKENS[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 8 == 7:
            rewire.step()
    assert losses[-1] < 0.8 * losses[0]
    assert {name: layer.nnz for name, layer in rewire.layers.items()} == counts


def test_copies_and_files(tmp_path: Path) -> None:
    model = transformer()
    expected = model(TOKENS)
    assert torch.equal(copy.deepcopy(model)(TOKENS), expected)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = transformer(generator=seeded(9))
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(other(TOKENS), expected)
    torch.save(model, tmp_path / "whole.pt")
    assert torch.equal(torch.load(tmp_path / "whole.pt", weights_only=False)(TOKENS), expected)


def test_errors() -> None:
    for options, message in (
        ({"heads": 3}, "width must be an even multiple of heads = 3, got 16"),
        ({"heads": 16}, "width must be an even multiple of heads = 16, got 16"),
        ({"heads": 3, "positions": "learned"}, "width must be a multiple of heads = 3, got 16"),
        ({"positions": "sinusoidal"}, "positions must be one of 'rotary', 'learned'"),
        ({"density": 0.0}, r"density must be in \(0, 1\]"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"activation": "swish"}, "activation must be"),
        ({"blocks": 0}, "blocks must be"),
        ({"context": 0}, "context must be"),
    ):
        with pytest.raises(InputError, match=message):
            transformer(**options)
    model = transformer()
    with pytest.raises(InputError, match="tokens must have from 1 to context = 7 steps, got 8"):
        model(torch.zeros(1, 8, dtype=torch.int64))
    with pytest.raises(InputError, match="tokens must have from 1 to context = 7 steps, got 0"):
        model(TOKENS[:, :0])
    for wrong in (TOKENS[0], TOKENS.float()):
        with pytest.raises(InputError, match=r"tokens must be integers \(batch, steps\)"):
            model(wrong)
