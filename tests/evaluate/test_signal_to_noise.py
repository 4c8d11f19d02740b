from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseConv2d, SparseLinear
from gossamer.evaluate import layer_snr


def test_the_first_layer_has_the_ratio_of_the_input() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    changed = torch.tensor([[3.0, 4.5], [1.0, 2.0]])
    found = layer_snr(nn.Linear(2, 3), x, changed)
    assert list(found) == [""]
    assert found[""] == pytest.approx(10 * math.log10(((5 / 0.5) ** 2 + (2 / 1) ** 2) / 2))  # the mean is not in dB


def test_later_layers_are_read_after_activation_and_pooling_whatever_the_batch_size() -> None:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        SparseConv2d(2, 6, 3, density=0.5, padding=1, generator=generator),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3),
        nn.Flatten(),
        nn.ReLU(),
        SparseLinear(16, 3, 0.5, generator=generator),
    ).train()
    x = torch.rand((7, 2, 8, 8), generator=generator)
    changed = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    found = layer_snr(net, x, changed, batch_size=3)
    assert list(found) == ["0", "3", "6"]
    assert net.training

    def ratio(f: Tensor, g: Tensor) -> float:
        return 10 * math.log10(float(((f.norm(dim=1) / (g - f).norm(dim=1)) ** 2).mean()))

    with torch.no_grad():
        for name, stop in (("0", 0), ("3", 3), ("6", 6)):
            assert found[name] == pytest.approx(ratio(net[:stop](x).flatten(1), net[:stop](changed).flatten(1)), 1e-5)


def test_no_noise_is_a_finite_ratio_and_no_signal_is_none() -> None:
    x = torch.ones(3, 4)
    assert layer_snr(nn.Linear(4, 2), x, x)[""] == pytest.approx(20 * math.log10(2 / 1e-9))
    assert layer_snr(nn.Linear(4, 2), 0 * x, x)[""] == -math.inf


def test_tokens_belong_to_their_sample() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.reshape(-1, 2)).reshape(len(x), -1)  # type: ignore[no-any-return]

    x, changed = torch.ones(3, 4), 1.5 * torch.ones(3, 4)
    assert layer_snr(Tokens(), x, changed) == {"layer": pytest.approx(20 * math.log10(2))}


def test_wrong_arguments_are_refused() -> None:
    x = torch.ones(3, 4)
    for other in (x[:2], x[:, :3]):
        with pytest.raises(InputError, match="x and changed must have one shape"):
            layer_snr(nn.Linear(4, 2), x, other)
    with pytest.raises(InputError, match="x and changed must have one shape"):
        layer_snr(nn.Linear(4, 2), x[:0], x[:0])

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.T)  # type: ignore[no-any-return]

    net = Turned()
    with pytest.raises(InputError, match="layer 'layer' must read the 3 samples along its first dimension"):
        layer_snr(net, x, x)
    assert not net.layer._forward_pre_hooks
