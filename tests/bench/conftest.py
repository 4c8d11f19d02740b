from __future__ import annotations

import pytest

from gossamer.bench import Bench, Cell, Plan, Sample
from gossamer.bench.machine import describe


def sample(median: float, spread: float = 0.02) -> Sample:
    return Sample(median, median * (1 - spread / 2), median * (1 + spread / 2), 5)


@pytest.fixture
def plan() -> Plan:
    """Everything, but small."""
    return Plan(
        widths=(32,),
        batches=(1, 8),
        densities=(0.5, 0.1),
        training_batch=8,
        spspmm_widths=(64,),
        spspmm_densities=((0.1, 0.2),),
        channels=(4,),
        image_batch=2,
        image_size=6,
        projections=((3, 20), (1, 50)),
        rounds=2,
        seconds=0.0,
    )


@pytest.fixture
def bench() -> Bench:
    """Invented figures: gossamer breaks even at 0.1 in the layer, wins all training steps, and loses to softmax."""
    layer = {"width": 32, "batch": 8}
    step = {"width": 32, "batch": 128}
    memory = step | {"density": 0.1, "connections": 1000, "dense connections": 10_000}
    rest: dict[str, Sample | str] = {
        "masked": sample(2e-3),
        "CSR": sample(5e-5, spread=0.5),
        "SparseLab": "not installed",
    }
    few: dict[str, Sample | str] = {"masked": sample(2.0), "CSR": "no training", "SparseLab": "not installed"}
    cells = (
        Cell("layer", layer | {"density": 0.4}, {"gossamer": sample(2e-3), "dense": sample(1e-3)} | rest),
        Cell("layer", layer | {"density": 0.025}, {"gossamer": sample(5e-4), "dense": sample(1e-3)} | rest),
        Cell("training", step | {"density": 0.4}, {"gossamer": sample(1.0), "dense": sample(1.04)} | few),
        Cell("training", step | {"density": 0.1}, {"gossamer": sample(0.3), "dense": sample(1.0)} | few),
        Cell(
            "spspmm",
            layer | {"code density": 0.1, "density": 0.1},
            {"gossamer": sample(1e-6), "zeros": sample(2e-6), "dense": sample(1e-3), "SparseLab": "not installed"},
        ),
        Cell(
            "projection",
            {"rows": 4, "units": 50, "sparseness": 0.8, "pass": "forward"},
            {"gossamer": sample(3e-3), "softmax": sample(1e-3), "sort": sample(4e-2)},
            baseline="softmax",
        ),
        Cell("memory", memory, {"gossamer": sample(4e4), "dense": sample(1.6e5), "SparseLab": "not installed"}),
    )
    return Bench(Plan(), describe(), cells, command="gossamer bench", date="2020-02-20T20:20:20+00:00")
