"""Settings for the tests of data preparation."""

from __future__ import annotations

import pytest


@pytest.fixture
def one_thread():
    """Several for so small a model only wait for each other where the machine has other work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
