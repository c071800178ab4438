"""How a model's logits come from its hidden states, and with it which path its loss terms take.

``fused``: logits are hidden @ head.T, scaled or capped as the configuration says; the terms are
formed chunk by chunk from the hidden states. ``plain``: the model's own forward makes the logits of
the whole micro-batch, and the terms are formed from these.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from algorithms.divergence import PLAIN, LogitMap

logger = logging.getLogger(__name__)

# Model types whose logits are known to be LogitMap.of(configuration) of hidden @ head.T: each is
# compared with the model's own logits in tests/runtime/test_head_path.py.
FUSED = frozenset(
    {
        "cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral",
        "olmo2", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3",
    }
)  # fmt: skip
SETTINGS = ("logit_scale", "logits_scaling", "final_logit_softcapping")


@dataclass(frozen=True)
class HeadPath:
    """``logit_map`` of the fused path; ``reason`` why it is not taken, empty where it is."""

    logit_map: LogitMap = PLAIN
    reason: str = ""

    @property
    def fused(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Head:
    """What turns the states of a view into logits. ``weight_VH`` None: the states are logits."""

    weight_VH: Tensor | None
    logit_map: LogitMap = PLAIN


def head_path(module: nn.Module) -> HeadPath:
    """The path that ``module`` (a Hugging Face causal LM) takes."""
    # Not the text part's: what wraps a language model may treat its logits otherwise.
    config: Any = module.config
    kind = str(config.model_type)
    head = module.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        return HeadPath(reason=f"{kind} has no linear output head")
    if head.bias is not None:
        return HeadPath(reason=f"the output head of {kind} has a bias")
    if kind not in FUSED:
        return HeadPath(reason=f"nobody has compared it for {kind}")
    return HeadPath(LogitMap.of({name: getattr(config, name, None) for name in SETTINGS}))


def announce(module: nn.Module, path: HeadPath) -> None:
    """Say in the log which path is taken."""
    name = type(module).__name__
    if path.fused:
        logger.warning("%s: loss terms by the fused pass over the head, %s", name, path.logit_map)
    else:
        logger.warning(
            "%s: loss terms from the model's own logits, which takes memory for [tokens, "
            "vocabulary], for the teacher over a whole mini-batch; the fused pass is not taken "
            "because %s",
            name,
            path.reason,
        )
