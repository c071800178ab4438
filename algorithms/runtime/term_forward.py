"""The loss terms computed inside the model's forward, where FSDP holds the head unsharded.

``bind`` gives a Hugging Face causal LM one more keyword, ``term_request``. Without it the model
behaves as before; with it the head is applied to generated positions only, chunk by chunk, and
the forward returns losses (or the reference's hidden states) instead of logits.

Shape suffixes: _T generated tokens of the micro-batch, _D those with a distill weight, _N those of
one view among them, _H hidden, _V vocabulary.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from verl.utils.experimental.torch_functional import FusedLinearForPPO

from algorithms.approximations import SAMPLED, sampled_token_divergence, top_k_divergence
from algorithms.base import VIEWS, LossSettings
from algorithms.divergence import divergence_loss
from algorithms.runtime.term_requests import (
    PREFIX,
    HiddenRequest,
    LossRequest,
    MeasureRequest,
    TermRequest,
    TermTokens,
)
from algorithms.terms import distill_weights, nll, policy_gradient


class UnsupportedModel(ValueError):
    """The model's head is not a plain linear map of its last hidden state."""


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
        if isinstance(term_request, MeasureRequest):
            return {"token_kl": _measured(hidden, head_VH, term_request)}
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


def _measured(hidden_DH: Tensor, head_VH: Tensor, request: MeasureRequest) -> Tensor:
    reference_DH = request.reference_hidden_DH.to(hidden_DH.dtype)
    if request.estimator == "exact":
        return divergence_loss(
            hidden_DH,
            reference_DH,
            head_VH,
            temperature=request.temperature,
            teacher_head_weight_VH=request.reference_head_VH,
        ).per_token_T
    teacher_head = head_VH if request.reference_head_VH is None else request.reference_head_VH
    log_p_D, log_q_D = (
        _log_probs(states, head, request.token_ids_D, request.temperature)[0]
        for states, head in ((hidden_DH, head_VH), (reference_DH, teacher_head))
    )
    return sampled_token_divergence("k1", log_p_D.float(), log_q_D.float())


