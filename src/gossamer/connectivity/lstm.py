"""A long short-term memory whose projections store and compute only their connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from torch import Tensor, nn

from gossamer import kernels
from gossamer.connectivity.linear import SparseLinear
from gossamer.connectivity.pattern import Pattern
from gossamer.connectivity.recurrent import SparseRecurrent

__all__ = ["SparseLSTM"]


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
