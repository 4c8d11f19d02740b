"""A whole training step in one C++ call: rows in, forward, loss, backward and the update of all parameters.

Layers are added in the order of the network. Tensors are kept alive here and read and written in place; whoever builds
the step has checked them: on the CPU, contiguous, of the step's dtype, float32 or float64 (see
`gossamer.training.compiled`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gossamer.kernels import _cpu
from gossamer.kernels.stages import Stages

__all__ = ["RECIPE", "Rows", "TrainingStep"]

RECIPE = ("lr", "weight_decay", "momentum", "dampening", "nesterov", "beta1", "beta2", "eps")
"""The numbers of one group of parameters in one step."""

_TASKS = ("classes", "labels", "numbers")


class Rows(NamedTuple):
    """Samples.

    A dense ``x`` (n, features) of any strides; or the entries ``x`` (nnz) of a CSR matrix, of whose rows ``shift``
    (features) is subtracted.
    """

    x: Tensor
    indptr: Tensor | None = None  # int64
    indices: Tensor | None = None  # int32
    shift: Tensor | None = None

    def numbers(self) -> tuple[int, int, int, int, int, int]:
        """Addresses, and the steps from row to row and from column to column."""
        row_step, col_step = (0, 0) if self.indptr is not None else (self.x.stride(0), self.x.stride(1))
        others = _address(self.indptr), _address(self.indices), _address(self.shift)
        return self.x.data_ptr(), row_step, col_step, *others


class TrainingStep(Stages):
    """The layers and parameters of a network, ready to be trained; ``dtype`` is that of all floating-point tensors."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._step = (_cpu.TrainingStep32 if dtype == torch.float32 else _cpu.TrainingStep64)()
        super().__init__(self._step)

    def parameter(
        self,
        values: Tensor,
        gradient: Tensor | None = None,
        first: Tensor | None = None,
        second: Tensor | None = None,
        *,
        group: int = 0,
        steps: float = 0.0,
        fresh: bool = False,
    ) -> int:
        """A parameter, and the number that stands for it below.

        ``gradient``, of its shape, takes that of the last batch. ``first`` and ``second`` are what the optimizer keeps
        of it: the two moments of Adam, after ``steps`` steps; or the momentum, which with ``fresh`` is yet to be made.
        """
        self._kept += [t for t in (values, gradient, first, second) if t is not None]
        addresses = values.data_ptr(), _address(gradient), _address(first), _address(second)
        return self._step.parameter(*addresses, values.numel(), group, steps, fresh)

    def train(
        self,
        rows: Rows,
        task: Literal["classes", "labels", "numbers"],
        y: Tensor,
        weight: Tensor | None,
        order: Tensor,
        batch_size: int,
        *,
        bits: Tensor | None,
        recipes: Tensor,
        optimizer: Literal["sgd", "adam", "adamw"],
        max_grad_norm: float | None,
    ) -> tuple[Tensor, Tensor]:
        """One step on each batch of ``batch_size`` rows, and their losses and credits: (batches) float64 sums.

        Args:
            rows: samples.
            task: ``y`` is (n) int64, or (n, outputs) of 0 and 1, or of numbers.
            y: targets.
            weight: (n) of the samples, or None.
            order: int64 numbers of rows, in [0, n).
            batch_size: the last batch may have fewer.
            bits: random words for all dropout layers, batch by batch.
            recipes: (batches, groups, len(RECIPE)) float64.
            optimizer: what kind of step is taken.
            max_grad_norm: bound of the gradient's norm.
        """
        batches = -(-order.numel() // batch_size)
        losses, credits = torch.empty(2, batches, dtype=torch.float64)
        x, row_step, col_step, indptr, indices, shift = rows.numbers()
        self._step.train(
            torch.get_num_threads(),
            x,
            row_step,
            col_step,
            indptr,
            indices,
            shift,
            _TASKS.index(task),
            y.data_ptr() if task == "classes" else 0,
            0 if task == "classes" else y.data_ptr(),
            _address(weight),
            order.data_ptr(),
            order.numel(),
            batch_size,
            _address(bits),
            recipes.data_ptr(),
            recipes.shape[1],
            optimizer != "sgd",
            optimizer == "adamw",
            max_grad_norm or 0.0,
            losses.data_ptr(),
            credits.data_ptr(),
        )
        return losses, credits


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
