"""Dictionary learning by a Hebbian-like rule, with codes of given sparseness (EZDL).

A dictionary of n atoms, the columns of W (d × n), reproduces a sample x of d numbers from few of them. Let x have zero
mean and unit length. Then

    h = Proj(Wᵀ x)                                 code: Hoyer's sparseness σ, length 1
    a = W h,   less its mean                       reproduction
    ρ = ⟨x, a⟩ / ‖a‖                               its correlation with the sample
    g = ∂ρ/∂a = (x − ρ a/‖a‖) / ‖a‖
    W ← W + η Σ g hᵀ   over a batch                each atom that fired moves towards what the sample lacks
    w_j ← w_j / ‖w_j‖

That h depends on W is ignored: the change of a connection is the product of the activations on its two sides. Nothing
is solved for, so a step costs three matrix products. ρ is blind to scale and offset; `Dictionary.encode` gives them
back.

Three kinds of atoms besides any of unit length: of given Hoyer sparseness, by projection; of low rank as matrices of
pixels (rank 1 is separable); and topographic, in order on a torus of rows and columns, by smoothing Wᵀ x over the
neighbours on it before the projection, so that neighbours are active together and become alike.

Source: Thom, Rapp, Palm, "Efficient dictionary learning with sparseness-enforcing projections", IJCV 114 (2015), arXiv
1604.04767, for the idea: a Hebbian-like rule, codes by projection, separable and topographic atoms. The formulas are
ours where that leaves room, and so are batches, the step sizes and their schedule, the first atoms, unit length after
every step, the kernel on the torus, and when atoms of low rank are restored (every tenth step).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.models.pursuit import orthogonal_matching_pursuit
from gossamer.projections import hoyer_projection
from gossamer.projections.rows import polar

__all__ = ["Coder", "Dictionary", "Encoding", "hebbian_update_", "low_rank", "standardized"]

Coder = Literal["omp", "projection"]

_MIXED = 4096  # samples in the first atoms
_FEW = 1 / 16  # where a smaller share of the code is live, reading that alone was faster (n = d = 256, one thread)


def hebbian_update_(atoms: Tensor, x: Tensor, code: Tensor, rate: float, *, center: bool = True) -> Tensor:
    """W ← W + rate Σ g hᵀ over a batch, in place and without the return to unit length; gives ρ (batch).

    Args:
        atoms: (n, d), the columns of W as rows.
        x: (batch, d), of zero mean (with ``center``) and unit length. A zero row changes nothing.
        code: (batch, n), h.
        rate: η.
        center: take the mean off the reproduction; otherwise ρ is the cosine.
    """
    few = code.device.type == "cpu" and atoms.shape[1] >= 128 and int(code.count_nonzero()) < _FEW * code.numel()
    a = _live_product(code, atoms) if few else code @ atoms
    if center:
        a -= a.mean(1, keepdim=True)
    length = a.norm(dim=1, keepdim=True)
    length = torch.where(length > 0, length, math.inf)
    a /= length
    rho: Tensor = (x * a).sum(1, keepdim=True)
    g = (x - rho * a) / length
    if few:
        atoms += rate * _live_product(code.T.contiguous(), g)
    else:
        atoms.addmm_(code.T, g, alpha=rate)
    return rho.squeeze(1)


def _live_product(code: Tensor, matrix: Tensor) -> Tensor:
    """``code @ matrix``, which reads only the rows of ``matrix`` that the code's live entries point to."""
    rows, columns = code.nonzero(as_tuple=True)
    starts = torch.searchsorted(rows, torch.arange(len(code)))
    live = code[rows, columns]
    result: Tensor = F.embedding_bag(columns, matrix, starts, mode="sum", per_sample_weights=live)
    return result


def low_rank(atoms: Tensor, shape: tuple[int, int], rank: int) -> Tensor:
    """The nearest atoms (n, d) that are matrices of ``shape`` with at most that rank: their largest singular values."""
    u, s, v = torch.linalg.svd(atoms.reshape(-1, *shape), full_matrices=False)
    near: Tensor = (u[:, :, :rank] * s[:, None, :rank]) @ v[:, :rank]
    return near.reshape(atoms.shape)


def _torus_kernel(rows: int, columns: int, width: float) -> Tensor:
    """(n, n): Gaussian weights of all places of a torus around each of them, Σ = 1."""

    def circle(places: int) -> Tensor:
        i = torch.arange(places)
        apart = (i[:, None] - i).abs()
        weight = torch.exp(-torch.minimum(apart, places - apart).double().square() / (2 * width**2))
        return weight / weight.sum(1, keepdim=True)

    return torch.kron(circle(rows), circle(columns))


class Encoding(NamedTuple):
    """``x ≈ code @ atoms + offset``, with code (batch, n) and offset (batch, 1), in the units of x."""

    code: Tensor
    offset: Tensor


