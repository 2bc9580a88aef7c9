"""What all tests share: one thread, no interactive plots, the same hypothesis examples in every run."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch
from hypothesis import settings

# Derandomised: a test that fails, fails for everybody. No deadline: a busy machine is not a bug.
settings.register_profile("book", derandomize=True, deadline=None, max_examples=50, print_blob=True)
settings.load_profile("book")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="no CUDA device on this machine")
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(skip)
