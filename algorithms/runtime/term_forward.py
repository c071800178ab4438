"""The loss terms computed inside the model's forward, where FSDP holds the head unsharded.

``bind`` gives a Hugging Face causal LM one more keyword, ``term_request``. Without it the model
behaves as before; with it the head is applied to generated positions only, chunk by chunk, and
the forward returns losses (or the reference's hidden states) instead of logits.

Shape suffixes: _T generated tokens of the micro-batch, _D those with a distill weight, _H hidden,
_V vocabulary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from verl.utils.experimental.torch_functional import FusedLinearForPPO

from algorithms.base import LossSettings
from algorithms.divergence import divergence_loss
from algorithms.terms import nll, policy_gradient

logger = logging.getLogger(__name__)


class UnsupportedModel(ValueError):
    """The model's head is not a plain linear map of its last hidden state."""


class TermRequest:
    """What one forward has to compute. A plain object, so that FSDP's cast of the forward's
    floating-point inputs leaves its float32 weights alone."""

    def __init__(self, positions_T: Tensor) -> None:
        self.positions_T = positions_T


class HiddenRequest(TermRequest):
    """Asks for the hidden states at ``positions_T`` and, if ``with_head``, for the head."""

    def __init__(self, positions_T: Tensor, *, with_head: bool) -> None:
        super().__init__(positions_T)
        self.with_head = with_head


@dataclass
class TermTokens:
    """Per-token inputs of the three terms; weights hold each term's normaliser already."""

    token_ids_T: Tensor
    policy_gradient_T: Tensor
    distill_T: Tensor
    nll_T: Tensor
    advantage_T: Tensor
    old_log_prob_T: Tensor | None = None
    reference_hidden_DH: Tensor | None = None
    reference_head_VH: Tensor | None = None


class LossRequest(TermRequest):
    """Asks for the loss and its metrics."""

    def __init__(
        self, positions_T: Tensor, tokens: TermTokens, settings: LossSettings, temperature: float
    ) -> None:
        super().__init__(positions_T)
        self.tokens = tokens
        self.settings = settings
        self.temperature = temperature


def check_head(module: nn.Module) -> None:
    """Refuse models whose logits are not ``hidden @ head.T``.

    Raises:
        UnsupportedModel: a biased head, or logits that are capped or scaled.
    """
    head = module.get_output_embeddings()  # type: ignore[operator]
    config: Any = module.config
    problems = []
    if head is None or getattr(head, "bias", None) is not None:
        problems.append("its output head has a bias or is missing")
    if getattr(config, "final_logit_softcapping", None):
        problems.append("it caps its logits (final_logit_softcapping)")
    for name in ("logit_scale", "logits_scaling"):
        if getattr(config, name, 1.0) not in (None, 1.0):
            problems.append(f"it scales its logits ({name})")
    if problems:
        raise UnsupportedModel(
            f"{type(module).__name__}: {' and '.join(problems)}; the exact divergence is computed "
            "from hidden states and a plain linear head. Use a Llama, Qwen2 or Qwen3 model"
        )


def bind(module: nn.Module) -> None:
    """Teach ``module`` (a Hugging Face causal LM, not yet sharded) the keyword ``term_request``."""
    check_head(module)
    head: Any = module.get_output_embeddings()  # type: ignore[operator]
    plain_forward, plain_head_forward = module.forward, head.forward

    def forward(
        self: nn.Module, *args: Any, term_request: TermRequest | None = None, **kwargs: Any
    ):
        if term_request is None:
            return plain_forward(*args, **kwargs)
        hidden = self.base_model(*args, **kwargs).last_hidden_state  # type: ignore[operator]
        hidden_TH = hidden.reshape(-1, hidden.shape[-1]).index_select(0, term_request.positions_T)
        # FSDP2 shards an untied head on its own and gathers it for the head's own call only.
        return self.get_output_embeddings()(hidden_TH, term_request=term_request)  # type: ignore

    def head_forward(self: nn.Module, hidden: Tensor, term_request: TermRequest | None = None):
        if term_request is None:
            return plain_head_forward(hidden)
        head_VH: Any = self.weight
        if isinstance(term_request, HiddenRequest):
            return _hidden_output(hidden, head_VH, term_request)
        assert isinstance(term_request, LossRequest)
        return _loss_output(hidden, head_VH, term_request)

    module.forward = MethodType(forward, module)
    head.forward = MethodType(head_forward, head)


