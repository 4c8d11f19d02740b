"""A recurrent language model with sparse or dense connections, and its dense twin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.activation import Sparseout
from gossamer.connectivity import Bridgeout, Pattern, SparseGRU, SparseLSTM, allocate_densities
from gossamer.connectivity.allocate import Allocation
from gossamer.connectivity.recurrent import matrix_shapes
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.noise import Noise, check_p

__all__ = ["LanguageModel", "LockedDropout", "detach_state"]

State = tuple[Any, ...]
_FEWER = 4  # features, from one group of an adaptive softmax to the next
_CELLS: dict[str, tuple[int, type[SparseLSTM] | type[SparseGRU], type[nn.LSTM] | type[nn.GRU]]] = {
    "lstm": (4, SparseLSTM, nn.LSTM),
    "gru": (3, SparseGRU, nn.GRU),
}


class LockedDropout(Noise, nn.Module):
    """Dropout of a sequence with one mask for all of its steps (variational dropout).

    Args:
        p: probability of zeroing a unit, in [0, 1].

    Raises:
        InputError: ``p`` is outside its range.

    Example:
        >>> y = gs.models.LockedDropout(0.5)(torch.ones(7, 2, 3))
        >>> bool((y == y[0]).all())
        True

    References:
        Gal, Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS 2016.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_p(p)

    def forward(self, x: Tensor) -> Tensor:
        """Drop units in training mode.

        Args:
            x: (steps, batch, units).

        Returns:
            Tensor of the same shape.
        """
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty(1, *x.shape[1:]).bernoulli_(1 - self.p, generator=self.generator)
        return x * (kept if self.p == 1 else kept / (1 - self.p))

    def extra_repr(self) -> str:
        """Show the argument."""
        return f"p={self.p:g}"


def detach_state(state: State | None) -> State | None:
    """Cut the graph at a state, for truncated backpropagation through time.

    Args:
        state: of `LanguageModel`, or None.

    Returns:
        The same numbers without their history.

    Example:
        >>> model = gs.models.LanguageModel(50, width=8, density=0.5)
        >>> _, state = model(torch.randint(50, (5, 2)))
        >>> gs.models.detach_state(state)[0][0].requires_grad
        False
    """
    if state is None:
        return None
    return tuple(part.detach() if isinstance(part, Tensor) else detach_state(part) for part in state)


