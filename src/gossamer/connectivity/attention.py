"""Multi-head attention whose projections store and compute only their connections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.connectivity.allocate import Allocation, allocate_densities
from gossamer.connectivity.linear import SparseLinear
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.noise import Noise, lq_noise

__all__ = ["SparseMultiheadAttention"]


class SparseMultiheadAttention(Noise, nn.Module):
    """Multi-head attention with sparse projections of queries, keys, values and outputs.

    It replaces a `torch.nn.MultiheadAttention`, also inside PyTorch's Transformer layers: arguments of
    the call, masks and results are the same. The projections are the `SparseLinear` layers ``q_proj``, ``k_proj``,
    ``v_proj`` and ``out_proj``.

    Args:
        embed_dim: width of queries and outputs, divisible by ``num_heads``.
        num_heads: number of heads, ≥ 1.
        dropout: probability of zeroing an attention weight in training, in [0, 1].
        bias: learn biases of the projections.
        kdim: width of keys (default: ``embed_dim``).
        vdim: width of values (default: ``embed_dim``).
        batch_first: batches are (batch, steps, width) rather than (steps, batch, width).
        density: fraction of the connections of all projections together, in (0, 1]; or give ``patterns``.
        allocate: how the projections share them; see `allocate_densities`.
        patterns: the connections of each projection by its name, if they are not to be drawn.
        generator: source of the patterns and of the initial weights (default: torch's own).
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        InputError: an argument is outside its range, or neither ``density`` nor ``patterns`` is given.

    Example:
        >>> attention = gs.connectivity.SparseMultiheadAttention(32, 4, density=0.2, batch_first=True)
        >>> x = torch.randn(8, 10, 32)
        >>> y, weights = attention(x, x, x)
        >>> y.shape, weights.shape
        (torch.Size([8, 10, 32]), torch.Size([8, 10, 10]))
    """

    in_proj_bias = None  # PyTorch's Transformer layers ask: without it they call this module, not their fused path
    _qkv_same_embed_dim = False
    q_proj: SparseLinear
    k_proj: SparseLinear
    v_proj: SparseLinear
    out_proj: SparseLinear

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        density: float | None = None,
        allocate: Allocation = "uniform",
        patterns: Mapping[str, Pattern] | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = check_count("embed_dim", embed_dim, low=1)
        self.num_heads = check_count("num_heads", num_heads, low=1)
        if embed_dim % num_heads:
            raise InputError(f"embed_dim must be divisible by num_heads = {num_heads}, got {embed_dim}")
        self.kdim = embed_dim if kdim is None else check_count("kdim", kdim, low=1)
        self.vdim = embed_dim if vdim is None else check_count("vdim", vdim, low=1)
        self.dropout, self.batch_first = check_fraction("dropout", dropout), bool(batch_first)
        if (density is None) == (patterns is None):
            raise InputError("SparseMultiheadAttention needs either density or patterns")
        inputs = {"q_proj": embed_dim, "k_proj": self.kdim, "v_proj": self.vdim, "out_proj": embed_dim}
        if patterns is not None and set(patterns) != set(inputs):
            raise InputError(f"patterns must be given for {', '.join(inputs)}, got {', '.join(patterns)}")
        shapes = [(embed_dim, count) for count in inputs.values()]
        shares = allocate_densities(shapes, 1.0 if density is None else density, allocate)
        for (name, count), share in zip(inputs.items(), shares, strict=True):
            given = None if patterns is None else patterns[name]
            layer = SparseLinear(
                count,
                embed_dim,
                share if given is None else None,
                bias,
                pattern=given,
                generator=generator,
                device=device,
                dtype=dtype,
            )
            self.add_module(name, layer)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: (steps, batch, embed_dim), (batch, steps, embed_dim) with ``batch_first``, or (steps, embed_dim).
            key: likewise, with sources in the place of steps, of width ``kdim``.
            value: likewise, of width ``vdim``.
            key_padding_mask: (batch, sources): true for sources that are left out, or numbers that are added to the
                scores.
            need_weights: also return the attention weights, which takes more time and memory.
            attn_mask: (steps, sources) or (batch · num_heads, steps, sources), read likewise.
            average_attn_weights: average the weights over heads.
            is_causal: without ``attn_mask``, leave out sources behind each step; with it, a hint that is not needed.

        Returns:
            The outputs, arranged as ``query``; the weights (batch, steps, sources), by heads
            (batch, num_heads, steps, sources), or None.

        Raises:
            InputError: a shape does not fit.
        """
        for name, given, width in (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        ):
            if given.dim() not in (2, 3) or given.dim() != query.dim() or given.shape[-1] != width:
                raise InputError(
                    f"{name} must have shape (…, {width}) with 2 or 3 dimensions, got {tuple(given.shape)}"
                )
        single = query.dim() == 2
        q = self._heads("q_proj", query)
        k, v = self._heads("k_proj", key), self._heads("v_proj", value)  # (batch, heads, steps, size)
        mask = self._mask(q, k, key_padding_mask, attn_mask, is_causal)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights or (p and self.generator is not None):
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = lq_noise("weights", weights, p, 2.0, True, "frozen", self.generator)
            mixed = weights @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, mask, p)
        y = self.out_proj(mixed.transpose(1, 2).flatten(2))  # (batch, steps, embed_dim)
        y = y[0] if single else y if self.batch_first else y.transpose(0, 1)
        if weights is None or not need_weights:
            return y, None
        weights = weights.mean(1) if average_attn_weights else weights
        return y, weights[0] if single else weights

    def _heads(self, name: str, x: Tensor) -> Tensor:
        """The projection of ``x`` as (batch, heads, steps, size)."""
        x = x[None] if x.dim() == 2 else x if self.batch_first else x.transpose(0, 1)
        y = getattr(self, name)(x).contiguous()
        heads: Tensor = y.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
        return heads

    def _mask(
        self, q: Tensor, k: Tensor, padding: Tensor | None, given: Tensor | None, is_causal: bool
    ) -> Tensor | None:
        """The mask that is added to the scores (batch, heads, steps, sources), or broadcasts with them."""
        batch, heads, steps = q.shape[:3]
        sources = k.shape[2]
        mask = None
        if given is not None:
            if given.shape == (steps, sources):
                mask = _added(given, q)
            elif given.shape == (batch * heads, steps, sources):
                mask = _added(given, q).view(batch, heads, steps, sources)
            else:
                wanted = f"{(steps, sources)} or {(batch * heads, steps, sources)}"
                raise InputError(f"attn_mask must have shape {wanted}, got {tuple(given.shape)}")
        elif is_causal:
            mask = _added(torch.ones(steps, sources, dtype=torch.bool, device=q.device).triu(1), q)
        if padding is not None:
            padding = padding[None] if padding.dim() == 1 else padding
            if padding.shape != (batch, sources):
                raise InputError(f"key_padding_mask must have shape {(batch, sources)}, got {tuple(padding.shape)}")
            added = _added(padding, q)[:, None, None]
            mask = added if mask is None else mask + added
        return mask

    # ---- to and from dense layers ----------------------------------------------------------------------------------

    @torch.no_grad()
    def to_dense(self) -> nn.MultiheadAttention:
        """Return the same function as a `torch.nn.MultiheadAttention`, with zeros where there is no connection.

        Returns:
            The dense module.
        """
        dense = nn.MultiheadAttention(
            self.embed_dim,
            self.num_heads,
            self.dropout,
            self.q_proj.bias is not None,
            kdim=self.kdim,
            vdim=self.vdim,
            batch_first=self.batch_first,
            device="meta",  # no draws from torch's own generator
            dtype=self.q_proj.weight_values.dtype,
        ).to_empty(device=self.q_proj.weight_values.device)
        twins = {name: getattr(self, name).to_dense() for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        targets = _parameters(dense)
        for name, twin in twins.items():
            for (target, rows), parameter in zip(targets[name], twin.parameters(), strict=True):
                target[rows] = parameter
                target.requires_grad_(parameter.requires_grad)  # a joint one: as the last of its parts
        return dense.train(self.training)

    @classmethod
    @torch.no_grad()
    def from_dense(cls, dense: nn.MultiheadAttention, patterns: Mapping[str, Pattern] | None = None) -> Self:
        """Make sparse projections from dense ones.

        Args:
            dense: the dense module, without ``add_bias_kv`` and ``add_zero_attn``.
            patterns: the connections that keep their weights, by the names ``q_proj``, ``k_proj``, ``v_proj`` and
                ``out_proj`` (default: all non-zero weights).

        Returns:
            The sparse module.

        Raises:
            InputError: ``dense`` adds keys or values of its own, or a pattern is missing or of another shape.
        """
        if dense.bias_k is not None or dense.add_zero_attn:
            raise InputError("dense must have neither add_bias_kv nor add_zero_attn: there is no sparse counterpart")
        given = {name: [(tensor[rows], tensor) for tensor, rows in pair] for name, pair in _parameters(dense).items()}
        if patterns is None:
            patterns = {name: Pattern.from_mask(pair[0][0] != 0) for name, pair in given.items()}
        layer = cls(
            dense.embed_dim,
            dense.num_heads,
            dense.dropout,
            dense.in_proj_bias is not None,
            dense.kdim,
            dense.vdim,
            dense.batch_first,
            patterns=patterns,
            generator=torch.Generator("cpu").manual_seed(0),  # overwritten below: leave torch's own generator alone
            device=dense.out_proj.weight.device,
            dtype=dense.out_proj.weight.dtype,
        )
        for name, ((weight, whole), *bias) in given.items():
            inner: SparseLinear = getattr(layer, name)
            inner.weight_values.copy_(weight.flatten()[inner.pattern.flat_indices]).requires_grad_(whole.requires_grad)
            for numbers, whole_bias in bias:
                assert inner.bias is not None
                inner.bias.copy_(numbers).requires_grad_(whole_bias.requires_grad)
        return layer.train(dense.training)

    def extra_repr(self) -> str:
        """Show the arguments."""
        shown = f"{self.embed_dim}, {self.num_heads}"
        shown += f", dropout={self.dropout:g}" if self.dropout else ""
        return shown + (", batch_first=True" if self.batch_first else "")


def _parameters(dense: nn.MultiheadAttention) -> dict[str, list[tuple[nn.Parameter, slice]]]:
    """Weight and, if there is one, bias of each projection: parameters, and which of their rows."""
    found: dict[str, list[tuple[nn.Parameter, slice]]] = {}
    for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
        rows = slice(index * dense.embed_dim, (index + 1) * dense.embed_dim)
        joint = dense._qkv_same_embed_dim
        weight = dense.in_proj_weight if joint else getattr(dense, f"{name}_weight")
        found[name] = [(weight, rows if joint else slice(None))]
        if dense.in_proj_bias is not None:
            found[name].append((dense.in_proj_bias, rows))
    found["out_proj"] = [(parameter, slice(None)) for parameter in dense.out_proj.parameters()]
    return found


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers that are added to scores."""
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)
    if not mask.is_floating_point():
        raise InputError(f"masks must be booleans or floating point, got {mask.dtype}")
    return mask.to(like.dtype)
