"""Several processes that train together are connected alike, and as one process with all the samples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import gossamer
from gossamer import Pattern
from gossamer.plasticity.ranks import check_agreement, pattern_digest, sum_over_ranks_

WORKER = Path(__file__).with_name("ranked_run.py")


needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this build of torch has no gloo"
)


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of four processes has saved."""
    folder = tmp_path_factory.mktemp("ranks")
    source = str(Path(gossamer.__file__).parents[1])
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    outs = [folder / f"{rank}.pt" for rank in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(folder / "rendezvous"), str(out)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [torch.load(out, weights_only=True) for out in outs]


@needs_gloo
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_are_connected_as_one_process_with_all_samples(ranks: int, everyone: list[dict[str, Any]]) -> None:
    for name, expected in everyone[0]["patterns"][1].items():
        first = everyone[0]["patterns"][ranks][name]
        for rank in range(ranks):
            for mine, other, alone in zip(everyone[rank]["patterns"][ranks][name], first, expected, strict=True):
                assert torch.equal(mine, other), name
                assert torch.allclose(mine.double(), alone.double(), rtol=1e-7, atol=1e-9), name


@needs_gloo
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_that_differ_are_told(ranks: int, everyone: list[dict[str, Any]]) -> None:
    for rank in range(ranks):
        complaint = everyone[rank]["complaints"][ranks]
        if ranks == 1:
            assert complaint == "no error"
        else:
            assert f"ranks {list(range(1, ranks))} have another pattern than rank 0" in complaint


def test_digest_tells_patterns_apart() -> None:
    def layer(seed: int) -> Pattern:
        return Pattern.erdos_renyi(4, 5, 0.5, torch.Generator().manual_seed(seed))

    assert pattern_digest({"a": layer(0)}) == pattern_digest({"a": layer(0)})
    assert len({pattern_digest({"a": layer(0)}), pattern_digest({"b": layer(0)}), pattern_digest({"a": layer(1)})}) == 3


def test_alone_nothing_is_sent() -> None:
    x = torch.ones(3)
    assert sum_over_ranks_(x) is x
    assert x.tolist() == [1.0, 1.0, 1.0]
    check_agreement({"a": Pattern.erdos_renyi(3, 3, 0.5)})