class LanguageModel(nn.Module):
    """Embeddings, recurrent layers and outputs over a vocabulary: the next token at each step of a text.

    A state is carried from call to call, so that a long text is read in pieces: give the state that a call has
    returned, detached (`detach_state`), to the next (truncated backpropagation through time). With a density, the
    recurrent layers are `SparseLSTM` or `SparseGRU`; embeddings and outputs stay dense.

    Noise in training, after Merity et al. (2018): on embeddings, between layers and on the output of the last, locked
    dropout (one mask for all steps) or, with ``q``, Sparseout; on recurrent weights, weight dropping.

    Args:
        vocabulary: number of tokens, ≥ 1.
        width: of the embeddings, ≥ 1.
        hidden: units of each recurrent layer (default: ``width``); with ``tied``, the last has ``width``.
        layers: number of recurrent layers, ≥ 1.
        cell: ``"lstm"`` or ``"gru"``.
        density: fraction of the connections of all recurrent layers together, in (0, 1]; None makes them `nn.LSTM` or
            `nn.GRU`: the dense twin.
        allocate: how the projections share their connections; see `gossamer.allocate_densities`.
        dropout: probability p of the noise on activations, in [0, 1).
        q: exponent of Sparseout, which then replaces locked dropout, in [0, ∞); None for dropout.
        weight_drop: probability with which a recurrent weight is dropped, one mask for all steps, in [0, 1].
        weight_drop_q: exponent of Bridgeout; at 2 it is DropConnect.
        tied: outputs have the weights of the embeddings.
        cutoffs: groups of frequent and rare tokens for an adaptive softmax, whose vocabulary is sorted by frequency:
            see `torch.nn.AdaptiveLogSoftmaxWithLoss`; needs ``tied=False``.
        generator: source of patterns and weights (default: torch's own).

    Raises:
        InputError: an argument is outside its range, or ``cutoffs`` are given with ``tied``.

    Example:
        >>> model = gs.models.LanguageModel(100, width=32, layers=2, density=0.2, dropout=0.3)
        >>> text = torch.randint(100, (36, 4))
        >>> loss, state = model.loss(text[:-1], text[1:])
        >>> loss.shape, len(state)
        (torch.Size([]), 2)

    References:
        Merity, Keskar, Socher, "Regularizing and optimizing LSTM language models", ICLR 2018.
        Press, Wolf, "Using the output embedding to improve language models", EACL 2017 (tied embeddings).
        Grave et al., "Efficient softmax approximation for GPUs", ICML 2017 (adaptive softmax).
        Khan, Stavness, "Sparseout: controlling sparsity in deep networks", Canadian AI 2019, arXiv 1904.08050.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 200,
        hidden: int | None = None,
        layers: int = 2,
        cell: str = "lstm",
        density: float | None,
        allocate: Allocation = "uniform",
        dropout: float = 0.0,
        q: float | None = None,
        weight_drop: float = 0.0,
        weight_drop_q: float = 2.0,
        tied: bool = True,
        cutoffs: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = check_count("vocabulary", vocabulary, low=1)
        width, layers = check_count("width", width, low=1), check_count("layers", layers, low=1)
        hidden = width if hidden is None else check_count("hidden", hidden, low=1)
        self.cell = check_choice("cell", cell, tuple(_CELLS))
        check_fraction("dropout", dropout, open_high=True)
        if cutoffs is not None and tied:
            raise InputError("cutoffs need tied=False: an adaptive softmax has weights of its own")
        sizes = [width, *[hidden] * (layers - 1), width if tied else hidden]
        self.embedding = nn.Embedding(
            vocabulary, width, _weight=torch.empty(vocabulary, width).uniform_(-0.1, 0.1, generator=generator)
        )
        self.noises = nn.ModuleList(_noise(dropout, q) for _ in sizes)
        self.weight_noise = (
            Bridgeout(weight_drop, weight_drop_q) if check_fraction("weight_drop", weight_drop) else None
        )
        self.layers = nn.ModuleList(_layers(self.cell, sizes, density, allocate, self.weight_noise, generator))
        self.output: nn.Linear | nn.AdaptiveLogSoftmaxWithLoss
        if cutoffs is not None:
            self.output = _adaptive(sizes[-1], vocabulary, list(cutoffs), generator)
        else:
            linear: nn.Linear = nn.utils.skip_init(nn.Linear, sizes[-1], vocabulary)
            nn.init.uniform_(linear.weight, -0.1, 0.1, generator)
            nn.init.zeros_(linear.bias)
            self.output = linear
        if tied:
            self.output.weight = self.embedding.weight

    def body(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Compute the output of the last recurrent layer.

        Args:
            tokens: int64 (steps, batch), steps ≥ 1.
            state: that a call before has returned (default: zeros).

        Returns:
            The output (steps, batch, features); the state after the last step, one part for each layer.

        Raises:
            InputError: ``tokens`` or ``state`` does not fit.
        """
        if tokens.dim() != 2 or tokens.is_floating_point() or not len(tokens):
            raise InputError(
                f"tokens must be integers (steps ≥ 1, batch), got {tokens.dtype} of shape {tuple(tokens.shape)}"
            )
        if state is not None and len(state) != len(self.layers):
            raise InputError(f"state must have a part for each of {len(self.layers)} layers, got {len(state)}")
        x = self.noises[0](self.embedding(tokens))
        after: list[Any] = []
        for index, layer in enumerate(self.layers):
            before = None if state is None else state[index]
            if isinstance(layer, nn.LSTM | nn.GRU) and self.weight_noise is not None and self.training:
                weights = {"weight_hh_l0": self.weight_noise(layer.weight_hh_l0)}
                x, final = torch.func.functional_call(layer, weights, (x, before))
            else:
                x, final = layer(x, before)
            x = self.noises[index + 1](x)
            after.append(final)
        return x, tuple(after)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Compute the scores of the next token at each step.

        Args:
            tokens: int64 (steps, batch).
            state: that a call before has returned (default: zeros).

        Returns:
            Logits (steps, batch, vocabulary), log-probabilities with an adaptive softmax; the state after the last
            step.
        """
        x, state = self.body(tokens, state)
        if isinstance(self.output, nn.AdaptiveLogSoftmaxWithLoss):
            return self.output.log_prob(x.flatten(0, 1)).view(*tokens.shape, -1), state
        return self.output(x), state

    def loss(self, tokens: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Compute the mean negative log-likelihood of the targets in nats; its exponential is the perplexity.

        Args:
            tokens: int64 (steps, batch).
            targets: int64 (steps, batch), the token that follows each.
            state: that a call before has returned (default: zeros).

        Returns:
            The loss; the state after the last step.

        Raises:
            InputError: ``targets`` has another shape than ``tokens``.
        """
        if targets.shape != tokens.shape:
            raise InputError(
                f"targets must have the shape of tokens, {tuple(tokens.shape)}, got {tuple(targets.shape)}"
            )
        if isinstance(self.output, nn.AdaptiveLogSoftmaxWithLoss):
            x, state = self.body(tokens, state)
            return self.output(x.flatten(0, 1), targets.flatten()).loss, state
        logits, state = self(tokens, state)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), state


