from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer import InputError, measures
from gossamer.functional import hoyer_projection
from gossamer.models import Dictionary
from gossamer.models.atoms import low_rank, standardized
from gossamer.models.dictionary import Coder, hebbian_update_
from gossamer.studies.dictionary.outcome import neighbours_alike
from gossamer.training.dictionary import train_dictionary


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def bars(count: int, side: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Atoms that are single rows or columns of a picture, and samples of two of them with noise."""
    lines = torch.zeros(2 * side, side, side)
    for i in range(side):
        lines[i, i, :] = lines[side + i, :, i] = 1
    atoms = standardized(lines.reshape(2 * side, -1), center=True)
    weight = torch.zeros(count, 2 * side).scatter(
        1,
        torch.rand(count, 2 * side, generator=seeded(seed)).argsort(1)[:, :2],
        1 + torch.rand(count, 2, generator=seeded(seed + 1)),
    )
    return atoms, weight @ atoms + 0.02 * normal(count, side * side, seed=seed + 2, dtype=torch.float32)


# ---- the rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("center", [True, False])
def test_the_update_is_the_gradient_of_the_correlation_with_the_code_held_fixed(center: bool) -> None:
    atoms, x, rate = normal(7, 10), standardized(normal(5, 10, seed=1), center), 0.3
    code = hoyer_projection(normal(5, 7, seed=2), 0.6, signed=True)
    variable = atoms.clone().requires_grad_()
    a = code @ variable
    a = a - a.mean(1, keepdim=True) if center else a
    rho = (x * a).sum(1) / a.norm(dim=1)
    (gradient,) = torch.autograd.grad(rho.sum(), variable)
    found = hebbian_update_(atoms, x, code, rate, center=center)
    torch.testing.assert_close(found, rho.detach())
    torch.testing.assert_close(atoms, variable.detach() + rate * gradient)


def test_a_step_by_hand() -> None:
    atoms = torch.eye(2, 3)
    x = torch.tensor([[0.6, 0.0, 0.8]])
    rho = hebbian_update_(atoms, x, torch.tensor([[1.0, 0.0]]), 0.5, center=False)
    torch.testing.assert_close(rho, torch.tensor([0.6]))
    torch.testing.assert_close(atoms, torch.tensor([[1.0, 0.0, 0.4], [0.0, 1.0, 0.0]]))  # g = x − ρ w


def test_reading_active_entries_alone_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, u = standardized(normal(40, 130), True), normal(40, 200, seed=1)
    code = hoyer_projection(u, 0.95, signed=True)
    code[3] = 0
    few, dense = normal(200, 130, seed=2), normal(200, 130, seed=2)
    rho = hebbian_update_(few, x, code, 0.1)
    monkeypatch.setattr("gossamer.models.dictionary._FEW", 0)
    monkeypatch.delattr("gossamer.models.dictionary._active_product")
    torch.testing.assert_close(hebbian_update_(dense, x, code, 0.1), rho)
    torch.testing.assert_close(few, dense)


def test_a_reproduction_of_zero_moves_nothing() -> None:
    atoms = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    before = atoms.clone()
    code = torch.full((1, 2), 0.5)
    assert torch.equal(hebbian_update_(atoms, torch.tensor([[0.0, 1.0]]), code, 0.5, center=False), torch.zeros(1))
    assert torch.equal(atoms, before)


# ---- what atoms and codes keep to ------------------------------------------------------------------------------------


@given(sigma=st.floats(0.3, 0.97), signed=st.booleans(), n=st.integers(3, 40), seed=st.integers(0, 100))
def test_codes_have_the_sparseness_asked_for(sigma: float, signed: bool, n: int, seed: int) -> None:
    dictionary = Dictionary(normal(n, 12, seed=seed), sigma, signed=signed)
    x = normal(9, 12, seed=seed + 1)
    h = dictionary.project(standardized(x, True))
    torch.testing.assert_close(measures.hoyer(h), torch.full((9,), sigma, dtype=h.dtype), atol=1e-9, rtol=0)
    code = dictionary.encode(x, "projection").code
    alive = code.abs().sum(1) > 0  # a reproduction that is worse than nothing is left out
    torch.testing.assert_close(measures.hoyer(code[alive]), measures.hoyer(h)[alive], atol=1e-9, rtol=0)
    assert signed or bool((code >= 0).all())


@pytest.mark.parametrize("options", [{}, {"atom_sparseness": 0.7}, {"rank": 2, "patch_shape": (4, 5)}])
def test_atoms_keep_to_their_kind(options: dict[str, object]) -> None:
    x = normal(300, 20, dtype=torch.float32)
    dictionary = Dictionary.from_samples(x, 9, generator=seeded(), **options)
    for _ in train_dictionary(dictionary, x, epochs=2, batch_size=32, generator=seeded()):
        length = dictionary.atoms.norm(dim=1)
        torch.testing.assert_close(length, torch.ones(9))
        if "atom_sparseness" in options:
            torch.testing.assert_close(measures.hoyer(dictionary.atoms), torch.full((9,), 0.7))
    if "rank" in options:
        assert torch.equal(torch.linalg.matrix_rank(dictionary.atoms.reshape(9, 4, 5), rtol=1e-5), torch.full((9,), 2))
        assert torch.linalg.matrix_rank(dictionary.atoms) == 9


def test_low_rank_gives_the_nearest_matrices() -> None:
    atoms = normal(3, 12)
    near = low_rank(atoms, (3, 4), 1)
    for a, b in zip(atoms.reshape(3, 3, 4), near.reshape(3, 3, 4), strict=True):
        singular = torch.linalg.svdvals(a)
        torch.testing.assert_close((a - b).norm(), singular[1:].norm())
    torch.testing.assert_close(low_rank(atoms, (3, 4), 3), atoms)
    torch.testing.assert_close(low_rank(near, (3, 4), 1), near)


# ---- learning --------------------------------------------------------------------------------------------------------


def test_it_finds_the_atoms_that_samples_are_made_of() -> None:
    truth, x = bars(4000)
    dictionary = Dictionary.from_samples(x, 12, sparseness=0.85, generator=seeded(3))
    errors = list(train_dictionary(dictionary, x, epochs=5, batch_size=64, generator=seeded()))
    assert sum(errors[-50:]) < 0.5 * sum(errors[:50])
    assert (truth @ dictionary.atoms.T).abs().amax(1).min() > 0.95


def test_neighbours_on_the_torus_become_alike() -> None:
    angle, shift = 2 * math.pi * torch.rand(2, 3000, 1, 1, generator=seeded())
    i = torch.arange(8) - 3.5
    x = torch.sin(torch.cos(angle) * i[:, None] + torch.sin(angle) * i + shift).flatten(1)
    ratios = []
    for grid in ((8, 8), None):
        dictionary = Dictionary.from_samples(x, 64, sparseness=0.85, grid=grid, smoothing=1.0, generator=seeded())
        for _ in train_dictionary(dictionary, x, epochs=4, batch_size=64, generator=seeded()):
            pass
        near, far = neighbours_alike(dictionary.atoms.numpy(), (8, 8))
        ratios.append(near / far)
    assert ratios[0] > 1.3
    assert 0.8 < ratios[1] < 1.15


@given(scale=st.sampled_from([1e-150, 1e-3, 1.0, 1e150]), offset=st.floats(-5, 5))
def test_scale_and_mean_of_samples_change_nothing(scale: float, offset: float) -> None:
    x = normal(30, 8)
    first, second = (Dictionary(normal(6, 8, seed=1), 0.6) for _ in range(2))
    first.update(x)
    second.update(scale * (x + offset))
    torch.testing.assert_close(first.atoms, second.atoms, atol=1e-9, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_constant_samples_teach_nothing(value: float) -> None:
    dictionary = Dictionary(normal(5, 9, dtype=torch.float32), 0.5)
    before = dictionary.atoms.clone()
    assert torch.equal(dictionary.update(torch.full((4, 9), value)), torch.zeros(4))
    torch.testing.assert_close(dictionary.atoms, before)
    blank = Dictionary.from_samples(torch.full((4, 9), value), 5, generator=seeded())
    torch.testing.assert_close(blank.atoms.norm(dim=1), torch.ones(5))


def test_a_large_batch_counts_as_one_of_as_many_samples_as_atoms() -> None:
    x = normal(6, 8)
    once, often = (Dictionary(normal(6, 8, seed=1), 0.6) for _ in range(2))
    once.update(x, 0.2)
    often.update(x.repeat(10, 1), 0.2)
    torch.testing.assert_close(once.atoms, often.atoms)


def test_the_seed_decides_and_torch_keeps_its_own() -> None:
    before = torch.get_rng_state()
    x = normal(200, 10, dtype=torch.float32)
    runs = []
    for seed in (1, 1, 2):
        generator = seeded(seed)
        dictionary = Dictionary.from_samples(x, 8, generator=generator)
        errors = list(train_dictionary(dictionary, x, epochs=2, batch_size=64, generator=generator))
        assert len(errors) == 2 * 4
        runs.append(dictionary.atoms)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(before, torch.get_rng_state())


def test_more_atoms_than_samples_and_one_and_none() -> None:
    x = normal(3, 6)
    assert Dictionary.from_samples(x, 12, generator=seeded()).atoms.isfinite().all()
    for n in (0, 1):
        dictionary = Dictionary.from_samples(x, n, generator=seeded())
        dictionary.update(x)
        for coder in ("omp", "projection"):
            encoding = dictionary.encode(x, coder)
            assert encoding.code.shape == (3, n)
            assert (x - dictionary.decode(encoding)).norm() <= (x - x.mean(1, keepdim=True)).norm() * (1 + 1e-6)


# ---- codes in the units of the samples -------------------------------------------------------------------------------


@pytest.mark.parametrize("coder", ["omp", "projection"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("kind", [{}, {"atom_sparseness": 0.6}])
def test_codes_scale_with_the_sample_and_its_mean_goes_to_the_offset(
    coder: Coder, center: bool, kind: dict[str, float]
) -> None:
    dictionary = Dictionary(normal(12, 9), 0.7, center=center, **kind)  # type: ignore[arg-type]
    x = normal(5, 9, seed=1)
    encoding = dictionary.encode(x, coder, k=3)
    scaled = dictionary.encode(10 * x + 7 * center, coder, k=3)
    torch.testing.assert_close(scaled.code, 10 * encoding.code)
    torch.testing.assert_close(scaled.offset, 10 * encoding.offset + 7 * center)
    left = x - dictionary.decode(encoding)
    if center:
        torch.testing.assert_close(left.mean(1), torch.zeros(5, dtype=x.dtype))
    else:
        assert not encoding.offset.any()
    reproduced = dictionary.decode(encoding) - encoding.offset
    reproduced = reproduced - center * reproduced.mean(1, keepdim=True)
    torch.testing.assert_close((left * reproduced).sum(1), torch.zeros(5, dtype=x.dtype))  # the best length


def test_all_atoms_together_reproduce_a_sample() -> None:
    dictionary, x = Dictionary(normal(12, 9), 0.7), normal(5, 9, seed=1)
    torch.testing.assert_close(dictionary.decode(dictionary.encode(x)), x)


def test_constant_samples_have_no_code() -> None:
    dictionary = Dictionary(normal(12, 9), 0.7)
    for coder in ("omp", "projection"):
        encoding = dictionary.encode(torch.full((2, 9), 3.0, dtype=torch.float64), coder)
        assert not encoding.code.any()
        assert torch.equal(encoding.offset, torch.full((2, 1), 3.0, dtype=torch.float64))


def test_it_can_be_copied_saved_and_loaded() -> None:
    first = Dictionary(normal(6, 9), 0.7, grid=(2, 3))
    second = Dictionary(normal(6, 9, seed=1), 0.7, grid=(2, 3))
    second.load_state_dict(copy.deepcopy(first).state_dict())
    x = normal(4, 9, seed=2)
    assert torch.equal(first.project(x), second.project(x))
    assert "6, 9, sparseness=0.7" in repr(first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atoms": torch.zeros(3)}, "atoms must be rows"),
        ({"atoms": torch.zeros(3, 1)}, "atoms must be rows of at least 2"),
        ({"atoms": torch.zeros(3, 6, dtype=torch.int64)}, "float32 or float64"),
        ({"atoms": torch.full((4, 6), torch.nan)}, "atoms must be finite"),
        ({"sparseness": 1.0}, "sparseness"),
        ({"atom_sparseness": 0.0}, "atom_sparseness"),
        ({"rank": 1}, "patch_shape must be two numbers of product 6"),
        ({"rank": 1, "patch_shape": (2, 2)}, "patch_shape"),
        ({"rank": 3, "patch_shape": (2, 3)}, "rank must be a whole number from 1 to 2, got 3"),
        ({"rank": 1, "patch_shape": (2, 3), "atom_sparseness": 0.5}, "rank must be None"),
        ({"grid": (2, 3)}, "grid must be two numbers of product 4"),
        ({"grid": (4,)}, "grid"),
        ({"grid": (2, 2), "smoothing": 0.0}, "smoothing"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"atoms": normal(4, 6)}
    with pytest.raises(InputError, match=message):
        Dictionary(**(arguments | change))  # type: ignore[arg-type]


def test_samples_that_cannot_be_used_are_refused() -> None:
    dictionary = Dictionary(normal(4, 6), 0.5)
    before = dictionary.atoms.clone()
    for bad in (math.nan, math.inf):
        x = normal(3, 6)
        x[1, 2] = bad
        with pytest.raises(InputError, match="x must be finite"):
            dictionary.update(x)

    def trained(x: Tensor) -> float:
        return next(train_dictionary(dictionary, x, generator=seeded()))

    for wrong in (torch.zeros(6), torch.zeros(2, 5), torch.zeros(2, 6, dtype=torch.int64)):
        for call in (dictionary.update, dictionary.encode, trained):
            with pytest.raises(InputError, match=r"x must be \(batch, 6\), float32 or float64"):
                call(wrong)
    with pytest.raises(InputError, match="x must be floating point of shape"):
        Dictionary.from_samples(torch.zeros(6), 3, generator=seeded())
    with pytest.raises(InputError, match="rate must be in"):
        dictionary.update(normal(3, 6), 0.0)
    with pytest.raises(InputError, match="coder must be one of 'omp', 'projection'"):
        dictionary.encode(normal(3, 6), "lasso")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch_size"):
        next(train_dictionary(dictionary, normal(3, 6), batch_size=0, generator=seeded()))
    assert torch.equal(dictionary.atoms, before)
