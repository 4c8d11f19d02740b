"""The base of recurrent layers whose projections store and compute only their connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gossamer import kernels
from gossamer.connectivity.allocate import Allocation, allocate_densities
from gossamer.connectivity.bridgeout import Bridgeout
from gossamer.connectivity.linear import SparseLinear
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.noise import Noise, lq_noise

__all__ = ["SparseRecurrent", "matrix_shapes"]


def matrix_shapes(
    gates: int, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool
) -> dict[str, tuple[int, int]]:
    """The shapes (out, in) of all projections of a recurrent network, by name: ``ih_l0``, ``hh_l0``, …."""
    shapes: dict[str, tuple[int, int]] = {}
    for layer in range(num_layers):
        inputs = input_size if layer == 0 else hidden_size * (2 if bidirectional else 1)
        for suffix in ("", "_reverse") if bidirectional else ("",):
            shapes[f"ih_l{layer}{suffix}"] = (gates * hidden_size, inputs)
            shapes[f"hh_l{layer}{suffix}"] = (gates * hidden_size, hidden_size)
    return shapes


class SparseRecurrent(Noise, nn.Module):
    """The base of `SparseLSTM` and `SparseGRU`; see there."""

    _gates: ClassVar[int]
    _dense: ClassVar[type[nn.LSTM] | type[nn.GRU]]
    _states: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        density: float | None = None,
        allocate: Allocation = "uniform",
        patterns: Mapping[str, Pattern] | None = None,
        recurrent_noise: Bridgeout | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = check_count("input_size", input_size, low=1)
        self.hidden_size = check_count("hidden_size", hidden_size, low=1)
        self.num_layers = check_count("num_layers", num_layers, low=1)
        self.dropout = check_fraction("dropout", dropout)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        if recurrent_noise is not None and not isinstance(recurrent_noise, Bridgeout):
            raise InputError(f"recurrent_noise must be a Bridgeout module or None, got {recurrent_noise!r}")
        shapes = matrix_shapes(self._gates, self.input_size, self.hidden_size, self.num_layers, self.bidirectional)
        if (density is None) == (patterns is None):
            raise InputError(f"{type(self).__name__} needs either density or patterns")
        if patterns is not None and set(patterns) != set(shapes):
            raise InputError(f"patterns must be given for {', '.join(shapes)}, got {', '.join(patterns)}")
        shares = allocate_densities(list(shapes.values()), 1.0 if density is None else density, allocate)
        for (name, (rows, cols)), share in zip(shapes.items(), shares, strict=True):
            layer = SparseLinear(
                cols,
                rows,
                share if patterns is None else None,
                bias,
                pattern=None if patterns is None else patterns[name],
                generator=generator,
                device=device,
                dtype=dtype,
            )
            self.add_module(name, layer)
        self.recurrent_noise = recurrent_noise

    @property
    def nnz(self) -> int:
        """Number of connections of all projections."""
        return sum(layer.nnz for layer in self.projections().values())

    @property
    def density(self) -> float:
        """Density of the connections of all projections together."""
        layers = self.projections().values()
        return self.nnz / sum(layer.in_features * layer.out_features for layer in layers)

    def projections(self) -> dict[str, SparseLinear]:
        """Return the sparse layers by name: of the input (``ih_l0``, …) and of the state (``hh_l0``, …).

        Returns:
            The layers.
        """
        return {name: layer for name, layer in self.named_children() if isinstance(layer, SparseLinear)}

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights and biases; see `SparseLayer.reset_parameters`.

        Args:
            generator: source of the weights (default: torch's own).
        """
        for layer in self.projections().values():
            layer.reset_parameters(generator)

    # ---- computation -----------------------------------------------------------------------------------------------

    def _run(self, x: Tensor, states: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output and final states, in the arrangement of ``x``: with or without batch, batch first or second."""
        x, single = self._arranged(x)
        directions = 2 if self.bidirectional else 1
        count, batch = self.num_layers * directions, x.shape[1]
        if states is None:
            states = (x.new_zeros(count, batch, self.hidden_size),) * len(self._states)
        else:
            if len(states) != len(self._states) or not all(isinstance(state, Tensor) for state in states):
                wanted = "a pair of tensors (h0, c0)" if len(self._states) == 2 else "a tensor h0"
                raise InputError(f"hx must be {wanted}, got {', '.join(type(state).__name__ for state in states)}")
            states = tuple(
                self._checked_state(name, state, count, batch, single)
                for name, state in zip(self._states, states, strict=True)
            )
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer:
                x = lq_noise("x", x, self.dropout, 2.0, self.training, "frozen", self.generator)
            outputs = []
            for direction, suffix in enumerate(("", "_reverse")[:directions]):
                start = tuple(state[layer * directions + direction] for state in states)
                y, final = self._direction(x, f"l{layer}{suffix}", start, reverse=direction == 1)
                outputs.append(y)
                finals.append(final)
            x = outputs[0] if directions == 1 else torch.cat(outputs, 2)
        made = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
        if single:
            return x[:, 0], tuple(state[:, 0] for state in made)
        return x.transpose(0, 1) if self.batch_first else x, made

    def _direction(
        self, x: Tensor, name: str, start: tuple[Tensor, ...], *, reverse: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer in one direction: (steps, batch, …) to its states and the last of them."""
        inner: SparseLinear = getattr(self, f"hh_{name}")
        values, structure = inner.weight_values, inner._structure
        noisy = self.recurrent_noise is not None and self.training
        if noisy:
            assert self.recurrent_noise is not None
            values = self.recurrent_noise(values)  # one mask for all steps
        x = getattr(self, f"ih_{name}")(x).to(values.dtype)  # the state stays in full precision under autocast
        start = tuple(state.to(values.dtype) for state in start)
        if _is_observed(inner):
            y, *cells = self._by_steps(x, inner, values if noisy else None, start, reverse)
        else:
            y, *cells = self._at_once(x, inner, values, structure, start, reverse)
        return y, (y[0 if reverse else -1], *cells)

    def _by_steps(
        self, x: Tensor, inner: SparseLinear, values: Tensor | None, start: tuple[Tensor, ...], reverse: bool
    ) -> tuple[Tensor, ...]:
        """The same by calls of ``inner``, which has hooks: they see the state and the product of each step."""
        state, outputs = start, []
        for t in reversed(range(len(x))) if reverse else range(len(x)):
            h = state[0]
            u = inner(h) if values is None else torch.func.functional_call(inner, {"weight_values": values}, (h,))
            state = self._cell(x[t], u.to(x.dtype), state)
            outputs.append(state[0])
        return (torch.stack(outputs[::-1] if reverse else outputs), *state[1:])

    def _cell(self, x: Tensor, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _at_once(
        self,
        x: Tensor,
        inner: SparseLinear,
        values: Tensor,
        structure: kernels.Structure,
        start: tuple[Tensor, ...],
        reverse: bool,
    ) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _arranged(self, x: Tensor) -> tuple[Tensor, bool]:
        """``x`` as (steps, batch, features), and whether it had no batch."""
        if isinstance(x, PackedSequence):
            raise InputError(
                "x must be a tensor, got a PackedSequence: pad the sequences (torch.nn.utils.rnn.pad_packed_sequence) "
                "and leave the padding out of the loss"
            )
        wanted = ("(batch, steps, " if self.batch_first else "(steps, batch, ") + f"{self.input_size})"
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise InputError(f"x must have shape {wanted} or (steps, {self.input_size}), got {tuple(x.shape)}")
        single = x.dim() == 2
        x = x[:, None] if single else x.transpose(0, 1) if self.batch_first else x
        if not len(x):
            raise InputError("x must have at least one step, got none")
        return x, single

    def _checked_state(self, name: str, state: Tensor, count: int, batch: int, single: bool) -> Tensor:
        wanted = (count, self.hidden_size) if single else (count, batch, self.hidden_size)
        if state.shape != wanted:
            raise InputError(f"{name} must have shape {wanted}, got {tuple(state.shape)}")
        return state[:, None] if single else state

    # ---- to and from dense layers ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _to_dense(self) -> Any:
        like = self.projections()["hh_l0"].weight_values
        dense = self._dense(
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            dropout=self.dropout,
            bidirectional=self.bidirectional,
            device="meta",  # no draws from torch's own generator
            dtype=like.dtype,
        ).to_empty(device=like.device)
        for name, layer in self.projections().items():
            for kind, parameter in layer.to_dense().named_parameters():
                target = getattr(dense, f"{kind}_{name}")
                target.copy_(parameter).requires_grad_(parameter.requires_grad)
        return dense.train(self.training)

    @classmethod
    @torch.no_grad()
    def _from_dense(cls, dense: Any, patterns: Mapping[str, Pattern] | None) -> Self:
        if dense.proj_size:
            raise InputError(f"dense must have no projection of its output (proj_size = 0), got {dense.proj_size}")
        shapes = matrix_shapes(cls._gates, dense.input_size, dense.hidden_size, dense.num_layers, dense.bidirectional)
        weights = {name: getattr(dense, f"weight_{name}") for name in shapes}
        if patterns is None:
            patterns = {name: Pattern.from_mask(weight != 0) for name, weight in weights.items()}
        layer = cls(
            dense.input_size,
            dense.hidden_size,
            dense.num_layers,
            dense.bias,
            dense.batch_first,
            dense.dropout,
            dense.bidirectional,
            patterns=patterns,
            generator=torch.Generator("cpu").manual_seed(0),  # overwritten below: leave torch's own generator alone
            device=weights["hh_l0"].device,
            dtype=weights["hh_l0"].dtype,
        )
        for name, inner in layer.projections().items():
            weight = weights[name]
            inner.weight_values.copy_(weight.flatten()[inner.pattern.flat_indices]).requires_grad_(weight.requires_grad)
            if inner.bias is not None:
                bias = getattr(dense, f"bias_{name}")
                inner.bias.copy_(bias).requires_grad_(bias.requires_grad)
        return layer.train(dense.training)

    def extra_repr(self) -> str:
        """Show the arguments."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers > 1:
            shown.append(f"num_layers={self.num_layers}")
        shown += [f"{name}=True" for name in ("batch_first", "bidirectional") if getattr(self, name)]
        if self.dropout:
            shown.append(f"dropout={self.dropout:g}")
        return ", ".join([*shown, f"density={self.density:.4g}, nnz={self.nnz}"])


def _is_observed(layer: nn.Module) -> bool:
    """Whether a call of ``layer`` would do more than its product, as where a rule measures gradients by hooks."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or type(layer).forward is not SparseLinear.forward  # a parametrized one has the same
        or nn.modules.module._has_any_global_hook()
    )
