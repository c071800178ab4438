"""A tiny random Llama, shared by the CPU rollout's tests."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from algorithms.runtime.cpu.kv_cache import ATTENTION
from algorithms.runtime.cpu.model import RolloutModel

VOCAB = 97


@pytest.fixture(scope="session")
def reference() -> LlamaForCausalLM:
    """Two layers, grouped-query attention, tied embeddings, float32, eager attention."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.3,  # logits far from uniform, so that greedy paths differ by prompt
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def new_model(reference: LlamaForCausalLM):
    """A function that builds a :class:`RolloutModel` with the reference's weights."""

    def build(dtype: torch.dtype = torch.float32, **kwargs) -> RolloutModel:
        config = copy.deepcopy(reference.config)
        config._attn_implementation = ATTENTION
        model = LlamaForCausalLM(config)
        model.load_state_dict(reference.state_dict())
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        return RolloutModel(model, **kwargs)

    return build
