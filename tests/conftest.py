"""What all tests share: reproducible hypothesis, and a number of threads that is put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from gossamer.data import Dataset
    from gossamer.runs import Options

settings.register_profile(
    "gossamer",
    deadline=None,
    max_examples=30,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("gossamer")


@pytest.fixture
def threads() -> Iterator[None]:
    """A test that sets the number of threads leaves it as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(threads: None) -> None:
    """Start on one thread, which is fastest for small tensors on a busy machine; a test may set more."""
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(20240229)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 150 rows, 6 features and 3 classes that are easy to tell apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    x = rng.normal(size=(150, 6)) + 2 * np.eye(6)[labels]
    path = tmp_path_factory.mktemp("data") / "blobs.csv"
    lines = [",".join([*(f"{value:.5f}" for value in row), "abc"[label]]) for row, label in zip(x, labels, strict=True)]
    path.write_text("\n".join(["x0,x1,x2,x3,x4,x5,kind", *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def dataset(table: Path) -> Dataset:
    """That file, read and divided."""
    from gossamer import data

    return data.load(table, target="kind")


@pytest.fixture
def options(table: Path) -> Options:
    """Small, with everything on that a resumed run could lose."""
    from gossamer.runs import Options

    return Options(
        data=str(table),
        target="kind",
        hidden=(16, 16),
        density=0.3,
        allocate="uniform",
        activation="relu",
        dropout=0.2,
        epochs=5,
        batch_size=20,
        learning_rate=0.01,
        threads=1,
    )
