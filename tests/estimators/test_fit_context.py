"""Where an estimator computes: also in a process that was forked after OpenMP's threads had started."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gossamer as gs

WIDE: dict[str, Any] = {"hidden": (600, 600), "max_epochs": 1, "random_state": 0}
X = np.random.default_rng(0).normal(size=(200, 20))
Y = (X[:, 0] > 0).astype(np.int64)


def everything(path: Path) -> int:
    """All that starts threads outside of a product: building, loading, importances, going on; threads afterwards."""
    classifier = gs.SparseClassifier.load(path)
    assert classifier.feature_importances_.shape == (20,)
    torch.rand(1 << 22).exp()
    gs.SparseClassifier(**WIDE, warm_start=True).fit(X, Y).fit(X, Y)
    gs.SparseFeatureSelector("QuickSelection", k=3, max_epochs=1, random_state=0).fit(X, Y)
    return torch.get_num_threads()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system doesn't fork")
def test_a_forked_child_computes_in_one_thread(tmp_path: Path, threads: None) -> None:
    torch.set_num_threads(2)
    torch.rand(1 << 22).exp()  # wakes OpenMP's threads, which a forked child is without
    path = tmp_path / "classifier.safetensors"
    gs.SparseClassifier(**WIDE).fit(X, Y).save(path)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(everything, (path,)).get(timeout=120) == 1
    assert torch.get_num_threads() == 2
