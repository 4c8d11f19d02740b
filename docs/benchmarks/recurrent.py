"""A training step of sparse recurrent and Transformer models beside their dense twins, on this machine.

    python docs/benchmarks/recurrent.py [--density 0.1] [--rounds 15] [--threads 2]

Medians of interleaved rounds in one process: forward, backward and the optimizer's step (SGD) of

- an LSTM and a GRU layer of 650 units on 650 inputs, 35 steps, batch 20, against `torch.nn.LSTM` and `torch.nn.GRU`;
- a language model of two such LSTM layers with tied embeddings of 10,000 words;
- a decoder-only Transformer, 512 wide, 4 blocks of 8 heads, 128 tokens, batch 8.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import gossamer as gs


def training_step(net: nn.Module, loss_of: Callable[[nn.Module], torch.Tensor]) -> Callable[[], None]:
    """One step of ``net``."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(net).backward()
        optimizer.step()

    return step


def recurrent(kind: str, density: float) -> dict[str, Callable[[], None]]:
    """Layers of 650 units."""
    x = torch.randn(35, 20, 650)
    sparse, dense = {"LSTM": (gs.SparseLSTM, nn.LSTM), "GRU": (gs.SparseGRU, nn.GRU)}[kind]
    nets = {"sparse": sparse(650, 650, density=density), "dense": dense(650, 650)}
    return {name: training_step(net, lambda net: net(x)[0].square().mean()) for name, net in nets.items()}


def language_model(density: float) -> dict[str, Callable[[], None]]:
    """Two LSTM layers and tied embeddings."""
    tokens = torch.randint(10_000, (36, 20))

    def loss(net: nn.Module) -> torch.Tensor:
        return net.loss(tokens[:-1], tokens[1:])[0]  # type: ignore[no-any-return, operator]

    nets = {
        name: gs.models.LanguageModel(10_000, width=650, layers=2, density=share)
        for name, share in (("sparse", density), ("dense", None))
    }
    return {name: training_step(net, loss) for name, net in nets.items()}


def transformer(density: float) -> dict[str, Callable[[], None]]:
    """Four blocks of 8 heads."""
    tokens = torch.randint(256, (8, 129))

    def loss(net: nn.Module) -> torch.Tensor:
        return nn.functional.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    nets = {
        name: gs.models.Transformer(256, width=512, blocks=4, heads=8, context=128, density=share)
        for name, share in (("sparse", density), ("dense", None))
    }
    return {name: training_step(net, loss) for name, net in nets.items()}


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each step, in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 2:  # after the first, which allocate
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="LSTM,GRU,language model,Transformer")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    cases = {
        "LSTM": lambda: recurrent("LSTM", arguments.density),
        "GRU": lambda: recurrent("GRU", arguments.density),
        "language model": lambda: language_model(arguments.density),
        "Transformer": lambda: transformer(arguments.density),
    }
    print(f"{gs.kernels.info()}, density {arguments.density:g}, medians of {arguments.rounds} rounds")
    for name in arguments.only.split(","):
        taken = measure(cases[name](), arguments.rounds)
        ratio = taken["dense"] / taken["sparse"]
        print(
            f"{name:15} sparse {taken['sparse']:8.1f} ms   dense {taken['dense']:8.1f} ms   dense / sparse {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
