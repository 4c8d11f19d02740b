"""Recurrent layers whose projections store and compute only their connections."""

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

__all__ = ["SparseGRU", "SparseLSTM", "SparseRecurrent", "matrix_shapes"]


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
            like = self.projections()["hh_l0"].weight_values
            zeros = torch.zeros(count, batch, self.hidden_size, dtype=like.dtype, device=like.device)
            states = (zeros,) * len(self._states)
        else:
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
        """The same by calls of ``inner``, which somebody watches: hooks see the state and the product of each step."""
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
        or type(layer) is not SparseLinear
        or nn.modules.module._has_any_global_hook()
    )


class SparseLSTM(SparseRecurrent):
    """A long short-term memory whose input and recurrent projections are sparse layers.

    The function, the arguments and the order of gates are those of `torch.nn.LSTM`. Of each layer the input projection
    is one product for the whole sequence; the recurrent one is one product a step for all gates, and all steps are one
    call into C++, forward and backward. The projections are `SparseLinear` layers named ``ih_l0``, ``hh_l0``,
    ``ih_l1``, …, with ``_reverse`` for the other direction, so optimizers and `Rewire` see them as in any network.
    Where something watches a recurrent projection by hooks (rules that grow by gradient, say), it is called step by
    step, with the same result in more time.

    On the CPU, float16 and bfloat16 are computed in float32; under autocast the state has the dtype of the weights.

    Args:
        input_size: number of inputs, ≥ 1.
        hidden_size: number of units of each layer and direction, ≥ 1.
        num_layers: number of layers, ≥ 1.
        bias: learn biases of both projections.
        batch_first: ``x`` and the output are (batch, steps, …) rather than (steps, batch, …).
        dropout: probability of zeroing an output of each layer but the last in training, in [0, 1].
        bidirectional: run a second set of layers from the last step to the first.
        density: fraction of the connections of all projections together, in (0, 1]; or give ``patterns``.
        allocate: how the projections share them; see `allocate_densities`.
        patterns: the connections of each projection by its name, if they are not to be drawn.
        recurrent_noise: noise on the recurrent weights in training, one mask for all steps of a sequence: weight
            dropping (Merity et al. 2018) at q = 2.
        generator: source of the patterns and of the initial weights (default: torch's own).
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        InputError: an argument is outside its range, or neither ``density`` nor ``patterns`` is given.

    Example:
        >>> lstm = gs.SparseLSTM(100, 50, density=0.1, batch_first=True)
        >>> y, (h, c) = lstm(torch.randn(8, 35, 100))
        >>> y.shape, h.shape, lstm.nnz
        (torch.Size([8, 35, 50]), torch.Size([1, 8, 50]), 3000)

    References:
        Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997).
        Merity, Keskar, Socher, "Regularizing and optimizing LSTM language models", ICLR 2018.
    """

    _gates = 4
    _dense = nn.LSTM
    _states = ("h0", "c0")

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over a sequence.

        Args:
            x: (steps, batch, input_size), (batch, steps, input_size) with ``batch_first``, or (steps, input_size).
            hx: states and cells before the sequence, (num_layers · directions, batch, hidden_size) each, without the
                batch if ``x`` has none (default: zeros).

        Returns:
            The states of the last layer at every step, (steps, batch, directions · hidden_size) in the arrangement of
            ``x``; states and cells of all layers after the sequence, in the shape of ``hx``.

        Raises:
            InputError: a shape does not fit, or ``x`` is a PackedSequence.
        """
        y, (h, c) = self._run(x, None if hx is None else tuple(hx))
        return y, (h, c)

    def _cell(self, x: Tensor, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return kernels.lstm_cell(x + u, state[1])[:2]

    def _at_once(
        self,
        x: Tensor,
        inner: SparseLinear,
        values: Tensor,
        structure: kernels.Structure,
        start: tuple[Tensor, ...],
        reverse: bool,
    ) -> tuple[Tensor, ...]:
        return kernels.lstm(values, structure, x, inner.bias, *start, reverse=reverse)

    def to_dense(self) -> nn.LSTM:
        """Return the same function as a `torch.nn.LSTM`, with zeros where there is no connection.

        Noise on recurrent weights is left out.

        Returns:
            The dense layers.
        """
        dense: nn.LSTM = self._to_dense()
        return dense

    @classmethod
    def from_dense(cls, dense: nn.LSTM, patterns: Mapping[str, Pattern] | None = None) -> Self:
        """Make sparse layers from dense ones.

        Args:
            dense: the dense layers.
            patterns: the connections that keep their weights, by the names ``ih_l0``, ``hh_l0``, … (default: all
                non-zero weights).

        Returns:
            The sparse layers.

        Raises:
            InputError: ``dense`` projects its output (``proj_size``), or a pattern is missing or of another shape.
        """
        return cls._from_dense(dense, patterns)


class SparseGRU(SparseRecurrent):
    """Gated recurrent units whose input and recurrent projections are sparse layers.

    The function, the arguments and the order of gates are those of `torch.nn.GRU`. See `SparseLSTM` for how they are
    computed, and for the names of the projections.

    Args:
        input_size: number of inputs, ≥ 1.
        hidden_size: number of units of each layer and direction, ≥ 1.
        num_layers: number of layers, ≥ 1.
        bias: learn biases of both projections.
        batch_first: ``x`` and the output are (batch, steps, …) rather than (steps, batch, …).
        dropout: probability of zeroing an output of each layer but the last in training, in [0, 1].
        bidirectional: run a second set of layers from the last step to the first.
        density: fraction of the connections of all projections together, in (0, 1]; or give ``patterns``.
        allocate: how the projections share them; see `allocate_densities`.
        patterns: the connections of each projection by its name, if they are not to be drawn.
        recurrent_noise: noise on the recurrent weights in training, one mask for all steps of a sequence.
        generator: source of the patterns and of the initial weights (default: torch's own).
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        InputError: an argument is outside its range, or neither ``density`` nor ``patterns`` is given.

    Example:
        >>> gru = gs.SparseGRU(100, 50, num_layers=2, density=0.1)
        >>> y, h = gru(torch.randn(35, 8, 100))
        >>> y.shape, h.shape
        (torch.Size([35, 8, 50]), torch.Size([2, 8, 50]))

    References:
        Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014, arXiv 1406.1078.
    """

    _gates = 3
    _dense = nn.GRU
    _states = ("h0",)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run over a sequence.

        Args:
            x: (steps, batch, input_size), (batch, steps, input_size) with ``batch_first``, or (steps, input_size).
            hx: states before the sequence, (num_layers · directions, batch, hidden_size), without the batch if ``x``
                has none (default: zeros).

        Returns:
            The states of the last layer at every step, (steps, batch, directions · hidden_size) in the arrangement of
            ``x``; the states of all layers after the sequence, in the shape of ``hx``.

        Raises:
            InputError: a shape does not fit, or ``x`` is a PackedSequence.
        """
        y, (h,) = self._run(x, None if hx is None else (hx,))
        return y, h

    def _cell(self, x: Tensor, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return kernels.gru_cell(x, u, state[0])[:1]

    def _at_once(
        self,
        x: Tensor,
        inner: SparseLinear,
        values: Tensor,
        structure: kernels.Structure,
        start: tuple[Tensor, ...],
        reverse: bool,
    ) -> tuple[Tensor, ...]:
        return (kernels.gru(values, structure, x, inner.bias, *start, reverse=reverse),)

    def to_dense(self) -> nn.GRU:
        """Return the same function as a `torch.nn.GRU`, with zeros where there is no connection.

        Noise on recurrent weights is left out.

        Returns:
            The dense layers.
        """
        dense: nn.GRU = self._to_dense()
        return dense

    @classmethod
    def from_dense(cls, dense: nn.GRU, patterns: Mapping[str, Pattern] | None = None) -> Self:
        """Make sparse layers from dense ones.

        Args:
            dense: the dense layers.
            patterns: the connections that keep their weights, by the names ``ih_l0``, ``hh_l0``, … (default: all
                non-zero weights).

        Returns:
            The sparse layers.

        Raises:
            InputError: a pattern is missing or of another shape.
        """
        return cls._from_dense(dense, patterns)
