"""The projection as a layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.activation.hoyer import Hoyer, hoyer_projection
from gossamer.errors import InputError
from gossamer.kernels import projection


@pytest.fixture(params=["native", "reference"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C++ kernels, then the torch reference."""
    if request.param == "reference":
        monkeypatch.setattr(projection, "ELEMENTWISE", {})


pytestmark = pytest.mark.usefixtures("path")


def test_module(generator: torch.Generator) -> None:
    x = torch.randn(4, 9, generator=generator)
    layer = Hoyer(0.6, dim=0, signed=True, norm=2.0)
    assert torch.equal(layer(x), hoyer_projection(x, 0.6, 0, True, 2.0))
    assert repr(layer) == "Hoyer(sparseness=0.6, dim=0, signed=True, norm=2.0, packed=False)"
    with pytest.raises(InputError, match="sparseness"):
        Hoyer(1.0)


def test_module_moves_and_learns_its_sparseness(generator: torch.Generator) -> None:
    assert list(Hoyer(torch.tensor(0.5)).state_dict()) == ["sparseness"]
    layer = Hoyer(nn.Parameter(torch.tensor(0.5)))
    layer(torch.randn(3, 9, generator=generator)).square().max(1).values.sum().backward()
    (parameter,) = layer.parameters()
    assert parameter.grad is not None
    assert parameter.grad.item() > 0  # a sparser code has a larger largest entry


def test_compiles_without_a_break(generator: torch.Generator) -> None:
    x = torch.randn(6, 12, generator=generator)
    for layer in (Hoyer(0.7), Hoyer(0.4, dim=0, signed=True, norm="preserve")):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        results = []
        for function in (layer, compiled):
            input_ = x.clone().requires_grad_()
            output = function(input_)
            results.append((output, torch.autograd.grad(output, input_, x)[0]))
        torch.testing.assert_close(results[0], results[1])
