"""Which modules of PyTorch have a sparse counterpart, and which of their weights become which sparse layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from gossamer.connectivity.attention import SparseMultiheadAttention
from gossamer.connectivity.conv import SparseConv2d
from gossamer.connectivity.gru import SparseGRU
from gossamer.connectivity.layer import SparseLayer
from gossamer.connectivity.linear import SparseLinear
from gossamer.connectivity.lstm import SparseLSTM
from gossamer.connectivity.pattern import Pattern
from gossamer.connectivity.recurrent import matrix_shapes

__all__ = ["KINDS", "Part", "has_counterpart", "make_sparse", "parts_of", "why_unfit"]


class Part(NamedTuple):
    """One weight matrix of a dense module: rows of a parameter, with the bias that belongs to them.

    Attributes:
        name: of the sparse layer inside the counterpart; "" if it is the counterpart itself.
        weight: name of the parameter in the dense module.
        bias: name of the bias there.
        rows: those of the weight.
        bias_rows: those of the bias.
    """

    name: str
    weight: str
    bias: str
    rows: slice = slice(None)
    bias_rows: slice = slice(None)

    def matrix(self, dense: nn.Module) -> Tensor:
        """The weights in ``dense``, (out, in, …)."""
        return dense.get_parameter(self.weight)[self.rows]

    def layer(self, sparse: nn.Module) -> SparseLayer:
        """The sparse layer in the counterpart ``sparse``."""
        found = sparse.get_submodule(self.name)
        assert isinstance(found, SparseLayer)
        return found


def _whole(dense: Any) -> list[Part]:
    return [Part("", "weight", "bias")]


def _recurrent(dense: Any) -> list[Part]:
    gates = 4 if isinstance(dense, nn.LSTM) else 3
    sizes = (dense.input_size, dense.hidden_size, dense.num_layers, dense.bidirectional)
    return [Part(name, f"weight_{name}", f"bias_{name}") for name in matrix_shapes(gates, *sizes)]


def _attention(dense: Any) -> list[Part]:
    parts = []
    for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
        rows = slice(index * dense.embed_dim, (index + 1) * dense.embed_dim)
        if dense._qkv_same_embed_dim:
            parts.append(Part(name, "in_proj_weight", "in_proj_bias", rows, rows))
        else:
            parts.append(Part(name, f"{name}_weight", "in_proj_bias", bias_rows=rows))
    return [*parts, Part("out_proj", "out_proj.weight", "out_proj.bias")]


Make = Callable[[Any, Mapping[str, Pattern]], nn.Module]
_COUNTERPARTS: dict[type[nn.Module], tuple[Callable[[Any], list[Part]], Make]] = {
    nn.Linear: (_whole, lambda dense, patterns: SparseLinear.from_dense(dense, patterns[""])),
    nn.Conv2d: (_whole, lambda dense, patterns: SparseConv2d.from_dense(dense, patterns[""])),
    nn.LSTM: (_recurrent, SparseLSTM.from_dense),
    nn.GRU: (_recurrent, SparseGRU.from_dense),
    nn.MultiheadAttention: (_attention, SparseMultiheadAttention.from_dense),
}

KINDS = ", ".join(f"nn.{kind.__name__}" for kind in _COUNTERPARTS)


def has_counterpart(module: nn.Module | None) -> bool:
    """Whether there is a sparse counterpart; a subclass has none, since its function may be another."""
    return type(module) in _COUNTERPARTS


def parts_of(dense: nn.Module) -> list[Part]:
    """The weight matrices of a module that has a counterpart."""
    return _COUNTERPARTS[type(dense)][0](dense)


def make_sparse(dense: nn.Module, patterns: Mapping[str, Pattern]) -> nn.Module:
    """The counterpart of ``dense`` with these connections, by the names of the parts."""
    return _COUNTERPARTS[type(dense)][1](dense, patterns)


def why_unfit(dense: nn.Module) -> str | None:
    """Why this module can't be made sparse as it is configured, or None."""
    if isinstance(dense, nn.Conv2d) and dense.padding_mode != "zeros":
        return f"pads with {dense.padding_mode!r}, not with zeros"
    if isinstance(dense, nn.LSTM | nn.GRU) and dense.proj_size:
        return f"projects its output (proj_size={dense.proj_size})"
    if isinstance(dense, nn.MultiheadAttention) and (dense.bias_k is not None or dense.add_zero_attn):
        return "adds keys and values of its own (add_bias_kv, add_zero_attn)"
    return None
