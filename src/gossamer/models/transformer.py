"""A decoder-only Transformer with sparse or dense connections, and its dense twin."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.connectivity import SparseLinear, allocate_densities
from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.models.drawn_layers import linear
from gossamer.models.noise import Dropout
from gossamer.models.specification import activation_from

__all__ = ["Transformer", "TransformerBlock", "apply_rotation", "rotary_angles"]

_BASE = 10_000.0  # of the wavelengths 2π · base^(2i / d)


def rotary_angles(steps: int, size: int, like: Tensor) -> Tensor:
    """Return the angles t · base^(−2i / size) of rotary positions.

    Args:
        steps: number of positions t = 0, 1, ….
        size: of each head, even.
        like: whose device they have.

    Returns:
        (steps, size / 2), float32.

    References:
        Su et al., "RoFormer: enhanced Transformer with rotary position embedding", arXiv 2104.09864, equation 15.
    """
    frequencies = _BASE ** (torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / -size)
    return torch.arange(steps, device=like.device, dtype=torch.float32)[:, None] * frequencies


def apply_rotation(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate the pairs (x_i, x_{i + size/2}) of each position by its angles; inner products then depend on distances.

    Args:
        x: (…, steps, size).
        angles: (steps, size / 2).

    Returns:
        The same shape.
    """
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class TransformerBlock(nn.Module):
    """Causal self-attention and a feed-forward part, each on a normalized copy and added to its input.

        x ← x + O attention(LN(x)),   x ← x + W₂ f(W₁ LN(x) + b₁) + b₂

    The projections to queries, keys and values are one layer ``qkv``; the others are ``attended`` (O), ``expand`` (W₁)
    and ``contract`` (W₂).

    Args:
        qkv: the projection to queries, keys and values, width → 3 · width.
        attended: width → width.
        expand: width → hidden.
        activation: f, from (samples, hidden) to (samples, hidden).
        contract: hidden → width.
        width: of ``x``.
        heads: number of heads.
        dropout: probability of zeroing an output of either part in training.

    Example:
        >>> model = gs.models.Transformer(256, width=32, blocks=1, heads=2, context=16, density=0.5)
        >>> type(model.blocks[0]).__name__
        'TransformerBlock'
    """

    def __init__(
        self,
        qkv: nn.Module,
        attended: nn.Module,
        expand: nn.Module,
        activation: nn.Module,
        contract: nn.Module,
        *,
        width: int,
        heads: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.attended = qkv, attended
        self.expand, self.activation, self.contract = expand, activation, contract
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, angles: Tensor | None = None) -> Tensor:
        """Compute the block.

        Args:
            x: (batch, steps, width).
            angles: of rotary positions (steps, width / heads / 2), or None.

        Returns:
            (batch, steps, width).
        """
        batch, steps, width = x.shape
        # Rows of samples: sparse layers work on (features, samples), and so does each of them only once.
        qkv = self.qkv(self.norm1(x).flatten(0, 1)).contiguous().view(batch, steps, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (batch, heads, steps, size)
        if angles is not None:
            q, k = apply_rotation(q, angles), apply_rotation(k, angles)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, width)
        x = x + self.dropout(self.attended(mixed)).view(x.shape)
        hidden = self.activation(self.expand(self.norm2(x).flatten(0, 1)))
        result: Tensor = x + self.dropout(self.contract(hidden)).view(x.shape)
        return result


