from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gossamer.evaluate.attacks import APGD, Box, Square, evaluate
from gossamer.evaluate.attacks.ball import Norm
from gossamer.evaluate.attacks.regions import Groups, Squares


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 4), (9, 4, 3), (1, 1, 1), (1, 12, 2)])
def test_windows_of_images(height: int, width: int, side: int) -> None:
    x = torch.zeros(300, 3, height, width)
    inside, bump = Squares(seeded()).draw(x, 0.25)
    assert inside.shape == bump.shape == (300, 1, height, width)
    assert inside.flatten(1).sum(1).eq(min(side, height) * min(side, width)).all()
    torch.testing.assert_close(bump.flatten(1).norm(dim=1), torch.ones(300))
    assert bump[~inside].eq(0).all()
    if height * width > side * side:
        assert len(torch.unique(inside.flatten(1), dim=0)) > 1  # a place for each image
    assert inside.any(0).all()  # every pixel has its turn


def test_a_bump_is_positive_in_one_half_and_negative_in_the_other() -> None:
    _, bump = Squares(seeded()).draw(torch.zeros(20, 1, 4, 4), 1.0)
    upright = (bump[:, 0, :2] > 0).flatten(1).all(1) & (bump[:, 0, 2:] < 0).flatten(1).all(1)
    lying = (bump[:, 0, :, :2] > 0).flatten(1).all(1) & (bump[:, 0, :, 2:] < 0).flatten(1).all(1)
    assert (upright ^ lying).all()
    assert 0 < int(upright.sum()) < 20


def test_tiles_cover_an_image() -> None:
    tiles = Squares(seeded()).tiling(torch.zeros(4, 2, 11, 13))
    assert tiles.shape == (4, 2, 11, 13)
    assert tiles.ne(0).all()


@pytest.mark.parametrize("shape", [(10,), (2, 5), (1,)])
def test_groups_of_features(shape: tuple[int, ...]) -> None:
    x = torch.zeros(100, *shape)
    inside, _ = Groups(seeded()).draw(x, 0.3)
    assert inside.flatten(1).sum(1).eq(max(1, round(0.3 * x[0].numel()))).all()
    assert inside.any(0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("shape", "share"), [((12,), 0.95), ((3, 4), 0.95), ((12, 1, 1), 0.95), ((1, 3, 4), 0.4)])
def test_a_linear_network_is_broken_without_gradients(norm: Norm, shape: tuple[int, ...], share: float) -> None:
    """The best step is known, r ‖w‖₁ or r ‖w‖₂; the search comes close, with windows of an image less so."""
    w = torch.randn(12, generator=seeded(), dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False).double())
    net[1].weight.data = torch.stack([torch.zeros_like(w), w])
    x = torch.zeros(5, *shape, dtype=torch.float64)
    y = torch.zeros(5, dtype=torch.int64)
    attack = Square(norm=norm, radius=0.5, queries=400)
    found = attack(net, x, y, box=Box(-1, 1), generator=seeded()).flatten(1)
    best = 0.5 * (w.abs().sum() if norm == "linf" else w.norm())
    assert ((found @ w) > share * best).all()
    assert ((found @ w) <= best + 1e-9).all()


def test_it_needs_no_gradients(x: Tensor, box: Box, net: nn.Module, y: Tensor) -> None:
    class Hidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x.detach())  # type: ignore[no-any-return]

    def accuracy(network: nn.Module, attack: Square | APGD) -> float:
        return evaluate(network, x, y, attack, box=box, generator=seeded()).accuracy

    square = Square(radius=0.1, queries=300)
    assert accuracy(net, square) == accuracy(Hidden(), square) < 0.8
    assert accuracy(Hidden(), APGD(radius=0.1, steps=30)) > accuracy(Hidden(), square)
    assert accuracy(net, APGD(radius=0.1, steps=30)) <= accuracy(net, square)


def test_more_queries_break_more(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    few, many = (
        evaluate(net, x, y, Square(radius=0.1, queries=queries), box=box, generator=seeded()) for queries in (2, 400)
    )
    assert many.accuracy < few.accuracy
    assert 80 < few.queries < 120


def test_a_sample_is_left_alone_once_it_is_broken(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    result = evaluate(net, x, y, Square(radius=0.5, queries=500), box=box, generator=seeded())
    assert result.accuracy < 0.2
    assert result.queries < 0.5 * 500 * 40
