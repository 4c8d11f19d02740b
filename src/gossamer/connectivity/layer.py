"""The base of layers that store only their connections."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from gossamer.connectivity.copies import PatternSeal, note_length
from gossamer.connectivity.distributed import check_resizable
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError
from gossamer.kernels import Structure, mark_validated, ordinary, validate

__all__ = ["SparseLayer", "check_plain"]

Dense = TypeVar("Dense", nn.Linear, nn.Conv2d)


def _resize(parameter: Tensor, data: Tensor) -> None:
    """Give ``parameter`` other data, of another length.

    Assigning to ``parameter.data`` would not do: while a loss computed before is alive, so is the node of its graph
    that accumulates gradients of the old length, and the next backward pass would find it. ``set_`` makes autograd
    forget that node, and notices if the old loss is differentiated after all.
    """
    parameter.set_(data if parameter.is_inference() else ordinary(data))  # type: ignore[call-overload]


def check_plain(layer: SparseLayer, name: str = "") -> None:
    """Raise `InputError` if the weights of ``layer`` are computed, so that values written into them would be lost."""
    if "weight_values" not in layer._parameters:
        raise InputError(
            f"weight_values of {f'layer {name!r}' if name else 'the layer'} are computed by a parametrization: to "
            "change pattern or weights, remove it first (torch.nn.utils.parametrize.remove_parametrizations)"
        )


class SparseLayer(nn.Module):
    """A layer of ``in_features`` × ``out_features`` possible connections that stores only those that exist.

    ``weight_values``, in CSR order of the pattern, is an ordinary Parameter: optimizers, gradient clipping, AMP and DDP
    see a vector. The pattern is in int32 buffers, of which ``indptr`` and ``indices`` are saved in a state dict. This
    is the base class of `SparseLinear` and `SparseConv2d`.

    Args:
        in_features: number of inputs, ≥ 1.
        out_features: number of outputs, ≥ 1.
        density: fraction of the connections, in (0, 1]; or give ``pattern``.
        bias: learn an additive (out_features) bias.
        pattern: the connections.
        generator: source of the pattern and of the initial weights (default: torch's own).
        device: of the parameters.
        dtype: of the parameters.

    Attributes:
        weight_values: (nnz), the weights.
        bias: (out_features), or None.
        pattern: the connections.

    Raises:
        InputError: an argument is outside its range, or neither ``density`` nor ``pattern`` is given.

    Example:
        >>> layer = gs.SparseLinear(8, 4, density=0.5)
        >>> isinstance(layer, gs.connectivity.SparseLayer), layer.weight_values.shape
        (True, torch.Size([16]))
    """

    _sizes: ClassVar[tuple[str, ...]]  # arguments of the dense layer's constructor that are attributes of both layers
    in_features: int
    out_features: int
    kernel_size: tuple[
        int, ...
    ] = ()  # of a convolution, whose inputs are the positions (channel, row, column) of a kernel
    groups: int = 1  # of outputs: each reads its own
    indptr: Tensor
    indices: Tensor
    t_indptr: Tensor
    t_indices: Tensor
    bias: Tensor | None
    _seal: PatternSeal | None = None  # of a copied layer
    _copied = False

    def __init__(
        self,
        in_features: int,
        out_features: int,
        density: float | None,
        bias: bool,
        pattern: Pattern | None,
        generator: torch.Generator | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        if (density is None) == (pattern is None):
            raise InputError(f"{type(self).__name__} needs either density or pattern")
        if pattern is None:
            assert density is not None
            pattern = Pattern.erdos_renyi(out_features, in_features, density, generator)
        with torch.inference_mode(False):  # tensors made in inference mode could not be trained later
            self.weight_values = nn.Parameter(torch.empty(pattern.nnz, dtype=dtype, device="cpu"))
            self.bias = nn.Parameter(torch.empty(out_features, dtype=dtype, device="cpu")) if bias else None
        for name in Structure._fields:
            self.register_buffer(name, None, persistent=name in ("indptr", "indices"))
        self._set_structure(pattern)
        self.reset_parameters(generator)
        self.to(torch.get_default_device() if device is None else device)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights and biases.

        Weights are uniform on ±1/√k_r, where k_r is the number of connections into output r, so that outputs start
        with the variance that torch gives those of a dense layer.

        Args:
            generator: source of the weights (default: torch's own).
        """
        check_plain(self)
        if self.weight_values.is_meta:
            return
        # Each row has its own bound, which nn.init can't draw with; on the CPU, so that all devices start alike.
        fan_in = self.pattern.fan_in.cpu()
        bound = fan_in.clamp(min=1).to(self.weight_values.dtype).rsqrt()
        values = (
            torch.rand(self.weight_values.shape, generator=generator, dtype=self.weight_values.dtype, device="cpu") * 2
            - 1
        )
        self.weight_values.copy_(values * torch.repeat_interleave(bound, fan_in))
        if self.bias is not None:
            draws = torch.rand(self.bias.shape, generator=generator, dtype=self.bias.dtype, device="cpu") * 2 - 1
            self.bias.copy_(draws / math.sqrt(max(1.0, self.weight_values.numel() / self.out_features)))

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            raise AttributeError(
                f"{type(self).__name__} has no dense weight: its weights are weight_values, one for each connection of "
                "pattern; to_dense().weight is the matrix, with zeros elsewhere"
            )
        return super().__getattr__(name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._structure  # noqa: B018  (checks the seal)
        lost = self.indptr.is_meta
        with torch.inference_mode(False):
            for name, parameter in self._parameters.items():
                if parameter is not None and parameter.is_inference():
                    self._parameters[name] = nn.Parameter(ordinary(parameter), parameter.requires_grad)
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            if lost and not self.indptr.is_meta:  # by to_empty: the memory holds no pattern
                self.indptr.fill_(-1)
        self._set_seal()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = self.__new__(type(self))
        memo[id(self)] = twin
        with torch.inference_mode(False):
            twin.__setstate__(copy.deepcopy(self.__dict__, memo))
        return twin

    @property
    def _structure(self) -> Structure:
        b = self._buffers
        if not torch.compiler.is_compiling() and b["indices"].is_inference():  # type: ignore[union-attr]
            for name in Structure._fields:
                b[name] = ordinary(b[name])  # type: ignore[arg-type]
        structure = Structure(b["indptr"], b["indices"], b["t_indptr"], b["t_indices"])  # type: ignore[arg-type]
        if self._seal is not None and not torch.compiler.is_compiling():
            self._seal = self._seal.check(structure)
        return structure

    @property
    def pattern(self) -> Pattern:
        """The connections."""
        structure, values = self._structure, self.weight_values
        if values.shape != structure.indices.shape:
            raise InputError(
                f"weight_values must be a vector of {structure.nnz} numbers, one for each connection, "
                f"got shape {tuple(values.shape)}"
            )
        if structure.shape != (self.out_features, self.in_features):
            raise InputError(
                f"pattern must have shape (out_features, in_features) = ({self.out_features}, {self.in_features}), "
                f"got {structure.shape}: its buffers were replaced"
            )
        return Pattern(structure)

    @property
    def nnz(self) -> int:
        """Number of connections."""
        return self.weight_values.numel()

    @property
    def density(self) -> float:
        """Density of the connections."""
        return self.nnz / (self.in_features * self.out_features)

    @torch.no_grad()
    def set_pattern(self, pattern: Pattern, values: Tensor) -> None:
        """Replace the pattern and the weights.

        ``weight_values`` stays the same Parameter, so optimizers keep it; its gradient is cleared. With another number
        of connections the Parameter changes its length, and an optimizer whose state for it has the old one refuses its
        next step.

        Args:
            pattern: the new connections, of shape (out_features, in_features).
            values: their weights (nnz).

        Raises:
            InputError: the shapes do not fit.
        """
        check_plain(self)
        if values.shape != (pattern.nnz,):
            raise InputError(f"values must be a vector of {pattern.nnz} numbers, got shape {tuple(values.shape)}")
        self._set_structure(pattern.to(self.weight_values.device))
        self.weight_values.grad = None
        if values.numel() == self.weight_values.numel():
            self.weight_values.copy_(values)
        else:
            _resize(self.weight_values, values.detach().to(self.weight_values, copy=True))
            note_length(self.weight_values)

    def _set_structure(self, pattern: Pattern) -> None:
        if pattern.shape != (self.out_features, self.in_features):
            raise InputError(
                f"pattern must have shape (out_features, in_features) = ({self.out_features}, {self.in_features}), "
                f"got {pattern.shape}"
            )
        validate(pattern.structure)
        structure = Structure(*map(ordinary, pattern.structure))
        mark_validated(structure)  # the pattern has been
        for name, tensor in zip(Structure._fields, structure, strict=True):
            self._buffers[name] = tensor
        self._set_seal()

    # ---- copies ----------------------------------------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:  # of copy.deepcopy and pickle
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._copied = True
        self._set_seal()

    def _set_seal(self) -> None:
        if self._copied:
            self._seal = None
            self._seal = PatternSeal.of(self._structure)

    # ---- to and from dense layers ----------------------------------------------------------------------------------

    def to_dense(self) -> nn.Linear | nn.Conv2d:
        """Return the same function as a dense layer, with zeros where there is no connection.

        Returns:
            The dense layer.
        """
        raise NotImplementedError

    @torch.no_grad()
    def _to_dense(self, kind: type[Dense]) -> Dense:
        dense: Dense = nn.utils.skip_init(  # no draws from torch's own generator
            kind,
            **{name: getattr(self, name) for name in self._sizes},
            bias=self.bias is not None,
            device=self.weight_values.device,
            dtype=self.weight_values.dtype,
        )
        dense.weight.zero_().view(-1)[self.pattern.flat_indices] = self.weight_values
        dense.weight.requires_grad_(self.weight_values.requires_grad)
        if self.bias is not None and dense.bias is not None:
            dense.bias.copy_(self.bias).requires_grad_(self.bias.requires_grad)
        return dense.train(self.training)

    @classmethod
    @torch.no_grad()
    def _from_dense(cls, dense: nn.Linear | nn.Conv2d, pattern: Pattern | None) -> Self:
        layer = cls(
            **{name: getattr(dense, name) for name in cls._sizes},
            bias=dense.bias is not None,
            density=None,
            pattern=Pattern.from_mask(dense.weight.flatten(1) != 0) if pattern is None else pattern,
            generator=torch.Generator("cpu").manual_seed(0),  # overwritten below: leave torch's own generator alone
            device=dense.weight.device,
            dtype=dense.weight.dtype,
        )
        layer.weight_values.copy_(dense.weight.flatten()[layer.pattern.flat_indices])
        layer.weight_values.requires_grad_(dense.weight.requires_grad)
        if layer.bias is not None and dense.bias is not None:
            layer.bias.copy_(dense.bias).requires_grad_(dense.bias.requires_grad)
        return layer.train(dense.training)

    # ---- saving ----------------------------------------------------------------------------------------------------

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._structure  # noqa: B018  (checks the seal)
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *args: Any
    ) -> None:
        """Load another pattern too, of any length; one that is damaged or does not fit is refused, changing nothing."""
        values, indptr, indices = (state_dict.get(prefix + name) for name in ("weight_values", "indptr", "indices"))
        if "weight_values" not in self._parameters:  # parametrized: weights are saved by other names
            for mine, other in ((self.indptr, indptr), (self.indices, indices)):
                if other is not None and not torch.equal(mine.cpu(), other.cpu()):
                    check_plain(self, prefix[:-1])
        elif indptr is not None or indices is not None:
            if values is None or indptr is None or indices is None:
                raise InputError(f"the state of layer {prefix[:-1]!r} must have weight_values with indptr and indices")
            pattern = Pattern.from_csr(indptr, indices, self.in_features)
            if values.shape != (pattern.nnz,):
                raise InputError(
                    f"weight_values must be a vector of {pattern.nnz} numbers, got shape {tuple(values.shape)}"
                )
            if values.numel() != self.weight_values.numel():
                check_resizable([self], "load the state first")
            assign = local_metadata.get("assign_to_params_buffers", False)
            self._set_structure(pattern.to(values.device if assign else self.weight_values.device))
            if values.numel() != self.weight_values.numel():
                self.weight_values.grad = None
                with torch.no_grad():
                    _resize(self.weight_values, self.weight_values.new_empty(values.shape))
                note_length(self.weight_values, prefix[:-1])
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        self._set_seal()
