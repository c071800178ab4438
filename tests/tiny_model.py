"""A tiny real model with its tokenizer: what the tests of the runtime train."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCAB = 61


def save_model(
    folder: Path, *, tied: bool = True, seed: int = 0, kind: str = "llama", **settings: object
) -> str:
    """A random 2-layer model, in ``folder``, whose tokenizer knows the words ``w2`` ... ``w60``."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        kind, vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
        max_position_embeddings=256, initializer_range=0.3,
        bos_token_id=None, eos_token_id=1, pad_token_id=0, **settings,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    vocabulary = {f"w{i}": i for i in range(2, VOCAB)} | {"<pad>": 0, "<eos>": 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<eos>",
        pad_token="<pad>",
        chat_template="{% for m in messages %}{{ m['content'] }} {% endfor %}",
    ).save_pretrained(folder)
    return str(folder)