def _log_probs(
    hidden_NH: Tensor, head_VH: Tensor, ids_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the tokens and entropies, [N] each, by verl's chunked function."""
    return FusedLinearForPPO()(hidden_NH, head_VH.to(hidden_NH.dtype), ids_N, temperature)


def _loss_output(hidden_TH: Tensor, head_VH: Tensor, request: LossRequest) -> dict[str, Any]:
    tokens = request.tokens
    # Every rank's backward must reach every parameter, whatever rows it was dealt.
    loss = hidden_TH.float().sum() * 0.0 + head_VH.float()[:1].sum() * 0.0
    metrics: dict[str, Tensor] = {}
    if tokens.reference_hidden_DH is not None:
        loss = loss + _distill(hidden_TH, head_VH, request, metrics)
    if bool((tokens.policy_gradient_T != 0).any()) or bool((tokens.nll_T != 0).any()):
        loss = loss + _sampled_token_terms(hidden_TH, head_VH, request, metrics)
    return {"loss": loss, "metrics": metrics}


def _distill(
    hidden_TH: Tensor, head_VH: Tensor, request: LossRequest, metrics: dict[str, Tensor]
) -> Tensor:
    """The distill term of both views: each has a divergence of its own."""
    tokens, settings = request.tokens, request.settings
    assert tokens.reference_hidden_DH is not None
    selected_D = (tokens.distill_T != 0).nonzero(as_tuple=True)[0]
    loss = hidden_TH.new_zeros((), dtype=torch.float32)
    kinds = (settings.divergence, settings.teacher_divergence)
    for number, (view, kind) in enumerate(zip(VIEWS, kinds, strict=True)):
        of_view_D = tokens.view_T[selected_D] == number
        rows_N = selected_D[of_view_D]
        if not len(rows_N):
            continue
        reference_NH = tokens.reference_hidden_DH[of_view_D].to(hidden_TH.dtype)
        found: dict[str, Tensor] = {}
        weights_N = _corrected(hidden_TH, head_VH, request, rows_N, found)
        of_tokens = (hidden_TH.index_select(0, rows_N), reference_NH, head_VH)
        part = _divergence(kind, *of_tokens, weights_N, tokens, rows_N, settings, found)
        loss = loss + part
        found["loss"] = part.detach()
        metrics.update({f"{PREFIX[view]}distill/{key}": value for key, value in found.items()})
    return loss


def _corrected(
    hidden_TH: Tensor,
    head_VH: Tensor,
    request: LossRequest,
    rows_N: Tensor,
    found: dict[str, Tensor],
) -> Tensor:
    """The distill weights, times truncated importance ratios where these are asked for."""
    tokens, most = request.tokens, request.settings.max_importance_ratio
    weights_N = tokens.distill_T[rows_N]
    if most is None:
        return weights_N
    if tokens.old_log_prob_T is None:
        raise ValueError("importance weights need the log-probs taken at sampling time")
    with torch.no_grad():
        log_prob_N, _ = _log_probs(
            hidden_TH.index_select(0, rows_N),
            head_VH,
            tokens.token_ids_T[rows_N],
            request.temperature,
        )
    corrected_N = distill_weights(
        weights_N,
        log_prob_T=log_prob_N.float(),
        behaviour_log_prob_T=tokens.old_log_prob_T[rows_N],
        max_ratio=most,
    )
    ratio_N = corrected_N / weights_N
    found["ratio_sum"], found["ratio_squared_sum"] = ratio_N.sum(), ratio_N.square().sum()
    return corrected_N


def _divergence(
    kind: str,
    hidden_NH: Tensor,
    reference_NH: Tensor,
    head_VH: Tensor,
    weights_N: Tensor,
    tokens: TermTokens,
    rows_N: Tensor,
    settings: LossSettings,
    found: dict[str, Tensor],
) -> Tensor:
    """Weighted sum over the tokens of one view; ``found`` gets the sums that are reported."""
    ids_N, temperature = tokens.token_ids_T[rows_N], settings.divergence_temperature
    if kind not in SAMPLED and settings.support == "full":
        output = divergence_loss(
            hidden_NH,
            reference_NH,
            head_VH,
            kind=kind,
            weights_T=weights_N,
            temperature=temperature,
            jsd_weight=settings.jsd_weight,
            teacher_head_weight_VH=tokens.reference_head_VH,
            token_ids_T=ids_N,
        )
        found["divergence_sum"] = output.per_token_T.sum()
        for name, value_N in (
            ("entropy_sum", output.entropy_T),
            ("kl_own_sum", output.kl_student_T),
            ("kl_other_sum", output.kl_teacher_T),
        ):
            assert value_N is not None  # token ids were given
            found[name] = value_N.sum()
        return output.loss
    if kind in SAMPLED:
        teacher_head = head_VH if tokens.reference_head_VH is None else tokens.reference_head_VH
        log_p_N, entropy_N = _log_probs(hidden_NH, head_VH, ids_N, temperature)
        with torch.no_grad():
            log_q_N, _ = _log_probs(reference_NH, teacher_head, ids_N, temperature)
        values_N = sampled_token_divergence(kind, log_p_N.float(), log_q_N.float())
        found["entropy_sum"] = entropy_N.detach().float().sum()
    else:
        values_N = top_k_divergence(
            hidden_NH,
            reference_NH,
            head_VH,
            kind=kind,
            support=settings.support,
            top_k=settings.top_k,
            temperature=temperature,
            jsd_weight=settings.jsd_weight,
            teacher_head_weight_VH=tokens.reference_head_VH,
        )
    found["divergence_sum"] = values_N.detach().sum()
    return (weights_N * values_N).sum()


def _sampled_token_terms(
    hidden_TH: Tensor, head_VH: Tensor, request: LossRequest, metrics: dict[str, Tensor]
) -> Tensor:
    """Policy gradient and nll of both views, in one pass over the head."""
    tokens = request.tokens
    trained_T = (tokens.policy_gradient_T != 0) | (tokens.nll_T != 0)
    rows_N = trained_T.nonzero(as_tuple=True)[0]
    log_prob_N, entropy_N = _log_probs(
        hidden_TH.index_select(0, rows_N), head_VH, tokens.token_ids_T[rows_N], request.temperature
    )
    loss = hidden_TH.new_zeros((), dtype=torch.float32)
    for number, view in enumerate(VIEWS):
        of_view_N = tokens.view_T[rows_N] == number
        if bool(of_view_N.any()):
            rows = rows_N[of_view_N]
            found = {"sampled/entropy_sum": entropy_N.detach().float()[of_view_N].sum()}
            loss = loss + _terms_of_view(log_prob_N[of_view_N], rows, request, found)
            metrics.update({PREFIX[view] + name: value for name, value in found.items()})
    return loss


def _terms_of_view(
    log_prob_N: Tensor, rows_N: Tensor, request: LossRequest, found: dict[str, Tensor]
) -> Tensor:
    tokens, settings = request.tokens, request.settings
    loss = log_prob_N.new_zeros((), dtype=torch.float32)
    nll_N, policy_N = tokens.nll_T[rows_N], tokens.policy_gradient_T[rows_N]
    if bool((nll_N != 0).any()):
        term = nll(log_prob_N, nll_N)
        found["nll/loss"] = term.total.detach()
        loss = loss + term.total
    if bool((policy_N != 0).any()):
        if tokens.old_log_prob_T is None:
            raise ValueError("policy gradient needs the log-probs taken at sampling time")
        term = policy_gradient(
            log_prob_N,
            tokens.old_log_prob_T[rows_N],
            tokens.advantage_T[rows_N],
            policy_N,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
        )
        found["policy_gradient/loss"] = term.total.detach()
        for name, value in term.metrics.items():
            found[f"policy_gradient/{name}_sum"] = value
        loss = loss + term.total
    return loss
