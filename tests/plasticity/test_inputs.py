"""Where similarities are measured: on what is given, or on what training has shown."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import gossamer as gs
from gossamer import InputError, SparseLinear
from gossamer.plasticity import Rewire, drop, grow
from gossamer.plasticity.inputs import InputMemory, calls_of, take
from gossamer.plasticity.similarity import Call

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(rows: int = 60) -> Tensor:
    return torch.randn(rows, 12, generator=seeded(0), dtype=torch.float64)


def net_of_two() -> nn.Sequential:
    g = seeded(1)
    return nn.Sequential(
        SparseLinear(12, 10, density=0.3, generator=g, dtype=torch.float64),
        nn.Dropout(0.3),
        SparseLinear(10, 8, density=0.3, generator=g, dtype=torch.float64),
    )


def rewired(inputs: Any, **options: Any) -> list[list[int]]:
    net = net_of_two()
    rewire = Rewire(net, drop=drop.magnitude_cosine(0.4), grow=grow.cosine(), inputs=inputs, **options)
    rewire.step()
    return [layer.pattern.flat_indices.tolist() for layer in rewire.layers.values()]


def test_every_form_of_inputs_gives_the_same_connectivity() -> None:
    x = data()
    expected = rewired(x)
    assert rewired(list(x.split(7))) == expected
    assert rewired([(batch, None) for batch in x.split(25)]) == expected
    assert rewired([{"input": batch} for batch in x.split(25)]) == expected
    assert rewired(DataLoader(TensorDataset(x, torch.zeros(60)), batch_size=16, shuffle=False)) == expected
    assert rewired(x, samples=60) == expected
    assert rewired(x[:30]) != expected


def test_samples_limits_them() -> None:
    x = data()
    assert rewired(list(x.split(7)), samples=30) == rewired(x[:30])
    drawn = list(calls_of(x, CPU, 30, seeded(5)))
    assert [len(args[0]) for args, _ in drawn] == [30]
    assert len(set(map(tuple, drawn[0][0][0].tolist())) & set(map(tuple, x.tolist()))) == 30
    batches: list[Call] = [((batch,), {}) for batch in x.split(7)]
    assert [len(args[0]) for args, _ in take(batches, 16)] == [7, 7, 2]
    assert [len(args[0]) for args, _ in take(batches, 14)] == [7, 7]
    assert sum(len(args[0]) for args, _ in take(batches, 99)) == 60


def test_images_come_in_smaller_batches() -> None:
    def sizes(*shape: int) -> list[int]:
        return [len(args[0]) for args, _ in calls_of(torch.zeros(shape), CPU, 10_000, seeded(0))]

    assert sizes(100, 3, 64, 64) == [21, 21, 21, 21, 16]  # about a quarter of a million pixels
    assert sizes(2, 3, 600, 600) == [1, 1]
    assert sizes(2000, 1, 8, 8) == sizes(2000, 64) == [1024, 976]
    assert sum(sizes(0, 3, 8, 8)) == 0


def test_without_inputs_the_last_training_batches_are_used() -> None:
    x = data()
    net = net_of_two()
    rewire = Rewire(net, drop=drop.magnitude_cosine(0.4), grow=grow.cosine(), samples=40)
    net.train()
    for batch in x.split(20):
        net(batch)
    net.eval()
    net(data(33))
    net.train()
    rewire.step()
    assert [layer.pattern.flat_indices.tolist() for layer in rewire.layers.values()] == rewired(x[20:])
    with pytest.raises(InputError, match="at least one sample"):
        Rewire(net_of_two(), grow=grow.cosine()).step()


def test_it_reads_as_in_the_guide() -> None:
    x, y = data().float(), torch.arange(60) % 8
    net = nn.Sequential(gs.SparseLinear(12, 30, density=0.2), nn.ReLU(), gs.SparseLinear(30, 8, density=0.2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    rewire = gs.Rewire(net, optimizer, drop=gs.drop.signed_magnitude(0.3), grow=gs.grow.cosine())
    for _ in range(2):
        for rows in torch.arange(60).split(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        changes = rewire.step()
    assert [change.nnz for change in changes] == [72, 48]


def test_memory_holds_no_more_than_it_needs() -> None:
    net = nn.Identity()
    memory = InputMemory(net, 10)
    for rows in (4, 4, 4, 4):
        net(torch.zeros(rows, 2, requires_grad=True))
    assert [len(args[0]) for args, _ in memory.calls] == [4, 4, 4]
    assert not memory.calls[0][0][0].requires_grad
    net(torch.zeros(50, 2))
    assert [len(args[0]) for args, _ in memory.calls] == [50]
    memory.remove()
    net(torch.zeros(1, 2))
    assert [len(args[0]) for args, _ in memory.calls] == [50]


def test_a_run_resumed_in_the_middle_of_an_epoch_is_the_same_run() -> None:
    nets = [net_of_two() for _ in range(2)]
    rewires = [Rewire(net, grow=grow.cosine_proportional(), samples=40) for net in nets]
    batches = data(80).split(20)
    for batch in batches[:2]:
        nets[0](batch)
    file = io.BytesIO()
    torch.save(rewires[0].state_dict(), file)
    file.seek(0)
    rewires[1].load_state_dict(torch.load(file, weights_only=True))
    for net, rewire in zip(nets, rewires, strict=True):
        for batch in batches[2:3]:
            net(batch)
        rewire.step()
    patterns = [[layer.pattern.flat_indices.tolist() for layer in rewire.layers.values()] for rewire in rewires]
    assert patterns[0] == patterns[1]


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="inputs must give tensors"):
        rewired([["text"]])
    for nothing in ([], data()[:0], [data()[:0]]):
        with pytest.raises(InputError, match="at least one sample"):
            rewired(nothing)
    for foreign in (5, torch.tensor(1.0)):
        with pytest.raises(InputError, match="inputs must be a tensor"):
            rewired(foreign)
    with pytest.raises(InputError, match="samples"):
        rewired(data(), samples=0)