def _hidden_output(hidden_TH: Tensor, head_VH: Tensor, request: HiddenRequest) -> dict[str, Any]:
    output: dict[str, Any] = {"hidden": hidden_TH.detach().clone()}
    if request.with_head:
        # The unsharded head lives only until FSDP reshards it: keep a copy.
        output["head"] = head_VH.detach().clone()
    return output


def _loss_output(hidden_TH: Tensor, head_VH: Tensor, request: LossRequest) -> dict[str, Any]:
    tokens, settings = request.tokens, request.settings
    # Every rank's backward must reach every parameter, whatever rows it was dealt.
    loss = hidden_TH.float().sum() * 0.0 + head_VH.float()[:1].sum() * 0.0
    metrics: dict[str, Tensor] = {}
    if tokens.reference_hidden_DH is not None:
        loss = loss + _distill(hidden_TH, head_VH, tokens, settings, metrics)
    if bool((tokens.policy_gradient_T != 0).any()) or bool((tokens.nll_T != 0).any()):
        loss = loss + _sampled_token_terms(hidden_TH, head_VH, request, metrics)
    return {"loss": loss, "metrics": metrics}


def _distill(
    hidden_TH: Tensor,
    head_VH: Tensor,
    tokens: TermTokens,
    settings: LossSettings,
    metrics: dict[str, Tensor],
) -> Tensor:
    selected_D = (tokens.distill_T != 0).nonzero(as_tuple=True)[0]
    assert tokens.reference_hidden_DH is not None
    weights_D = tokens.distill_T[selected_D]
    output = divergence_loss(
        hidden_TH.index_select(0, selected_D),
        tokens.reference_hidden_DH.to(hidden_TH.dtype),
        head_VH,
        kind=settings.divergence,
        weights_T=weights_D,
        temperature=settings.divergence_temperature,
        jsd_weight=settings.jsd_weight,
        teacher_head_weight_VH=tokens.reference_head_VH,
        token_ids_T=tokens.token_ids_T[selected_D],
    )
    metrics["distill/loss"] = output.loss.detach()
    metrics["distill/divergence_sum"] = output.per_token_T.sum()
    metrics["distill/entropy_sum"] = output.entropy_T.sum()
    return output.loss


def _sampled_token_terms(
    hidden_TH: Tensor, head_VH: Tensor, request: LossRequest, metrics: dict[str, Tensor]
) -> Tensor:
    tokens, settings = request.tokens, request.settings
    log_prob_T, entropy_T = FusedLinearForPPO()(
        hidden_TH, head_VH.to(hidden_TH.dtype), tokens.token_ids_T, request.temperature
    )
    loss = hidden_TH.new_zeros((), dtype=torch.float32)
    trained_T = (tokens.policy_gradient_T != 0) | (tokens.nll_T != 0)
    metrics["sampled/entropy_sum"] = entropy_T.detach().float()[trained_T].sum()
    if bool((tokens.nll_T != 0).any()):
        term = nll(log_prob_T, tokens.nll_T)
        metrics["nll/loss"] = term.total.detach()
        loss = loss + term.total
    if bool((tokens.policy_gradient_T != 0).any()):
        if tokens.old_log_prob_T is None:
            raise ValueError("policy gradient needs the log-probs taken at sampling time")
        term = policy_gradient(
            log_prob_T,
            tokens.old_log_prob_T,
            tokens.advantage_T,
            tokens.policy_gradient_T,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
        )
        metrics["policy_gradient/loss"] = term.total.detach()
        for name, value in term.metrics.items():
            metrics[f"policy_gradient/{name}_sum"] = value
        loss = loss + term.total
    return loss
