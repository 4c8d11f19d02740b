"""The inputs at which the networks of a run are evaluated, in units that a reader knows.

Images are pixels from 0 to 1, (n, channels, height, width): 0 and 1 are black and white where the files hold bytes, and
otherwise the smallest and the largest value of all pixels of the training rows. A table's rows (n, features) are in
units of each feature's standard deviation over the training rows, as preprocessing left them; features that are
constant there stay as they are. The conversion to the inputs of a network is a layer in front of it, so that an attack
sees it too.

The box, in which changed inputs have to lie, is [0, 1] for pixels and for tables the range of each feature over the
training rows; an evaluated row outside of it keeps its own values as bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gossamer.data import Dataset
from gossamer.errors import InputError, check_count

__all__ = ["DEFAULT_ROWS", "UnitRows", "unit_rows"]

DEFAULT_ROWS = 1000
"""Test rows that are evaluated, if nothing else is said: so many at most."""

_MOST = 1 << 28  # numbers in all rows, which are dense: 1 GiB


class _Given(nn.Module):
    """The inputs of a network of the run, from inputs in our units."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor, images: bool) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.images = images

    def forward(self, x: Tensor) -> Tensor:
        rows = x if x.dim() == 2 else x.permute(0, 2, 3, 1).flatten(1)  # pixels by rows, columns, channels
        rows = rows * self.scale + self.shift
        if not self.images:
            return rows
        _, channels, height, width = x.shape
        return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Some test rows of a run.

    Attributes:
        x: images (n, channels, height, width), or rows (n, features).
        y: (n) class numbers.
        low: smallest values, 0 or (features).
        high: largest values, 1 or (features).
        unit: of the inputs, in words.
        fill: (features), the values that replace missing ones of a table; None for images.
        columns: (features), the column of the table that each feature belongs to; None for images.
        scale: (features), factor from these units to the network's.
        shift: (features), added then.
    """

    x: Tensor
    y: Tensor
    low: Tensor
    high: Tensor
    unit: str
    fill: Tensor | None
    columns: Tensor | None
    scale: Tensor
    shift: Tensor

    @property
    def images(self) -> bool:
        """Whether the rows are images."""
        return self.x.dim() == 4

    def network(self, model: nn.Module, *, reads_images: bool = False) -> nn.Module:
        """Return the network that reads inputs in these units.

        Args:
            model: a network of the run.
            reads_images: whether it reads images (n, channels, height, width), not rows.

        Returns:
            The preprocessing and ``model``.
        """
        return nn.Sequential(_Given(self.scale, self.shift, reads_images), model).to(self.x.device).eval()


def unit_rows(data: Dataset, rows: int | None = None, seed: int = 0, device: torch.device | None = None) -> UnitRows:
    """Prepare test rows.

    Args:
        data: of the run.
        rows: number of test rows, drawn by ``seed``; None for all, or `DEFAULT_ROWS` if there are more.
        seed: of the draw.
        device: of the tensors (default: the CPU).

    Returns:
        The rows and their units.

    Raises:
        InputError: there are fewer test rows, or they are too many to be dense.
    """
    count = len(data.test)
    wanted = min(count, DEFAULT_ROWS) if rows is None else check_count("rows", rows, low=1)
    if wanted > count:
        raise InputError(f"rows must be at most the {count} test rows of the run, got {wanted}")
    if count == 0 or wanted * len(data.features) > _MOST:
        raise InputError(
            f"rows must be at most {_MOST // max(1, len(data.features))}, as each has {len(data.features)} inputs and "
            f"is dense here, got {wanted}"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:wanted].sort().values.numpy()
    x, y = data.test.x[order], torch.from_numpy(data.test.y[order])
    if data.image is not None and isinstance(x, np.ndarray) and int(np.prod(data.image)) == x.shape[1]:
        found = _images(data, x, y)
    else:
        found = _table(data, x if isinstance(x, np.ndarray) else x.toarray(), y)
    values: dict[str, Any] = {field.name: getattr(found, field.name) for field in fields(found)}
    tensors: dict[str, Any] = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(found, **tensors)


def _images(data: Dataset, x: NDArray[np.float32], y: Tensor) -> UnitRows:
    """Pixels p are x itself, or x · deviation + mean of the standardised columns of a table; then to [0, 1]."""
    assert data.image is not None
    fitted, train = data.preprocessing, data.train.x
    deviation, mean = np.ones(x.shape[1]), np.zeros(x.shape[1])
    if fitted.kind != "scale":
        statistics = dict(zip(fitted.numeric, zip(fitted.std, fitted.mean, strict=True), strict=False))
        deviation, mean = (np.array(part) for part in zip(*(statistics[name] for name in data.features), strict=True))
    low, high = (0.0, 1.0) if fitted.kind == "scale" else (np.inf, -np.inf)
    for part in (x, train):
        low = min(low, float((part.min(0) * deviation + mean).min()))
        high = max(high, float((part.max(0) * deviation + mean).max()))
    span = high - low if high > low else 1.0
    height, width, channels = data.image
    images = ((x * deviation + mean - low) / span).clip(0, 1).reshape(-1, height, width, channels)
    known = deviation > 0  # a constant pixel is 0 for the network, whatever it is in a row
    divisor = np.where(known, deviation, 1)
    return UnitRows(
        x=_tensor(images.transpose(0, 3, 1, 2)),
        y=y,
        low=torch.tensor(0.0),
        high=torch.tensor(1.0),
        unit="pixels from 0 to 1",
        fill=None,
        columns=None,
        scale=_tensor(np.where(known, span / divisor, 0)),
        shift=_tensor(np.where(known, (low - mean) / divisor, 0)),
    )


def _table(data: Dataset, x: NDArray[np.float32], y: Tensor) -> UnitRows:
    train: Any = data.train.x
    if isinstance(train, np.ndarray):
        deviation, low, high = train.std(0, dtype=np.float64), train.min(0), train.max(0)
    else:
        wide = train.astype(np.float64)
        mean, square = (np.asarray(part.mean(0)).ravel() for part in (wide, wide.multiply(wide)))
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        low, high = (part.toarray().ravel() for part in (train.min(0), train.max(0)))
    scale = np.where((deviation > 0) & (high > low), deviation, 1)
    scale = np.where(abs(scale - 1) < 1e-5, 1, scale)  # a standardised column stays as it is, to the last bit
    fill, columns = data.preprocessing.missing()
    return UnitRows(
        x=_tensor(x / scale),
        y=y,
        low=_tensor(low / scale),
        high=_tensor(high / scale),
        unit="standard deviations of the columns",
        fill=_tensor(fill / scale),
        columns=torch.from_numpy(columns),
        scale=_tensor(scale),
        shift=_tensor(np.zeros_like(scale)),
    )


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
