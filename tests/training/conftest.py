from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer import data
from gossamer.runs import Options


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
def dataset(table: Path) -> data.Dataset:
    return data.load(table, target="kind")


@pytest.fixture
def options(table: Path) -> Options:
    """Small, with everything on that a resumed run could lose."""
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
