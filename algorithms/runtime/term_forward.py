"""The loss terms computed inside the model's forward, where FSDP holds the head unsharded.

``bind`` gives a Hugging Face causal LM one more keyword, ``term_request``. Without it the model
behaves as before; with it the head is applied to generated positions only, chunk by chunk, and
the forward returns losses (or the reference's states) instead of logits.

The states of a view are its hidden states, or its logits where the model takes the plain path
(``algorithms.runtime.head_path``). Shape suffixes: _T generated tokens of the micro-batch, _D those
with a distill weight, _H hidden, _V vocabulary.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import Tensor, nn

from algorithms.approximations import sampled_token_divergence
from algorithms.divergence import SampledTokens, divergence_loss, sampled_token_loss
from algorithms.runtime.head_path import Head, HeadPath, announce, head_path
from algorithms.runtime.term_losses import loss_output
from algorithms.runtime.term_requests import (
    HiddenRequest,
    LossRequest,
    MeasureRequest,
    TermRequest,
)


def bind(module: nn.Module) -> HeadPath:
    """Teach ``module`` (a Hugging Face causal LM, not yet sharded) the keyword ``term_request``."""
    path = head_path(module)
    announce(module, path)
    (_bind_fused if path.fused else _bind_plain)(module, path)
    return path


def _bind_fused(module: nn.Module, path: HeadPath) -> None:
    head: Any = module.get_output_embeddings()  # type: ignore[operator]
    plain_forward, plain_head_forward = module.forward, head.forward

    def forward(
        self: nn.Module, *args: Any, term_request: TermRequest | None = None, **kwargs: Any
    ):
        if term_request is None:
            return plain_forward(*args, **kwargs)
        hidden = self.base_model(*args, **kwargs).last_hidden_state  # type: ignore[operator]
        # FSDP2 shards an untied head on its own and gathers it for the head's own call only.
        head = self.get_output_embeddings()  # type: ignore[operator]
        return head(_selected(hidden, term_request), term_request=term_request)

    def head_forward(self: nn.Module, hidden: Tensor, term_request: TermRequest | None = None):
        if term_request is None:
            return plain_head_forward(hidden)
        return _answer(hidden, Head(self.weight, path.logit_map), term_request)  # type: ignore

    module.forward = MethodType(forward, module)
    head.forward = MethodType(head_forward, head)


def _bind_plain(module: nn.Module, path: HeadPath) -> None:
    plain_forward = module.forward

    def forward(
        self: nn.Module, *args: Any, term_request: TermRequest | None = None, **kwargs: Any
    ):
        output = plain_forward(*args, **kwargs)
        if term_request is None:
            return output
        return _answer(_selected(output.logits, term_request), Head(None), term_request)

    module.forward = MethodType(forward, module)


def _selected(states: Tensor, request: TermRequest) -> Tensor:
    return states.reshape(-1, states.shape[-1]).index_select(0, request.positions_T)


def _answer(states: Tensor, head: Head, request: TermRequest) -> dict[str, Any]:
    if isinstance(request, HiddenRequest):
        return _states_output(states, head, request)
    if isinstance(request, MeasureRequest):
        return {"token_kl": _measured(states, head, request)}
    assert isinstance(request, LossRequest)
    return loss_output(states, head, request)


def _states_output(states: Tensor, head: Head, request: HiddenRequest) -> dict[str, Any]:
    output: dict[str, Any] = {"hidden": states.detach().clone()}
    if request.with_head and head.weight_VH is not None:
        # The unsharded head lives only until FSDP reshards it: keep a copy.
        output["head"] = head.weight_VH.detach().clone()
    return output


def _measured(states: Tensor, head: Head, request: MeasureRequest) -> Tensor:
    reference = request.reference_hidden_DH.to(states.dtype)
    if request.estimator == "exact":
        return divergence_loss(
            states,
            reference,
            head.weight_VH,
            temperature=request.temperature,
            teacher_head_weight_VH=request.reference_head_VH,
            logit_map=head.logit_map,
        ).per_token_T
    own = head.weight_VH if request.reference_head_VH is None else request.reference_head_VH
    sampled = SampledTokens(request.token_ids_D, temperature=request.temperature)
    log_p, log_q = (
        sampled_token_loss(of, weight, sampled, logit_map=head.logit_map).sampled_log_prob_T
        for of, weight in ((states, head.weight_VH), (reference, own))
    )
    assert log_p is not None and log_q is not None
    return sampled_token_divergence("k1", log_p, log_q)
