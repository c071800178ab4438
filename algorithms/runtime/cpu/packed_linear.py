"""Linear layers whose bf16 weights are stored in oneDNN's blocked layout.

``torch.nn.functional.linear`` reorders a bf16 weight into that layout at every call; while decoding
a few rows the reordering costs as much as the product. Packing pays it once per weight update.
"""

from __future__ import annotations

import torch


def packing_supported(dtype: torch.dtype) -> bool:
    """True for bfloat16 on a CPU whose oneDNN runs bf16 kernels."""
    return (
        dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


class PackedLinear(torch.nn.Module):
    """Inference-only replacement of ``torch.nn.Linear`` for bf16."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.pack(linear.weight.detach())

    def pack(self, weight: torch.Tensor) -> None:
        """Replace the weight, ``[out, in]`` in bf16."""
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # oneDNN adds up a single row in another order, and no faster than two. As two, a row's
        # result is the same to the last bit alone and in a batch.
        if x.numel() == self.in_features:
            return self._product(x.expand(2, *x.shape))[0]
        return self._product(x)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
