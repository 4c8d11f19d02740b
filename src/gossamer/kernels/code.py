"""A sparse code: the active units of each sample and their activations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gossamer.errors import InputError

__all__ = ["Code"]


class Code(NamedTuple):
    """A sparse code: unit ``indices[b, s]`` of sample b has the value ``values[b, s]``.

    A slot whose value is zero is empty, so samples with different numbers of active units fit into one code; a unit
    that occurs twice in a sample has the sum. Layers of gossamer accept a code in place of a dense (batch, features)
    input.

    Attributes:
        values: (batch, slots), floating point.
        indices: (batch, slots), int32 in [0, features).
        features: number of units.

    Example:
        >>> code = gs.Code.pack(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))
        >>> code.values
        tensor([[0., 2.],
                [1., 3.]])
        >>> gs.SparseLinear(3, 4, density=0.5)(code).shape
        torch.Size([2, 4])
    """

    values: Tensor
    indices: Tensor
    features: int

    @staticmethod
    def pack(x: Tensor) -> Code:
        """Make a code of the non-zero entries of a dense tensor.

        Args:
            x: (batch, features).

        Returns:
            The code, with as many slots as the sample with most active units needs.

        Raises:
            InputError: ``x`` is not of two dimensions.
        """
        if x.dim() != 2:
            raise InputError(f"x must have shape (batch, features), got {tuple(x.shape)}")
        active = x != 0
        slots = int(active.sum(1).max()) if x.numel() else 0
        indices = active.to(torch.uint8).topk(slots, dim=1).indices.sort(1).values
        return Code(x.gather(1, indices), indices.to(torch.int32), x.shape[1])

    def to_dense(self) -> Tensor:
        """Return the activations as a dense tensor.

        Returns:
            (batch, features), with zeros at inactive units.
        """
        dense = self.values.new_zeros(self.values.shape[0], self.features)
        return dense.scatter_add(1, self.indices.long(), self.values)

    def check(self, features: int) -> None:
        """Raise `InputError` unless this is a code of ``features`` units (a product checks the indices).

        Args:
            features: number of units.

        Raises:
            InputError: the code has another number of units, or tensors of other shapes or dtypes.
        """
        if self.features != features:
            raise InputError(f"x must be a code of {features} units, got one of {self.features}")
        if self.values.dim() != 2 or self.values.shape != self.indices.shape or self.indices.dtype != torch.int32:
            raise InputError(
                f"a code needs values and int32 indices of one shape (batch, slots), got {tuple(self.values.shape)} "
                f"and {self.indices.dtype} of shape {tuple(self.indices.shape)}"
            )