class Dictionary(nn.Module):
    """n atoms, how samples are coded by them, and how they learn.

    Args:
        atoms: (n, d), d ≥ 2; the dictionary keeps the nearest that are allowed. A single atom is always active.
        sparseness: σ of the codes, in (0, 1).
        signed: whether an atom may also be subtracted in a Hoyer code.
        center: code each sample's mean apart from the atoms.
        atom_sparseness: Hoyer's sparseness of each atom, in (0, 1); None for any.
        rank: of each atom as a matrix of ``patch_shape``; None for any.
        patch_shape: (height, width) of the samples, where ``rank`` needs it.
        grid: (rows, columns) of the torus on which atoms find an order, rows × columns = n; None for none.
        smoothing: standard deviation of the Gaussian on the torus, > 0, in places.

    ``atoms`` is a buffer: it moves with the module, is part of its ``state_dict``, and has no gradient.
    """

    atoms: Tensor
    _kernel: Tensor | None

    def __init__(
        self,
        atoms: Tensor,
        sparseness: float = 0.95,
        *,
        signed: bool = True,
        center: bool = True,
        atom_sparseness: float | None = None,
        rank: int | None = None,
        patch_shape: tuple[int, int] | None = None,
        grid: tuple[int, int] | None = None,
        smoothing: float = 0.8,
    ) -> None:
        super().__init__()
        if atoms.dim() != 2 or atoms.shape[1] < 2 or atoms.dtype not in (torch.float32, torch.float64):
            raise InputError(
                "atoms must be rows of at least 2 numbers, float32 or float64; "
                f"got {atoms.dtype} of {tuple(atoms.shape)}"
            )
        if not bool(atoms.isfinite().all()):
            raise InputError("atoms must be finite, got NaN or infinity")
        n, d = atoms.shape
        self.sparseness = check_fraction("sparseness", sparseness, open_low=True, open_high=True)
        self.signed, self.center, self.atom_sparseness, self.rank = signed, center, atom_sparseness, rank
        if atom_sparseness is not None:
            check_fraction("atom_sparseness", atom_sparseness, open_low=True, open_high=True)
        if rank is not None:
            if atom_sparseness is not None:
                raise InputError(f"rank must be None where atom_sparseness is given, got {rank!r}")
            if patch_shape is None or len(patch_shape) != 2 or math.prod(patch_shape) != d:
                raise InputError(f"patch_shape must be two numbers of product {d} where rank is, got {patch_shape!r}")
            check_count("rank", rank, low=1, high=min(patch_shape))
        self.patch_shape, self.grid, self.smoothing = patch_shape, grid, smoothing
        kernel = None
        if grid is not None:
            if len(grid) != 2 or math.prod(check_count("grid", places, low=1) for places in grid) != n:
                raise InputError(f"grid must be two numbers of product {n}, one place for each atom, got {grid!r}")
            check_fraction("smoothing", smoothing, high=math.inf, open_low=True, open_high=True)
            kernel = _torus_kernel(*grid, smoothing).to(atoms)
        self.register_buffer("_kernel", kernel, persistent=False)
        self.register_buffer("atoms", atoms.clone())
        self.constrain_()

    @classmethod
    def from_samples(cls, x: Tensor, n: int, *, generator: torch.Generator, **options: object) -> Self:
        """A dictionary of ``n`` atoms, each a random mixture of samples ``x`` (batch, d), in float32.

        Each is drawn from a normal distribution with the covariance of the samples; directions that the samples leave
        out stay out. If all are constant the atoms are white noise. ``options`` are those of the class.
        """
        check_count("n", n)
        center = bool(options.get("center", True))
        some = torch.randperm(len(x), generator=generator)[:_MIXED].to(x.device)
        unit = standardized(x[some], center).float()
        mixture = torch.randn(n, len(unit), generator=generator).to(unit.device) @ unit
        if not bool(mixture.any()):
            mixture = torch.randn(n, x.shape[1], generator=generator).to(unit.device)
        if center:
            mixture -= mixture.mean(1, keepdim=True)
        return cls(mixture, **options)  # type: ignore[arg-type]

    def constrain_(self) -> None:
        """Move each atom to the nearest one of unit length, and of the rank or sparseness asked for."""
        if self.rank is not None:
            assert self.patch_shape is not None
            self.atoms.copy_(low_rank(self.atoms, self.patch_shape, self.rank))
        self._normalize_()

    def _normalize_(self) -> None:
        if self.atom_sparseness is not None:
            self.atoms.copy_(hoyer_projection(self.atoms, self.atom_sparseness, signed=True))
        else:
            length = self.atoms.norm(dim=1, keepdim=True)
            self.atoms /= torch.where(length > 0, length, 1.0)

    def project(self, x: Tensor) -> Tensor:
        """h of samples (batch, d) whose mean is off: codes (batch, n) of sparseness σ and length 1."""
        sensors = (self.atoms if self._kernel is None else self._kernel @ self.atoms).to(x.dtype)
        u = x @ sensors.T
        if u.shape[1] < 2:
            return torch.where((u < 0) & self.signed, -1.0, 1.0).to(u.dtype)
        return hoyer_projection(u, self.sparseness, signed=self.signed)

    @torch.no_grad()
    def update(self, x: Tensor, rate: float = 0.3) -> Tensor:
        """One step on samples (batch, d), float32 or float64 at any scale; gives the ρ of each, before the step.

        ``rate`` > 0 is η. A batch of more than n samples counts as one of n, lest an atom that most of them use is
        moved too far. Atoms of low rank are left to `constrain_`.
        """
        check_fraction("rate", rate, high=math.inf, open_low=True, open_high=True)
        return self.step(self.standardize(x), rate)

    def standardize(self, x: Tensor) -> Tensor:
        """Samples (batch, d) as `step` reads them: of unit length, with ``center`` of zero mean."""
        self._check(x)
        return standardized(x, self.center).to(self.atoms.dtype)

    def _check(self, x: Tensor) -> None:
        d = self.atoms.shape[1]
        if x.dim() != 2 or x.shape[1] != d or x.dtype not in (torch.float32, torch.float64):
            raise InputError(f"x must be (batch, {d}), float32 or float64, got {x.dtype} of {tuple(x.shape)}")

    @torch.no_grad()
    def step(self, unit: Tensor, rate: float) -> Tensor:
        """`update` of samples (batch, d) that are standardized already; gives ρ (batch)."""
        rate *= min(1.0, len(self.atoms) / max(1, len(unit)))
        rho = hebbian_update_(self.atoms, unit, self.project(unit), rate, center=self.center)
        self._normalize_()
        return rho

    @torch.no_grad()
    def encode(self, x: Tensor, coder: Coder = "omp", *, k: int | None = None, tolerance: float = 0.0) -> Encoding:
        """Coefficients and offsets of samples, in their units.

        Args:
            x: (batch, d), float32 or float64.
            coder: "projection" gives the code of the learning rule, in the length that brings the reproduction nearest
                to the sample: its sparseness is σ. "omp" gives orthogonal matching pursuit, which takes far longer
                and reproduces better with as many live atoms. Its coefficients have either sign.
            k: live atoms of "omp" (default: min(n, d)).
            tolerance: "omp" stops at ‖x − reproduction‖² ≤ tolerance.

        A sample that is constant (with ``center``) or zero has code 0.
        """
        check_choice("coder", coder, ("omp", "projection"))
        self._check(x)
        mean = x.mean(1, keepdim=True) if self.center else torch.zeros_like(x[:, :1])
        x, atoms = x - mean, self.atoms.to(x.dtype)
        offsets = atoms.mean(1, keepdim=True) if self.center else torch.zeros_like(atoms[:, :1])
        atoms = atoms - offsets
        if coder == "omp":
            length, direction = polar(atoms, 1)
            code = orthogonal_matching_pursuit(x, direction, k, tolerance)
            code = code / torch.where(length > 0, length, math.inf).T
        else:
            code = self.project(polar(x, 1)[1])
            length, direction = polar(code @ atoms, 1)
            scale = (x * direction).sum(1, keepdim=True) / torch.where(length > 0, length, math.inf)
            code = code * (scale if self.signed else scale.clamp(min=0))
        return Encoding(code, mean - code @ offsets)

    def decode(self, encoding: Encoding) -> Tensor:
        """The samples (batch, d) that an encoding stands for."""
        return encoding.code @ self.atoms.to(encoding.code.dtype) + encoding.offset

    def extra_repr(self) -> str:
        n, d = self.atoms.shape
        names = ("signed", "center", "atom_sparseness", "rank", "grid")
        options = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{n}, {d}, sparseness={self.sparseness:g}, {options}"


def standardized(x: Tensor, center: bool) -> Tensor:
    """Samples of unit length, with ``center`` of zero mean; those that are constant but for rounding are zero."""
    if x.dim() != 2 or not x.is_floating_point():
        raise InputError(f"x must be floating point of shape (batch, features), got {x.dtype} of {tuple(x.shape)}")
    x = x if x.dtype == torch.float64 else x.float()
    mean = x.mean(1, keepdim=True) if center else torch.zeros_like(x[:, :1])
    length, unit = polar(x - mean, 1)
    if not bool(length.isfinite().all()):
        raise InputError("x must be finite, got NaN or infinity")
    return torch.where(length > 8 * torch.finfo(x.dtype).eps * math.sqrt(x.shape[1]) * mean.abs(), unit, 0.0)