def _noise(p: float, q: float | None) -> nn.Module:
    return LockedDropout(p) if q is None else Sparseout(p, q)


def _layers(
    cell: str,
    sizes: Sequence[int],
    density: float | None,
    allocate: Allocation,
    noise: Bridgeout | None,
    generator: torch.Generator | None,
) -> list[nn.Module]:
    gates, sparse, dense = _CELLS[cell]
    pairs = list(pairwise(sizes))
    if density is None:
        made: list[nn.Module] = []
        for inputs, outputs in pairs:
            layer = dense(inputs, outputs, device="meta").to_empty(device=torch.get_default_device())
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -1 / math.sqrt(outputs), 1 / math.sqrt(outputs), generator)
            made.append(layer)
        return made
    shapes = [matrix_shapes(gates, inputs, outputs, 1, False) for inputs, outputs in pairs]
    shares = iter(allocate_densities([shape for layer in shapes for shape in layer.values()], density, allocate))
    return [
        sparse(
            inputs,
            outputs,
            patterns={name: Pattern.erdos_renyi(*shape, next(shares), generator) for name, shape in layer.items()},
            recurrent_noise=noise,
            generator=generator,
        )
        for (inputs, outputs), layer in zip(pairs, shapes, strict=True)
    ]


def _adaptive(
    width: int, vocabulary: int, cutoffs: list[int], generator: torch.Generator | None
) -> nn.AdaptiveLogSoftmaxWithLoss:
    if not cutoffs or width < _FEWER ** len(cutoffs):  # the group of the rarest tokens would have no features
        raise InputError(
            f"cutoffs must be one number at least, and {_FEWER} to the power of their count at most the {width} "
            f"features of the last layer, got {cutoffs}: each further group of tokens has {_FEWER} times fewer"
        )
    try:
        made = nn.AdaptiveLogSoftmaxWithLoss(width, vocabulary, cutoffs, _FEWER, device="meta")
    except ValueError:
        raise InputError(
            f"cutoffs must be ascending, distinct whole numbers from 1 to {vocabulary - 1}, got {cutoffs}"
        ) from None
    made = made.to_empty(device=torch.get_default_device())
    for parameter in made.parameters():
        bound = 1 / math.sqrt(parameter.shape[-1])
        nn.init.uniform_(parameter, -bound, bound, generator)
    return made
