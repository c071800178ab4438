"""Attention over packed rows on the CPU, registered with transformers as ``packed_sdpa``.

Without flash-attention's variable-length kernels, transformers keeps packed rows apart by a mask
over all their tokens, and computes the masked part too. Here each row is attended on its own, by
torch's attention kernel, in float32; rows may share their prompt. Where no row boundaries are
passed it is transformers' own ``sdpa``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from algorithms.runtime.shared_prompts import LAYOUT, Segment, SharedPrompts

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
    any, is the one over all tokens, of which a row takes its own block. ``shared_prompts`` goes
    before both: the layout of rows of which some share their prompt.
    """
    layout: SharedPrompts | None = kwargs.pop(LAYOUT, None)
    boundaries = kwargs.get(BOUNDARIES)
    if layout is not None:
        segments: Sequence[Segment] = layout.segments
    elif boundaries is not None and len(boundaries) > 2:
        segments = [Segment(length) for length in boundaries.diff().tolist()]
    else:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if kwargs.get("sliding_window") is None:
        attention_mask = None  # within a row plain causality is all there is
    # torch's CPU kernel is faster in float32, most of all its backward; a split's backward is one
    # concatenation, a slice's a tensor of zeros each.
    lengths = [segment.length for segment in segments]
    queries, keys, values = (t.float().split(lengths, dim=2) for t in (query, key, value))
    outputs, start = [], 0
    with torch.autocast(query.device.type, enabled=False):
        for number, segment in enumerate(segments):
            end = start + segment.length
            block = None if attention_mask is None else attention_mask[..., start:end, start:end]
            own_keys, own_values = keys[number], values[number]
            if layout is not None and segment.prompt is not None:
                own_keys = torch.cat([keys[segment.prompt], own_keys], dim=2)
                own_values = torch.cat([values[segment.prompt], own_values], dim=2)
                block = layout.mask(number)
            attended, _ = sdpa_attention_forward(
                module, queries[number], own_keys, own_values, block, **kwargs
            )
            outputs.append(attended)
            start = end
    return torch.cat(outputs, dim=1).to(query.dtype), None


def register_attention() -> None:
    """Make ``attn_implementation: packed_sdpa`` known to transformers; idempotent."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
