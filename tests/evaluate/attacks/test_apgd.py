from __future__ import annotations

import copy
import importlib
import importlib.util
import math
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.evaluate.attacks import APGD, Box, evaluate
from gossamer.evaluate.attacks.apgd import checkpoints
from gossamer.evaluate.attacks.ball import Ball, Norm
from gossamer.evaluate.attacks.objective import Loss, objective


def test_checkpoints() -> None:
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(10)) == [3, 5, 6, 7, 8, 9, 10]
    assert sorted(checkpoints(1)) == [1]


def plain(net: nn.Module, x: Tensor, y: Tensor, start: Tensor, radius: float, steps: int) -> float:
    """The largest cross-entropy that algorithm 1 of the paper finds for one sample, in its words."""

    def value(z: Tensor) -> tuple[float, Tensor]:
        leaf = z.clone().requires_grad_()
        loss = F.cross_entropy(net(leaf), y)
        return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]

    def project(z: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(z, x - radius), x + radius).clamp(0, 1)

    due, p = [0], [0.0, 0.22]
    while p[-1] <= 1 + 1e-9:
        due.append(math.ceil(p[-1] * steps - 1e-9))
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    before = z = best = start
    f_last = f_max = value(z)[0]
    eta, etas, maxima, rises = 2 * radius, {0: 2 * radius}, {0: f_max}, [False]
    for k in range(1, steps + 1):
        u = project(z + eta * value(z)[1].sign())
        before, z = z, u if k == 1 else project(z + 0.75 * (u - z) + 0.25 * (z - before))
        f = value(z)[0]
        rises.append(f > f_last)
        f_last = f
        if f > f_max:
            best, f_max = z, f
        if k in due:
            last = due[due.index(k) - 1]
            few = sum(rises[last + 1 : k + 1]) < 0.75 * (k - last)
            same = etas[last] == eta and maxima[last] == f_max
            etas[k], maxima[k] = eta, f_max
            if few or same:
                eta, z = eta / 2, best
    return f_max


@pytest.fixture
def pair(net: nn.Sequential, generator: torch.Generator) -> nn.Sequential:
    """Two classes, for which the largest cross-entropy is at a misclassified input, if there is any."""
    last = nn.Linear(4, 2).double()
    last.weight.data.normal_(generator=generator)
    return nn.Sequential(*net, last)


def test_it_is_the_published_algorithm(pair: nn.Sequential, x: Tensor, box: Box) -> None:
    x, y = x[:6], pair(x[:6]).argmax(1)
    found = APGD(radius=0.3, steps=40)(pair, x, y, box=box, generator=torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(5)
    torch.randint(2**62, (), generator=g)  # the seed of random layers
    start = Ball.of(x, "linf", 0.3, box).start(g, sphere=True)
    expected = [plain(pair, x[i : i + 1], y[i : i + 1], start[i : i + 1], 0.3, 40) for i in range(6)]
    loss = F.cross_entropy(pair(found), y, reduction="none").detach()
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))


def published() -> ModuleType:
    """Auto-PGD of adv-lib, without the package around it, which needs torchvision and visdom."""
    found = importlib.util.find_spec("adv_lib")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs adv-lib: pip install --no-deps adv-lib")
    package = ModuleType("adv_lib.attacks")
    package.__path__ = [f"{found.submodule_search_locations[0]}/attacks"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "adv_lib.attacks", package)
        return importlib.import_module("adv_lib.attacks.auto_pgd")


@pytest.mark.parametrize(("norm", "p", "radius"), [("linf", float("inf"), 0.1), ("l2", 2, 0.2)])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_the_loss_is_that_of_another_library(
    norm: Norm, p: float, radius: float, loss: Loss, net: nn.Module, x: Tensor, y: Tensor, box: Box
) -> None:
    library, single, inputs = published(), copy.deepcopy(net).float(), x.float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = library.apgd(
            single, inputs, y, radius, p, n_iter=100, n_restarts=3, loss_function=loss, best_loss=True
        )
    attack = APGD(norm=norm, radius=radius, steps=100, restarts=3, loss=loss)
    ours = attack(single, inputs, y, box=box, generator=torch.Generator().manual_seed(0))

    def values(z: Tensor) -> Tensor:
        return objective(loss, single(z).detach(), y)

    broken = single(theirs).argmax(1) != y
    assert 0 < int(broken.sum()) < 40
    difference = values(ours) - values(theirs)
    assert abs(float(difference.mean())) < 0.01 * float(values(theirs).abs().mean())
    assert int((single(ours).argmax(1) != y).sum()) >= int(broken.sum()) - 1


def test_targets_break_what_another_library_breaks(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    library, single, inputs = published(), copy.deepcopy(net).float(), x.float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = library.apgd_targeted(single, inputs, y, 0.08, float("inf"), n_iter=50)
    attack = APGD(radius=0.08, steps=50, loss="dlr", targeted=True)
    ours = attack(single, inputs, y, box=box, generator=torch.Generator().manual_seed(0))
    a, b = (single(z).argmax(1) != y for z in (ours, theirs))
    assert 5 < int(b.sum()) < 35
    assert int((a ^ b).sum()) <= 1


def test_the_scale_of_the_logits_does_not_matter_for_the_ratio(
    net: nn.Sequential, x: Tensor, y: Tensor, box: Box
) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1e5 * net(x)  # type: ignore[no-any-return]

    def accuracy(loss: Loss) -> float:
        g = torch.Generator().manual_seed(0)
        return evaluate(Scaled(), x, y, APGD(radius=0.1, steps=30, loss=loss), box=box, generator=g).accuracy

    g = torch.Generator().manual_seed(0)
    plain = evaluate(net, x, y, APGD(radius=0.1, steps=30, loss="dlr"), box=box, generator=g).accuracy
    assert accuracy("dlr") == plain < accuracy("ce")
