"""What all tests share: reproducible hypothesis, and a number of threads that is put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

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
