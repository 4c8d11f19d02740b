"""The windows of a convolution, against `torch.nn.functional.unfold` and against the convolution itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseConv2d
from gossamer.connectivity.windows import Convolution, geometry_of, windows


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_windows_are_what_unfold_gives() -> None:
    x, layer = numbers(3, 4, 9, 7), nn.Conv2d(4, 2, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    expected = nn.functional.unfold(x, (3, 2), (1, 2), (1, 2), (2, 1))
    assert torch.equal(windows(x, layer).flatten(4).flatten(1, 3), expected)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("padding", [0, (1, 2), "same", "valid"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
def test_the_product_of_windows_and_weight_is_the_convolution(padding: Any, mode: Any) -> None:
    dense = nn.Conv2d(2, 3, (3, 4), padding=padding, padding_mode=mode, bias=False, dtype=torch.float64)
    layers: list[Convolution] = [dense, SparseConv2d.from_dense(dense)] if mode == "zeros" else [dense]
    x = numbers(2, 2, 8, 9)
    for layer in layers:
        y = torch.einsum("nckluv,ockl->nouv", windows(x, layer), dense.weight)
        torch.testing.assert_close(y, layer(x))
        assert geometry_of(layer).output_size(x.shape[2:]) == tuple(y.shape[2:])


def test_without_padding_they_are_a_view() -> None:
    x = numbers(2, 4, 6, 6)
    assert windows(x, nn.Conv2d(4, 2, 3)).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_images_must_hold_the_kernel() -> None:
    with pytest.raises(InputError, match=r"images that hold the kernel \(3, 2\) .* got \(2, 6\)"):
        windows(numbers(2, 4, 2, 6), nn.Conv2d(4, 2, (3, 2)))
    assert windows(numbers(0, 4, 3, 2), nn.Conv2d(4, 2, (3, 2))).shape == (0, 4, 3, 2, 1, 1)
