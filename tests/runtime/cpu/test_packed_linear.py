"""The rollout's bf16 products: right, and of each row the same whatever is beside it."""

from __future__ import annotations

import pytest
import torch

from algorithms.runtime.cpu.packed_linear import PackedLinear, packing_supported

pytestmark = pytest.mark.skipif(
    not packing_supported(torch.bfloat16), reason="this processor has no bf16 kernels in oneDNN"
)


@pytest.fixture
def linear() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(1536, 576).bfloat16()


def test_the_product_is_that_of_the_layer_it_replaces(linear):
    x_BH = torch.randn(5, 1536).bfloat16()
    with torch.inference_mode():
        found, expected = PackedLinear(linear)(x_BH), linear.double()(x_BH.double())
    torch.testing.assert_close(found.double(), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 31])
def test_a_row_is_the_same_to_the_last_bit_alone_and_in_a_batch(linear, rows):
    packed, x_BH = PackedLinear(linear), torch.randn(64, 1536).bfloat16()
    with torch.inference_mode():
        assert torch.equal(packed(x_BH[:rows]), packed(x_BH)[:rows])
        assert packed(x_BH[:1, None]).shape == (1, 1, 576)
