from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError
from gossamer.evaluate import latency


class Count(nn.Module):
    """Notes the mode of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled()))
        return x


def test_it_calls_the_model_in_evaluation_mode_as_often_as_told() -> None:
    model = Count().train()
    seconds = latency(model, torch.ones(2, 3), repeats=7, warmup=2)
    assert isinstance(seconds, float)
    assert seconds > 0
    assert model.calls == [(False, False)] * 9
    assert model.training


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="repeats must be a whole number of at least 1, got 0"):
        latency(Count(), torch.ones(2), repeats=0)
    with pytest.raises(InputError, match="warmup must be a whole number of at least 0, got -1"):
        latency(Count(), torch.ones(2), warmup=-1)


def test_the_mode_is_restored_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4).eval()).train()
    model[1].eval()
    with pytest.raises(RuntimeError):
        latency(model, torch.ones(2, 3))
    assert [module.training for module in model.modules()] == [True, True, False]
    assert torch.is_grad_enabled()
