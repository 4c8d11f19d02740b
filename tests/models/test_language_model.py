"""The recurrent language model: its masked dense twin is the oracle; noise, states, tying and adaptive softmax."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer import InputError
from gossamer.models import LanguageModel, LockedDropout, detach_state
from gossamer.noise import Noise

pytestmark = pytest.mark.usefixtures("one_thread")

CELLS = pytest.mark.parametrize("cell", ["lstm", "gru"])
DENSITIES = pytest.mark.parametrize("density", [0.3, None])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def language_model(**options: Any) -> Any:
    options = dict[str, Any]({"width": 6, "hidden": 9, "layers": 3, "density": 0.3, "generator": seeded()}) | options
    return LanguageModel(13, **options)


TEXT = torch.randint(13, (9, 4), generator=torch.Generator().manual_seed(5))


def flat(state: Any) -> Tensor:
    return state.flatten() if isinstance(state, Tensor) else torch.cat([flat(part) for part in state])


@CELLS
@pytest.mark.parametrize("tied", [False, True])
def test_it_equals_its_masked_dense_twin(cell: str, tied: bool) -> None:
    sparse = language_model(cell=cell, tied=tied).double()
    dense = gs.to_dense(sparse)
    assert all(isinstance(layer, nn.LSTM | nn.GRU) for layer in dense.layers)
    loss, state = sparse.loss(TEXT[:-1], TEXT[1:])
    expected, expected_state = dense.loss(TEXT[:-1], TEXT[1:])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(flat(state), flat(expected_state))
    loss.backward()
    expected.backward()
    torch.testing.assert_close(sparse.embedding.weight.grad, dense.embedding.weight.grad)
    for index, layer in enumerate(sparse.layers):
        for name, inner in layer.projections().items():
            gradient = dense.get_parameter(f"layers.{index}.weight_{name}").grad
            torch.testing.assert_close(inner.weight_values.grad, gradient.flatten()[inner.pattern.flat_indices])


@CELLS
@DENSITIES
def test_a_text_in_pieces(cell: str, density: float | None) -> None:
    model = language_model(cell=cell, density=density)
    whole, last = model(TEXT)
    state, parts = None, []
    for piece in TEXT.split(4):
        logits, state = model(piece, detach_state(state))
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(flat(state), flat(last))
    detached = detach_state(last)
    assert not flat(detached).requires_grad
    assert torch.equal(flat(detached), flat(last))
    model.zero_grad()
    model.loss(TEXT[4:8], TEXT[5:9], detach_state(model(TEXT[:4])[1]))[0].backward()  # no graph of the first piece


def test_sizes() -> None:
    sizes = [(layer.input_size, layer.hidden_size) for layer in language_model().layers]
    assert sizes == [(6, 9), (9, 9), (9, 6)]  # the last is tied to the embeddings
    sizes = [(layer.input_size, layer.hidden_size) for layer in language_model(tied=False, density=None).layers]
    assert sizes == [(6, 9), (9, 9), (9, 9)]
    model = language_model(width=40, hidden=40, density=0.1, allocate="er")
    total = sum(layer.nnz / layer.density for layer in model.layers)
    assert sum(layer.nnz for layer in model.layers) == pytest.approx(0.1 * total, abs=3)


@DENSITIES
def test_all_draws_come_from_the_generators(density: float | None) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    for options in ({"dropout": 0.5}, {"dropout": 0.5, "q": 1.5}, {"weight_drop": 0.3, "weight_drop_q": 1.5}):
        a, b = (language_model(density=density, **options) for _ in range(2))
        for model in (a, b):
            source = seeded(3)
            for module in model.modules():
                if isinstance(module, Noise):
                    module.generator = source
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
        first = a(TEXT)[0]
        assert torch.equal(first, b(TEXT)[0])
        assert not torch.equal(first, a(TEXT)[0])
        assert torch.equal(a.eval()(TEXT)[0], language_model(density=density).eval()(TEXT)[0])
    language_model(density=density, tied=False, hidden=16, cutoffs=[4, 8])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dense_weights_drop_like_sparse_ones() -> None:
    """At the density 1, the same mask gives the same function and the same gradients."""
    for cell in ("lstm", "gru"):
        sparse = language_model(cell=cell, density=1.0, weight_drop=0.5, weight_drop_q=1.5)
        dense = gs.to_dense(sparse)
        results = []
        for model in (sparse, dense):
            assert model.weight_noise is not None
            model.weight_noise.generator = seeded(2)
            loss, _ = model.loss(TEXT[:-1], TEXT[1:])
            loss.backward()
            results.append((loss, model.embedding.weight.grad))
        for mine, right in zip(*results, strict=True):
            torch.testing.assert_close(mine, right)
        gradient = dense.layers[1].weight_hh_l0.grad.flatten()
        torch.testing.assert_close(sparse.layers[1].hh_l0.weight_values.grad, gradient)


def test_locked_dropout() -> None:
    drop, x = LockedDropout(0.4), torch.randn(5, 3, 200, generator=seeded())
    drop.generator = seeded(1)
    y = drop(x)
    factors = y / x
    assert torch.equal((factors == 0), (factors[:1] == 0).expand_as(factors))
    kept = factors[factors != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.6))
    assert float((factors[0] == 0).float().mean()) == pytest.approx(0.4, abs=0.08)
    assert drop.eval()(x) is x
    assert LockedDropout(0.0)(x) is x
    assert not LockedDropout(1.0)(x).any()
    with pytest.raises(InputError, match=r"p must be in \[0, 1\]"):
        LockedDropout(1.5)


def test_adaptive_softmax() -> None:
    model = language_model(tied=False, hidden=16, cutoffs=[4, 8])
    scores, state = model(TEXT[:-1])
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(8, 4))
    expected = nn.functional.nll_loss(scores.flatten(0, 1), TEXT[1:].flatten())
    loss, again = model.loss(TEXT[:-1], TEXT[1:])
    torch.testing.assert_close(loss, expected)
    assert torch.equal(flat(again), flat(state))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@CELLS
@pytest.mark.parametrize("rule", ["SET", "CoRSET", "RigL"])
def test_training_and_rewiring(cell: str, rule: str) -> None:
    model = language_model(cell=cell, dropout=0.1, weight_drop=0.1)
    for module in model.modules():
        if isinstance(module, Noise):
            module.generator = seeded(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    rewire = getattr(gs, rule)(model, optimizer)
    counts = {name: layer.nnz for name, layer in rewire.layers.items()}
    losses: list[float] = []
    for epoch in range(12):
        state = None
        for piece, following in pairwise(TEXT.split(4)[:2]):
            optimizer.zero_grad()
            logits, state = model(piece, detach_state(state))
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        if epoch % 4 == 3:
            rewire.step()
    assert losses[-1] < losses[0]
    assert {name: layer.nnz for name, layer in rewire.layers.items()} == counts


def test_copies_and_files(tmp_path: Path) -> None:
    model = language_model(weight_drop=0.5).eval()
    expected = model(TEXT)[0]
    assert torch.equal(copy.deepcopy(model)(TEXT)[0], expected)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = language_model(generator=seeded(9)).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(other(TEXT)[0], expected)
    torch.save(model, tmp_path / "whole.pt")
    assert torch.equal(torch.load(tmp_path / "whole.pt", weights_only=False)(TEXT)[0], expected)


def test_errors() -> None:
    for options, message in (
        ({"cell": "rnn"}, "cell must be one of 'lstm', 'gru'"),
        ({"layers": 0}, "layers must be"),
        ({"density": 0.0}, r"density must be in \(0, 1\]"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"dropout": 0.5, "q": -1.0}, "q must be"),
        ({"weight_drop": 1.5}, r"weight_drop must be in \[0, 1\]"),
        ({"cutoffs": [4]}, "cutoffs need tied=False"),
        ({"cutoffs": [], "tied": False}, "cutoffs must be one number at least"),
        (
            {"cutoffs": [8, 4], "tied": False, "hidden": 16},
            "cutoffs must be ascending, distinct whole numbers from 1 to 12",
        ),
        ({"cutoffs": [4, 8], "tied": False, "hidden": 15}, "power of their count at most the 15 features"),
        ({"cutoffs": [13], "tied": False}, "cutoffs must be ascending, distinct whole numbers from 1 to 12"),
    ):
        with pytest.raises(InputError, match=message):
            language_model(**options)
    model = language_model()
    for wrong in (TEXT[0], TEXT.float(), TEXT[:0]):
        with pytest.raises(InputError, match=r"tokens must be integers \(steps ≥ 1, batch\)"):
            model(wrong)
    with pytest.raises(InputError, match="state must have a part for each of 3 layers, got 2"):
        model(TEXT, model(TEXT)[1][:2])
    with pytest.raises(InputError, match=r"h0 must have shape \(1, 2, 9\), got \(1, 4, 9\)"):
        model(TEXT[:, :2], model(TEXT)[1])
    with pytest.raises(InputError, match=r"targets must have the shape of tokens, \(9, 4\), got \(8, 4\)"):
        model.loss(TEXT, TEXT[1:])
