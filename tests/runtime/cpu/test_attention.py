"""Packed rows are attended as if each were alone; without boundaries nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaModel, MistralConfig, MistralModel

from algorithms.runtime.cpu.attention import BOUNDARIES, NAME, register_attention
from algorithms.runtime.shared_prompts import LAYOUT, SharedPrompts

LENGTHS = (7, 1, 12, 5)
SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


def build(sliding: bool, attention: str) -> torch.nn.Module:
    register_attention()
    torch.manual_seed(0)
    config: Any = MistralConfig(**SIZES, sliding_window=4) if sliding else LlamaConfig(**SIZES)
    config._attn_implementation = attention
    return (MistralModel if sliding else LlamaModel)(config)


def rows() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 31, (length,), generator=generator) for length in LENGTHS]


@pytest.mark.parametrize("sliding", [False, True])
def test_hidden_states_and_gradients_are_those_of_the_rows_alone(sliding):
    alone, packed = build(sliding, "eager"), build(sliding, NAME)
    expected = torch.cat([alone(row[None]).last_hidden_state[0] for row in rows()])
    got = packed(
        torch.cat(rows())[None],
        position_ids=torch.cat([torch.arange(length) for length in LENGTHS])[None],
        use_cache=False,
        **{BOUNDARIES: torch.tensor((0, *LENGTHS)).cumsum(0)},
    ).last_hidden_state[0]
    assert_same((alone, expected), (packed, got))


def assert_same(
    alone: tuple[torch.nn.Module, torch.Tensor], packed: tuple[torch.nn.Module, torch.Tensor]
) -> None:
    """Two models' hidden states, and the gradients that follow from them."""
    (one_model, expected), (other_model, got) = alone, packed
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (expected * weight).sum().backward()
    (got * weight).sum().backward()
    for one, other in zip(one_model.parameters(), other_model.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tasks", [(0, 0, 0, 0), (0, 1, 0, 1), (0, 1, 1, 2)])
def test_rows_that_share_their_prompt_are_as_if_each_had_its_own(tasks):
    prompts = [torch.arange(3 + 2 * task, dtype=torch.long) + task for task in range(3)]
    whole = [torch.cat([prompts[t], row]) for t, row in zip(tasks, rows(), strict=True)]
    layout = SharedPrompts.of(torch.nested.as_nested_tensor(whole, layout=torch.jagged), LENGTHS)
    assert layout is not None
    alone, packed = build(False, "eager"), build(False, NAME)
    expected = torch.cat([alone(row[None]).last_hidden_state[0] for row in whole])
    positions = torch.cat([torch.arange(len(row)) for row in whole])
    got = packed(
        torch.cat(whole)[layout.kept_U][None],
        position_ids=positions[layout.kept_U][None],
        use_cache=False,
        **{LAYOUT: layout},
    ).last_hidden_state[0][layout.places_F]
    assert_same((alone, expected), (packed, got))


def test_padded_rows_without_boundaries_go_the_way_of_sdpa():
    inputs = torch.stack([torch.arange(9), torch.arange(9, 18)])
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    outputs = [
        build(False, attention)(inputs, attention_mask=mask).last_hidden_state
        for attention in (NAME, "sdpa")
    ]
    assert torch.equal(*outputs)
