"""Orthogonal matching pursuit: sparse coefficients of many samples at once.

For a sample x and atoms w_1 … w_n of unit length, the support S grows by one atom at a time, the one that is most
correlated with the residual, and the coefficients are those of least squares on all of S:

    S ← S ∪ {argmax_j |⟨w_j, x − W c⟩|},     c_S = (W_Sᵀ W_S)⁻¹ W_Sᵀ x,     c = 0 elsewhere,

until k atoms are active or ‖x − W c‖² is small enough. Given Wᵀ W and Wᵀ x, no step reads the sample again.
scikit-learn's ``orthogonal_mp_gram`` codes one sample at a time, on the CPU; here each step is a few operations on the
whole batch, on any device.

References:
    Pati, Rezaiifar, Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993.
    Rubinstein, Zibulevsky, Elad, "Efficient implementation of the K-SVD algorithm using batch orthogonal matching
    pursuit", Technion CS-2008-08 (the Gram matrix in place of the samples).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import InputError, check_count

__all__ = ["orthogonal_matching_pursuit"]


def orthogonal_matching_pursuit(
    x: Tensor, atoms: Tensor, k: int | None = None, tolerance: float | Tensor = 0.0
) -> Tensor:
    """Compute sparse coefficients so that x ≈ code @ atoms, with at most ``k`` of each row non-zero.

    Rows are independent; a row with a NaN or an infinity is all NaN.

    Args:
        x: samples (batch, d), float32 or float64.
        atoms: (n, d), rows of unit length, or zero: such an atom is never used. Of equally good atoms the first is
            taken.
        k: active atoms, from 1 (or 0, if there are none) to n (default: min(n, d)).
        tolerance: a row is done when ‖x − code @ atoms‖² ≤ tolerance; one number ≥ 0, or one for each row. A residual
            below the rounding error of x counts as zero.

    Returns:
        Coefficients (batch, n), in the dtype of ``x``.

    Raises:
        InputError: ``x`` has another shape or dtype than the atoms ask for, or an argument is outside its range.

    Example:
        >>> x = torch.tensor([[3.0, 4.0, 0.1]])
        >>> gs.models.orthogonal_matching_pursuit(x, torch.eye(3), k=2)
        tensor([[3., 4., 0.]])

    References:
        Pati, Rezaiifar, Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993.
    """
    n, d = atoms.shape
    if x.dim() != 2 or x.shape[1] != d or x.dtype != atoms.dtype or x.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"x must be (batch, {d}) of {atoms.dtype} like the atoms, float32 or float64; "
            f"got {x.dtype} of {tuple(x.shape)}"
        )
    k = min(n, d) if k is None else check_count("k", k, low=min(1, n), high=n)
    tolerance = torch.as_tensor(tolerance).to(x)
    if not bool((tolerance >= 0).all()):
        raise InputError(f"tolerance must be at least 0, got {tolerance.min().item():g}")
    gram, inner, energy = atoms @ atoms.T, x @ atoms.T, x.square().sum(1)
    known = energy.isfinite()
    exact = torch.finfo(x.dtype).eps * energy  # residual of a reproduced sample by rounding
    bound = torch.maximum(tolerance, 4 * exact)

    code = torch.where(known[:, None], torch.zeros_like(inner), torch.nan)
    rows = known.nonzero()[:, 0]  # not done yet
    support = rows.new_empty(len(rows), 0)
    for _ in range(k):
        rest = energy[rows] - (code[rows] * inner[rows]).sum(1)
        rows, support = rows[rest > bound[rows]], support[rest > bound[rows]]
        left = (inner[rows] - code[rows] @ gram).abs().scatter(1, support, 0.0)
        gain, best = left.max(1)
        useful = gain > 8 * torch.finfo(x.dtype).eps * energy[rows].sqrt()
        rows, support = rows[useful], torch.cat([support, best[:, None]], 1)[useful]
        if not len(rows):
            break
        factor, failed = torch.linalg.cholesky_ex(gram[support[:, :, None], support[:, None, :]])
        target = inner[rows].gather(1, support)
        values = torch.cholesky_solve(target[:, :, None], factor)[:, :, 0]
        new = failed == 0  # an atom that depends on the active ones brings nothing: the row is done
        rows, support = rows[new], support[new]
        code[rows] = inner.new_zeros(len(rows), n).scatter_(1, support, values[new])
    return code
