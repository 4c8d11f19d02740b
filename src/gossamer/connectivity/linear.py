"""A linear layer that stores and computes only its live connections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer import kernels
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError, check_count
from gossamer.kernels import Code, Structure

__all__ = ["SparseLinear", "SparseLinearReLU", "sparse_linear"]

_COMPILED = (torch.float32, torch.float64, torch.bfloat16)


def sparse_linear(
    x: Tensor, values: Tensor, pattern: Pattern | Structure, bias: Tensor | None = None, *, relu: bool = False
) -> Tensor:
    """y = x Wᵀ + b, where W has ``values`` at the live cells of ``pattern`` and is never made dense.

    Shapes: ``x`` (…, cols), ``values`` (nnz), ``bias`` (rows), result (…, rows); with ``relu`` the result is
    max(y, 0). Under autocast, ``x``, ``values`` and ``bias`` are cast as for `torch.nn.functional.linear`.
    Time and memory are proportional to nnz × batch and nnz.

    The result is feature-major in memory (the transposed view of a (rows, batch) matrix); element-wise functions keep
    that layout and the next sparse layer reads it without a copy.
    """
    structure = pattern.structure if isinstance(pattern, Pattern) else pattern
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, values, bias = x.to(dtype), values.to(dtype), None if bias is None else bias.to(dtype)
    if x.dim() == 2:
        return kernels.linear(values, structure, x, bias, relu)
    if x.dim() == 0 or x.shape[-1] != structure.shape[1]:
        raise InputError(f"x must have shape (…, {structure.shape[1]}), got {tuple(x.shape)}")
    flat = kernels.linear(values, structure, x.reshape(-1, x.shape[-1]), bias, relu)
    return flat.reshape(*x.shape[:-1], structure.shape[0])


class SparseLinear(nn.Module):
    """y = x Wᵀ + b with a W of which only the live connections exist.

    Args:
        in_features: inputs, ≥ 1.
        out_features: outputs, ≥ 1.
        density: live fraction of the ``in_features · out_features`` connections, in (0, 1]; the pattern is drawn
            uniformly with exactly ``round(density · in_features · out_features)`` connections. Or give ``pattern``.
        bias: learn an additive (out_features) bias.
        pattern: the live connections, if they are not to be drawn.
        generator: source of the pattern and of the initial weights (default: torch's own).

    ``values`` (nnz), in row order of the pattern, is an ordinary Parameter: optimizers, gradient clipping, AMP and DDP
    see a vector. The pattern is in int32 buffers, of which ``indptr`` and ``indices`` are saved in a state dict.

    Weights start uniform on ±1/√k_r, where k_r is the number of live connections into output r, so that outputs start
    with the variance that `torch.nn.Linear` gives a dense layer.
    """

    indptr: Tensor
    indices: Tensor
    t_indptr: Tensor
    t_indices: Tensor
    permutation: Tensor
    bias: Tensor | None
    _relu = False

    def __init__(
        self,
        in_features: int,
        out_features: int,
        density: float | None = None,
        bias: bool = True,
        *,
        pattern: Pattern | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_count("in_features", in_features, low=1)
        self.out_features = check_count("out_features", out_features, low=1)
        if (density is None) == (pattern is None):
            raise InputError("SparseLinear needs either density or pattern")
        if pattern is None:
            assert density is not None
            pattern = Pattern.erdos_renyi(self.out_features, self.in_features, density, generator)
        self._ordered: tuple[tuple[int, ...], Tensor, Tensor] | None = None
        self.values = nn.Parameter(torch.empty(pattern.nnz, dtype=dtype, device="cpu"))
        self.bias = nn.Parameter(torch.empty(self.out_features, dtype=dtype, device="cpu")) if bias else None
        for name in Structure._fields:
            self.register_buffer(name, None, persistent=name in ("indptr", "indices"))
        self._set_structure(pattern)
        self.reset_parameters(generator)
        self.to(torch.get_default_device() if device is None else device)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights and biases anew for the live fan-in of each output."""
        if self.values.is_meta:
            return
        fan_in = self.pattern.fan_in.cpu()
        bound = fan_in.clamp(min=1).to(self.values.dtype).rsqrt()
        values = torch.rand(self.values.shape, generator=generator, dtype=self.values.dtype, device="cpu") * 2 - 1
        self.values.copy_(values * torch.repeat_interleave(bound, fan_in))
        if self.bias is not None:
            draws = torch.rand(self.bias.shape, generator=generator, dtype=self.bias.dtype, device="cpu") * 2 - 1
            self.bias.copy_(draws / math.sqrt(max(1.0, self.values.numel() / self.out_features)))

    def forward(self, x: Tensor | Code) -> Tensor:
        structure = self._structure
        reading = not (self.training or torch.is_grad_enabled())
        if isinstance(x, Code):
            ordered = self._column_values(structure) if reading else None
            return kernels.joint(self.values, structure, x, self.bias, self._relu, ordered)
        if reading and self._may_read_less(x):
            y = kernels.joint_if_sparse(self._column_values(structure), structure, x, self.bias, self._relu)
            if y is not None:
                return y
        return sparse_linear(x, self.values, structure, self.bias, relu=self._relu)

    def _may_read_less(self, x: Tensor) -> bool:
        """Whether live inputs alone could be read: on the CPU, outside compilers and autocast."""
        return (
            x.dim() == 2
            and x.device.type == "cpu"
            and self.values.dtype in _COMPILED
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled("cpu")
            and type(x) is Tensor
            and not kernels.transformed()
        )

    def _column_values(self, structure: Structure) -> Tensor:
        """The weights in column order, kept in evaluation mode until the weights or the pattern change.

        One weight changed through ``values.data`` in evaluation mode may go unnoticed: call `train` or `eval` after.
        """
        kernels.verify(structure)
        values, permutation = self.values, structure.permutation
        if values.is_inference():  # such tensors count no versions
            return kernels.column_order(values, structure)
        state = (values.data_ptr(), values._version, values.numel(), permutation._version)
        kept = self._ordered
        fresh = kept is not None and kept[0] == state and kept[1] is permutation
        if kept is None or not fresh or not kernels.still_ordered(kept[2], values, structure):
            kept = self._ordered = (state, permutation, kernels.column_order(values, structure))
        return kept[2]

    def train(self, mode: bool = True) -> SparseLinear:
        self._ordered = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ordered": None}

    @property
    def _structure(self) -> Structure:
        b = self._buffers
        return Structure(b["indptr"], b["indices"], b["t_indptr"], b["t_indices"], b["permutation"])  # type: ignore[arg-type]

    @property
    def pattern(self) -> Pattern:
        """The live connections."""
        return Pattern(self._structure)

    @property
    def nnz(self) -> int:
        """Number of live connections."""
        return self.values.numel()

    @property
    def density(self) -> float:
        """Live fraction of the connections."""
        return self.nnz / (self.in_features * self.out_features)

    @torch.no_grad()
    def set_pattern(self, pattern: Pattern, values: Tensor) -> None:
        """Wire the layer anew: ``values`` (nnz) are the weights at the cells of ``pattern``.

        ``self.values`` stays the same Parameter, so optimizers keep it; its gradient is dropped. With another number
        of connections the Parameter changes its length, and state that an optimizer holds for it no longer fits.
        """
        if values.shape != (pattern.nnz,):
            raise InputError(f"values must be a vector of {pattern.nnz} numbers, got shape {tuple(values.shape)}")
        self._set_structure(pattern.to(self.values.device))
        self.values.grad = None
        if values.numel() == self.values.numel():
            self.values.copy_(values)
        else:
            self.values.data = values.detach().to(self.values, copy=True)

    def _set_structure(self, pattern: Pattern) -> None:
        if pattern.shape != (self.out_features, self.in_features):
            raise InputError(
                f"pattern must have shape (out_features, in_features) = ({self.out_features}, {self.in_features}), "
                f"got {pattern.shape}"
            )
        for name, tensor in zip(Structure._fields, pattern.structure, strict=True):
            self._buffers[name] = tensor
        self._ordered = None

    def to_dense(self) -> nn.Linear:
        """The same function as a `torch.nn.Linear`, zeros where no connection is live."""
        dense: nn.Linear = nn.utils.skip_init(  # no draws from torch's own generator
            nn.Linear,
            self.in_features,
            self.out_features,
            self.bias is not None,
            device=self.values.device,
            dtype=self.values.dtype,
        )
        with torch.no_grad():
            dense.weight.zero_().view(-1)[self.pattern.cells] = self.values
            if self.bias is not None:
                dense.bias.copy_(self.bias)
        return dense.requires_grad_(self.values.requires_grad).train(self.training)

    @classmethod
    def from_dense(cls, dense: nn.Linear, pattern: Pattern | None = None) -> SparseLinear:
        """Keep the weights of ``dense`` at the cells of ``pattern`` (default: wherever a weight is not zero)."""
        weight = dense.weight.detach()
        if pattern is None:
            pattern = Pattern.from_mask(weight != 0)
        layer = cls(
            dense.in_features,
            dense.out_features,
            bias=dense.bias is not None,
            pattern=pattern,
            generator=torch.Generator("cpu").manual_seed(0),  # overwritten below: leave torch's own generator alone
            device=weight.device,
            dtype=weight.dtype,
        )
        with torch.no_grad():
            layer.values.copy_(weight.flatten()[pattern.cells.to(weight.device)])
            if layer.bias is not None:
                layer.bias.copy_(dense.bias)
        layer.requires_grad_(dense.weight.requires_grad)
        return layer.train(dense.training)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *args: Any
    ) -> None:
        """Load another pattern too, of any length; one that is damaged or does not fit is refused, changing nothing."""
        values, indptr, indices = (state_dict.get(prefix + name) for name in ("values", "indptr", "indices"))
        if indptr is not None or indices is not None:
            if values is None or indptr is None or indices is None:
                raise InputError(f"the state of layer {prefix[:-1]!r} must have values with indptr and indices")
            pattern = Pattern.from_csr(indptr, indices, self.in_features)
            if values.shape != (pattern.nnz,):
                raise InputError(f"values must be a vector of {pattern.nnz} numbers, got shape {tuple(values.shape)}")
            assign = local_metadata.get("assign_to_params_buffers", False)
            self._set_structure(pattern.to(values.device if assign else self.values.device))
            if values.numel() != self.values.numel():
                self.values.grad = None
                self.values.data = torch.empty_like(values, dtype=self.values.dtype, device=self.values.device)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, density={self.density:.4g}, "
            f"nnz={self.nnz}, bias={self.bias is not None}"
        )


class SparseLinearReLU(SparseLinear):
    """y = max(x Wᵀ + b, 0): a `SparseLinear` and its ReLU in one kernel, forward and backward.

    The same arguments and parameters as `SparseLinear`; two passes over the activations less in each direction.
    ``to_dense`` gives the linear part alone. Rules that look at a layer's output before its activation, such as growth
    by cosine similarity, see it after the ReLU here.
    """

    _relu = True
