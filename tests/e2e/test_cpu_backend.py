"""verl's own trainer on the CPU backend: two ranks, weight sync, checkpoint and resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from . import verl_runs

pytestmark = pytest.mark.e2e
VOCAB = 61


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A random 2-layer Llama whose tokenizer knows single words."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    vocabulary = {"<pad>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, VOCAB)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token="<eos>",
        pad_token="<pad>",
        chat_template="{% for m in messages %}{{ m['content'] }} {% endfor %}",
    ).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_two_ranks_stay_in_sync_and_resume_and_a_lost_update_shows(tmp_path, model):
    prompts = [f"w{2 + i} w{3 + i} w{20 + i}" for i in range(32)]
    verl_runs.prepare(tmp_path, "transformers", dropped_step=4, prompts=prompts)
    reference = "actor_rollout_ref.actor.use_kl_loss=True"  # builds the reference policy
    options = (reference, "actor_rollout_ref.ref.fsdp_config.strategy=fsdp2")

    output = verl_runs.train(tmp_path, model, "transformers", 2, 2, *options, "trainer.save_freq=2")
    first = verl_runs.differences(output)
    assert sorted(first) == [1, 2]

    output = verl_runs.train(tmp_path, model, "transformers", 2, 6, *options)
    resumed = verl_runs.differences(output)
    assert sorted(resumed) == [3, 4, 5, 6]
    assert max(*first.values(), *(resumed[step] for step in (3, 4, 6))) < 1e-5
    assert resumed[5] > 1e-3