class Transformer(nn.Module):
    """A decoder-only Transformer: logits of the next token at each position.

    Normalization comes before each part (Xiong et al. 2020). With a density, the four projections of each block are
    `SparseLinear` layers; embeddings and outputs stay dense. Weights start uniform on ±1/√fan-in, counting the
    connections that exist; those of the layers that add to the residual are divided by √(2 · blocks) (Radford et al.
    2019).

    Args:
        vocabulary: number of tokens, ≥ 1.
        width: of the residual stream, divisible by ``heads``.
        blocks: number of blocks, ≥ 1.
        heads: number of attention heads, ≥ 1.
        context: largest number of steps, ≥ 1.
        hidden: units of the feed-forward part (default: 4 · width).
        density: fraction of the connections of all projections together, in (0, 1]; None makes every layer an
            `nn.Linear`: the dense twin.
        allocate: how the projections share their connections; see `gossamer.allocate_densities`.
        activation: of the feed-forward part, as `activation_from` reads it.
        positions: ``"rotary"``, or ``"learned"`` embeddings of the positions.
        tied: outputs have the weights of the embeddings.
        dropout: probability of zeroing an embedding, or an output of a part of a block, in training, in [0, 1).
        generator: source of patterns and weights (default: torch's own).

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> model = gs.models.Transformer(256, width=64, blocks=2, heads=4, context=32, density=0.1)
        >>> model(torch.randint(256, (8, 32))).shape
        torch.Size([8, 32, 256])

    References:
        Vaswani et al., "Attention is all you need", NeurIPS 2017.
        Xiong et al., "On layer normalization in the Transformer architecture", ICML 2020.
        Radford et al., "Language models are unsupervised multitask learners", 2019.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 256,
        blocks: int = 4,
        heads: int = 4,
        context: int = 256,
        hidden: int | None = None,
        density: float | None,
        allocate: Allocation = "uniform",
        activation: str = "relu",
        positions: str = "rotary",
        tied: bool = True,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = check_count("vocabulary", vocabulary, low=1)
        self.context = check_count("context", context, low=1)
        width, heads = check_count("width", width, low=1), check_count("heads", heads, low=1)
        blocks = check_count("blocks", blocks, low=1)
        hidden = 4 * width if hidden is None else check_count("hidden", hidden, low=1)
        check_choice("positions", positions, ("rotary", "learned"))
        check_fraction("dropout", dropout, open_high=True)
        if width % heads or (positions == "rotary" and width // heads % 2):
            factor = "an even multiple" if positions == "rotary" else "a multiple"
            raise InputError(f"width must be {factor} of heads = {heads}, got {width}")
        self.head_size = width // heads
        self.embedding = nn.Embedding(vocabulary, width, _weight=_normal(vocabulary, width, generator))
        self.positions = (
            nn.Embedding(context, width, _weight=_normal(context, width, generator)) if positions == "learned" else None
        )
        self.dropout = Dropout(dropout)
        shapes = [(3 * width, width), (width, width), (hidden, width), (width, hidden)] * blocks
        shares: Iterator[float | None] = iter([None] * len(shapes))
        if density is not None:
            shares = iter(allocate_densities(shapes, density, allocate))

        def layer(inputs: int, outputs: int, scale: float = 1.0) -> nn.Module:
            made = linear(inputs, outputs, next(shares), generator)
            if scale != 1:
                weight = made.weight_values if isinstance(made, SparseLinear) else made.weight
                with torch.no_grad():
                    weight.mul_(scale)
            return made

        residual = 1 / math.sqrt(2 * blocks)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                layer(width, 3 * width),
                layer(width, width, residual),
                layer(width, hidden),
                activation_from(activation, hidden, position=i, generator=generator),
                layer(hidden, width, residual),
                width=width,
                heads=heads,
                dropout=dropout,
            )
            for i in range(1, blocks + 1)
        )
        self.norm = nn.LayerNorm(width)
        self.output = linear(width, vocabulary, None, generator)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute the logits of the token that follows each prefix.

        Args:
            tokens: int64 (batch, steps), steps ≤ context.

        Returns:
            Logits (batch, steps, vocabulary).

        Raises:
            InputError: ``tokens`` has another shape or dtype, or more steps than the context.
        """
        if tokens.dim() != 2 or tokens.is_floating_point():
            raise InputError(
                f"tokens must be integers (batch, steps), got {tokens.dtype} of shape {tuple(tokens.shape)}"
            )
        steps = tokens.shape[1]
        if not 1 <= steps <= self.context:
            raise InputError(f"tokens must have from 1 to context = {self.context} steps, got {steps}")
        x = self.embedding(tokens)
        angles = None
        if self.positions is None:
            angles = rotary_angles(steps, self.head_size, x)
        else:
            x = x + self.positions.weight[:steps]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, angles)
        logits: Tensor = self.output(self.norm(x))
        return logits


def _normal(rows: int, cols: int, generator: torch.Generator | None) -> Tensor:
    return torch.empty(rows, cols).normal_(std=0.02, generator=generator)
