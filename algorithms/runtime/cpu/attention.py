"""Attention over packed rows on the CPU, registered with transformers as ``packed_sdpa``.

Without flash-attention's variable-length kernels, transformers keeps packed rows apart by a mask
over all their tokens, and computes the masked part too. Here each row is attended on its own, by
torch's attention kernel, in float32. Where no row boundaries are passed it is transformers' own
``sdpa``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "packed_sdpa"
# What transformers calls the rows' boundaries, in every model's keyword arguments.
BOUNDARIES = "cu_seq_lens_q"


def packed_sdpa(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface; ``query`` is [1, heads, tokens, head size].

    ``cu_seq_lens_q`` (rows + 1, starting at 0) are the boundaries of the packed rows; the mask, if
    any, is the one over all tokens, of which a row takes its own block.
    """
    boundaries = kwargs.get(BOUNDARIES)
    if boundaries is None or len(boundaries) == 2:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if kwargs.get("sliding_window") is None:
        attention_mask = None  # within a row plain causality is all there is
    # torch's CPU kernel is faster in float32, most of all its backward; a split's backward is one
    # concatenation, a slice's a tensor of zeros each.
    lengths = boundaries.diff().tolist()
    rows = zip(*(t.float().split(lengths, dim=2) for t in (query, key, value)), strict=True)
    outputs, start = [], 0
    with torch.autocast(query.device.type, enabled=False):
        for row_query, row_key, row_value in rows:
            end = start + row_query.shape[2]
            block = None if attention_mask is None else attention_mask[..., start:end, start:end]
            attended, _ = sdpa_attention_forward(
                module, row_query, row_key, row_value, block, **kwargs
            )
            outputs.append(attended)
            start = end
    return torch.cat(outputs, dim=1).to(query.dtype), None


def register_attention() -> None:
    """Make ``attn_implementation: packed_sdpa`` known to transformers; idempotent."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
