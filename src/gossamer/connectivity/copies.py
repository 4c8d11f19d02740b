"""Detection of two mistakes with patterns, each where it would first give wrong numbers.

A copy of a network that is averaged with it by position (such as an exponential moving average) gets weights of
different connections mixed once the network has been rewired. Such averages write into the buffers of the copy, which
nothing else does, so a copied layer keeps a `PatternSeal` of its pattern and refuses to work after that.

An optimizer whose state was made for another number of connections than the layer now has is refused by a hook that
runs before its step (`note_length`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import WeakIdKeyDictionary

from gossamer.errors import InputError
from gossamer.kernels import Structure

__all__ = ["PatternSeal", "note_length"]


@dataclass(frozen=True)
class PatternSeal:
    """The tensors of a pattern, how often they had been changed in place, and a checksum of their values."""

    indices: Tensor
    versions: tuple[int, int]
    checksum: int

    @staticmethod
    def of(structure: Structure) -> PatternSeal | None:
        """Return the seal of ``structure``; None if it holds no numbers or counts no changes."""
        a, b = structure.indptr, structure.indices
        if a is None or a.is_meta or a.is_inference() or b.is_inference():
            return None
        return PatternSeal(b, (a._version, b._version), _checksum(structure))

    def check(self, structure: Structure) -> PatternSeal:
        """Return the seal of ``structure``; an `InputError` if the tensors were overwritten with another pattern."""
        if structure.indices is not self.indices:  # replaced as a whole, as by functional_call
            return self
        versions = structure.indptr._version, structure.indices._version
        if versions == self.versions:
            return self
        if _checksum(structure) != self.checksum:
            raise InputError(
                "connections of a copied layer must change together with its weights, but were overwritten in place: "
                "an average by position, which mixes weights of different connections. Average with "
                "gossamer.AveragedModel, call gossamer.align_(copy, net) before any other average, or copy with "
                "load_state_dict"
            )
        return PatternSeal(self.indices, versions, self.checksum)


def _checksum(structure: Structure) -> int:
    found = 0
    for tensor in structure[:2]:
        found = zlib.crc32(tensor.detach().cpu().contiguous().numpy().data, found)
    return found


_resized = WeakIdKeyDictionary()  # weights whose length has changed -> the name of their layer, if it is known


def note_length(values: Tensor, name: str = "") -> None:
    """Make optimizers check before each step whether their state fits the length of ``values``."""
    if not _resized:
        register_optimizer_step_pre_hook(_check_lengths)
    _resized[values] = name or _resized.get(values, "")


def _check_lengths(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        for values in group["params"]:
            if values not in _resized:
                continue
            for key, tensor in optimizer.state.get(values, {}).items():
                if isinstance(tensor, Tensor) and tensor.dim() == 1 and tensor.shape != values.shape:
                    name = _resized[values]
                    raise InputError(
                        f"optimizer must hold state for the {values.numel()} connections of "
                        f"{f'layer {name!r}' if name else 'a layer'}, got {key!r} for {tensor.numel()}: load the "
                        "optimizer's state together with the network's, or clear optimizer.state"
                    )
