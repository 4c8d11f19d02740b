"""Gated recurrent units whose projections store and compute only their connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from torch import Tensor, nn

from gossamer import kernels
from gossamer.connectivity.linear import SparseLinear
from gossamer.connectivity.pattern import Pattern
from gossamer.connectivity.recurrent import SparseRecurrent

__all__ = ["SparseGRU"]


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
