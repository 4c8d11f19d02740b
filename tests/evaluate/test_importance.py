from __future__ import annotations

import torch
from torch import nn

from gossamer import SparseLinear
from gossamer.evaluate.importance import strength_out


def test_strength_is_the_sum_of_magnitudes_that_leave_an_input() -> None:
    layer = SparseLinear(20, 15, density=0.2, generator=torch.Generator().manual_seed(0))
    dense = layer.to_dense()
    assert isinstance(dense, nn.Linear)
    torch.testing.assert_close(strength_out(layer), dense.weight.detach().abs().sum(0))
    torch.testing.assert_close(strength_out(dense), strength_out(layer))
    assert not strength_out(layer).requires_grad
