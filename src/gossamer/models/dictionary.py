"""Dictionary learning by a Hebbian-like rule, with codes of given sparseness (EZDL).

A dictionary of n atoms, the columns of W (d × n), reproduces a sample x of d numbers from few of them. Let x have zero
mean and unit length. Then

    h = Proj(Wᵀ x)                                 code: Hoyer's sparseness σ, length 1
    a = W h,   less its mean                       reproduction
    ρ = ⟨x, a⟩ / ‖a‖                               its correlation with the sample
    g = ∂ρ/∂a = (x − ρ a/‖a‖) / ‖a‖
    W ← W + η Σ g hᵀ   over a batch                each active atom moves towards the error of the reproduction
    w_j ← w_j / ‖w_j‖

The dependence of h on W is ignored: the change of a connection is the product of the activations on its two sides. No
system is solved, so a step costs three matrix products. ρ is invariant to scale and offset; `Dictionary.encode`
restores both.

There are three kinds of atoms besides any of unit length: of given Hoyer sparseness, by projection; of low rank as
matrices of pixels (rank 1 is separable); and topographic, in order on a torus of rows and columns, by smoothing Wᵀ x
over the neighbours on it before the projection, so that neighbours are active together and become alike.

References:
    Thom, Rapp, Palm, "Efficient dictionary learning with sparseness-enforcing projections", IJCV 114 (2015), arXiv
    1604.04767, for the idea: a Hebbian-like rule, codes by projection, separable and topographic atoms. The formulas
    are ours where the article leaves room, and so are batches, the step sizes and their schedule, the first atoms, unit
    length after every step, the kernel on the torus, and when atoms of low rank are restored (every tenth step).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.models.atoms import low_rank, standardized, torus_kernel
from gossamer.models.pursuit import orthogonal_matching_pursuit
from gossamer.projections import hoyer_projection
from gossamer.projections.rows import polar

__all__ = ["Coder", "Dictionary", "Encoding", "hebbian_update_"]

Coder = Literal["omp", "projection"]

_MIXED = 4096  # samples in the first atoms
_FEW = 1 / 16  # where a smaller share of the code is active, reading that alone was faster (n = d = 256, one thread)


def hebbian_update_(atoms: Tensor, x: Tensor, code: Tensor, rate: float, *, center: bool = True) -> Tensor:
    """Update W ← W + rate Σ g hᵀ over a batch in place, without the return to unit length, and return ρ (batch).

    Args:
        atoms: (n, d), the columns of W as rows.
        x: (batch, d), of zero mean (with ``center``) and unit length. A zero row changes nothing.
        code: (batch, n), h.
        rate: η.
        center: subtract the mean of the reproduction; otherwise ρ is the cosine.
    """
    few = code.device.type == "cpu" and atoms.shape[1] >= 128 and int(code.count_nonzero()) < _FEW * code.numel()
    a = _active_product(code, atoms) if few else code @ atoms
    if center:
        a -= a.mean(1, keepdim=True)
    length = a.norm(dim=1, keepdim=True)
    length = torch.where(length > 0, length, math.inf)
    a /= length
    rho: Tensor = (x * a).sum(1, keepdim=True)
    g = (x - rho * a) / length
    if few:
        atoms += rate * _active_product(code.T.contiguous(), g)
    else:
        atoms.addmm_(code.T, g, alpha=rate)
    return rho.squeeze(1)


def _active_product(code: Tensor, matrix: Tensor) -> Tensor:
    """``code @ matrix``, which reads only the rows of ``matrix`` that the code's non-zero entries point to."""
    rows, columns = code.nonzero(as_tuple=True)
    starts = torch.searchsorted(rows, torch.arange(len(code)))
    active = code[rows, columns]
    result: Tensor = F.embedding_bag(columns, matrix, starts, mode="sum", per_sample_weights=active)
    return result


class Encoding(NamedTuple):
    """``x ≈ code @ atoms + offset``, with code (batch, n) and offset (batch, 1), in the units of x."""

    code: Tensor
    offset: Tensor


