from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gossamer import InputError
from gossamer.models import orthogonal_matching_pursuit


def unit_atoms(n: int, d: int, generator: torch.Generator) -> Tensor:
    atoms = torch.randn(n, d, generator=generator, dtype=torch.float64)
    length: Tensor = atoms.norm(dim=1, keepdim=True)
    return atoms / length


@pytest.mark.parametrize("k", [1, 3, 8])
def test_it_agrees_with_scikit_learn(k: int, generator: torch.Generator) -> None:
    from sklearn.linear_model import orthogonal_mp

    atoms = unit_atoms(20, 12, generator)
    x = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    theirs = orthogonal_mp(atoms.T.numpy(), x.T.numpy(), n_nonzero_coefs=k)
    ours = orthogonal_matching_pursuit(x, atoms, k)
    np.testing.assert_allclose(ours.numpy(), np.reshape(theirs, (20, 30)).T, atol=1e-10)


def test_what_is_left_is_orthogonal_to_the_live_atoms(generator: torch.Generator) -> None:
    atoms, x = unit_atoms(40, 16, generator), torch.randn(50, 16, generator=generator, dtype=torch.float64)
    code = orthogonal_matching_pursuit(x, atoms, 6)
    assert ((code != 0).sum(1) == 6).all()
    left = (x - code @ atoms) @ atoms.T
    assert left[code != 0].abs().max() < 1e-10


def test_orthonormal_atoms_give_the_largest_coefficients() -> None:
    x = torch.tensor([[3.0, -5.0, 1.0, 0.0], [0.0, 0.0, 2.0, 2.0]])
    code = orthogonal_matching_pursuit(x, torch.eye(4), 2)
    assert torch.equal(code, torch.tensor([[3.0, -5.0, 0.0, 0.0], [0.0, 0.0, 2.0, 2.0]]))
    assert torch.equal(orthogonal_matching_pursuit(x[1:], torch.eye(4), 1), torch.tensor([[0.0, 0.0, 2.0, 0.0]]))


def test_a_row_is_done_when_it_is_near_enough() -> None:
    x = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.1, 0.0, 0.0]])
    code = orthogonal_matching_pursuit(x, torch.eye(3), tolerance=torch.tensor([1.0, 5.0, 0.1]))
    assert torch.equal(code, torch.tensor([[3.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_samples_that_few_atoms_make_up_are_found_at_any_scale(
    dtype: torch.dtype, scale: float, generator: torch.Generator
) -> None:
    atoms = unit_atoms(30, 20, generator).to(dtype)
    truth = torch.zeros(10, 30, dtype=dtype)
    truth[torch.arange(10), torch.arange(10)] = 2 * scale
    code = orthogonal_matching_pursuit(truth @ atoms, atoms)
    torch.testing.assert_close(code, truth, atol=1e-5 * scale, rtol=1e-5)
    assert ((code != 0).sum(1) == 1).all()


def test_twins_zero_atoms_and_what_atoms_cannot_reach_stay_silent() -> None:
    atoms = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    code = orthogonal_matching_pursuit(torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), atoms)
    assert torch.equal(code, torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_atoms_that_depend_on_each_other_give_finite_codes(generator: torch.Generator) -> None:
    plane = torch.randn(8, 2, generator=generator) @ torch.randn(2, 12, generator=generator)
    atoms = plane / plane.norm(dim=1, keepdim=True)
    x = torch.randn(20, 12, generator=generator)
    code = orthogonal_matching_pursuit(x, atoms, 8)
    assert code.isfinite().all()
    best = x - x @ torch.linalg.pinv(atoms) @ atoms
    assert (x - code @ atoms).norm() <= best.norm() * (1 + 1e-3)


def test_rows_that_are_not_finite_become_nan_and_only_those() -> None:
    x = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [torch.inf, 0.0]])
    code = orthogonal_matching_pursuit(x, torch.eye(2))
    assert torch.equal(code[0], x[0])
    assert code[1:].isnan().all()


def test_nothing_from_nothing() -> None:
    assert orthogonal_matching_pursuit(torch.zeros(0, 3), torch.eye(3)).shape == (0, 3)
    assert orthogonal_matching_pursuit(torch.ones(4, 3), torch.zeros(0, 3)).shape == (4, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 4)}, r"x must be \(batch, 3\)"),
        ({"x": torch.zeros(3)}, "x must be"),
        ({"x": torch.zeros(2, 3, dtype=torch.float64)}, "like the atoms"),
        ({"k": 0}, "k must be a whole number from 1 to 3"),
        ({"k": 4}, "k must be a whole number from 1 to 3"),
        ({"tolerance": -1.0}, "tolerance must be at least 0, got -1"),
        ({"tolerance": float("nan")}, "tolerance must be"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"x": torch.zeros(2, 3), "atoms": torch.eye(3)}
    with pytest.raises(InputError, match=message):
        orthogonal_matching_pursuit(**(arguments | change))  # type: ignore[arg-type]