class Dictionary(nn.Module):
    """A dictionary of n atoms that codes samples sparsely and learns by a Hebbian-like rule.

    ``atoms`` is a buffer: it moves with the module, is part of its ``state_dict``, and has no gradient.

    Args:
        atoms: (n, d), d ≥ 2; the dictionary keeps the nearest that are allowed. A single atom is always active.
        sparseness: σ of the codes, in (0, 1).
        signed: whether an atom may also be subtracted in a Hoyer code.
        center: code each sample's mean apart from the atoms.
        atom_sparseness: Hoyer's sparseness of each atom, in (0, 1); None for any.
        rank: of each atom as a matrix of ``patch_shape``; None for any.
        patch_shape: (height, width) of the samples, where ``rank`` needs it.
        grid: (rows, columns) of the torus on which atoms are ordered, rows × columns = n; None for none.
        smoothing: standard deviation of the Gaussian on the torus, > 0, in places.

    Attributes:
        atoms: (n, d), each of unit length.

    Raises:
        InputError: ``atoms`` is not finite floating point (n, d), or an argument is outside its range or excludes
            another.

    Example:
        >>> x = torch.randn(500, 16)
        >>> dictionary = gs.models.Dictionary.from_samples(x, 20, generator=torch.Generator().manual_seed(0))
        >>> for _ in range(10):
        ...     correlation = dictionary.update(x)
        >>> code, offset = dictionary.encode(x, k=4)
        >>> code.shape, (code != 0).sum(1).max()
        (torch.Size([500, 20]), tensor(4))

    References:
        Thom, Rapp, Palm, "Efficient dictionary learning with sparseness-enforcing projections", IJCV 114 (2015).
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
            kernel = torus_kernel(*grid, smoothing).to(atoms)
        self.register_buffer("_kernel", kernel, persistent=False)
        self.register_buffer("atoms", atoms.clone())
        self.constrain_()

    @classmethod
    def from_samples(cls, x: Tensor, n: int, *, generator: torch.Generator, **options: object) -> Self:
        """Make a dictionary of ``n`` atoms, each a random mixture of samples, in float32.

        Each is drawn from a normal distribution with the covariance of the samples; directions in which the samples do
        not vary stay out. If all samples are constant the atoms are white noise.

        Args:
            x: samples (batch, d).
            n: number of atoms.
            generator: source of the atoms.
            **options: keyword arguments of the class.

        Returns:
            The dictionary.
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
        """Project each atom to unit length, and to the rank or sparseness that the dictionary asks for, in place."""
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
        """Compute the codes h of centred samples.

        Args:
            x: samples (batch, d), of zero mean with ``center``.

        Returns:
            Codes (batch, n) of sparseness σ and length 1.
        """
        sensors = (self.atoms if self._kernel is None else self._kernel @ self.atoms).to(x.dtype)
        u = x @ sensors.T
        if u.shape[1] < 2:
            return torch.where((u < 0) & self.signed, -1.0, 1.0).to(u.dtype)
        return hoyer_projection(u, self.sparseness, signed=self.signed)

    @torch.no_grad()
    def update(self, x: Tensor, rate: float = 0.3) -> Tensor:
        """Take one step of the learning rule.

        Atoms of low rank are left to `constrain_`.

        Args:
            x: samples (batch, d), float32 or float64 at any scale. A batch of more than n samples counts as one of n,
                so that an atom that most of them use is not moved too far.
            rate: η > 0.

        Returns:
            ρ (batch), the correlation of each sample with its reproduction before the step.

        Raises:
            InputError: ``x`` is not finite floating point (batch, d), or ``rate`` is not positive.
        """
        check_fraction("rate", rate, high=math.inf, open_low=True, open_high=True)
        return self.step(self.standardize(x), rate)

    def standardize(self, x: Tensor) -> Tensor:
        """Scale samples as `step` reads them.

        Args:
            x: samples (batch, d).

        Returns:
            The samples (batch, d), of unit length, with ``center`` of zero mean; constant samples are zero.

        Raises:
            InputError: ``x`` is not finite floating point (batch, d).
        """
        self._check(x)
        return standardized(x, self.center).to(self.atoms.dtype)

    def _check(self, x: Tensor) -> None:
        d = self.atoms.shape[1]
        if x.dim() != 2 or x.shape[1] != d or x.dtype not in (torch.float32, torch.float64):
            raise InputError(f"x must be (batch, {d}), float32 or float64, got {x.dtype} of {tuple(x.shape)}")

    @torch.no_grad()
    def step(self, unit: Tensor, rate: float) -> Tensor:
        """Take one step of the learning rule on samples that are standardized already.

        Args:
            unit: samples (batch, d) from `standardize`.
            rate: η > 0.

        Returns:
            ρ (batch), the correlation of each sample with its reproduction before the step.
        """
        rate *= min(1.0, len(self.atoms) / max(1, len(unit)))
        rho = hebbian_update_(self.atoms, unit, self.project(unit), rate, center=self.center)
        self._normalize_()
        return rho

    @torch.no_grad()
    def encode(self, x: Tensor, coder: Coder = "omp", *, k: int | None = None, tolerance: float = 0.0) -> Encoding:
        """Compute coefficients and offsets of samples, in their units.

        A sample that is constant (with ``center``) or zero has code 0.

        Args:
            x: samples (batch, d), float32 or float64.
            coder: ``"projection"`` returns the code of the learning rule, in the length that brings the reproduction
                nearest to the sample: its sparseness is σ. ``"omp"`` uses orthogonal matching pursuit, which takes far
                longer and reproduces better with as many active atoms. Its coefficients have either sign.
            k: active atoms of ``"omp"`` (default: min(n, d)).
            tolerance: ``"omp"`` stops at ‖x − reproduction‖² ≤ tolerance.

        Returns:
            The code (batch, n) and the offset (batch, 1): x ≈ code @ atoms + offset.

        Raises:
            InputError: ``x`` is not finite floating point (batch, d), or an argument is outside its range.
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
        """Reproduce samples from their encoding.

        Args:
            encoding: the result of `encode`.

        Returns:
            The samples (batch, d).
        """
        return encoding.code @ self.atoms.to(encoding.code.dtype) + encoding.offset

    def extra_repr(self) -> str:
        """Show the arguments."""
        n, d = self.atoms.shape
        names = ("signed", "center", "atom_sparseness", "rank", "grid")
        options = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{n}, {d}, sparseness={self.sparseness:g}, {options}"
