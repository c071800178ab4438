"""The three terms of a micro-batch from the states of its generated tokens, and their metrics.

Tokens with a distill weight and those without each take one pass over the head, which gives the
divergence, the log-probabilities of the sampled tokens, and the gradients of every term.
Shape suffixes as in ``term_forward``; _N tokens of one view, _n those of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from algorithms.approximations import SAMPLED, sampled_token_divergence, top_k_divergence
from algorithms.base import VIEWS
from algorithms.divergence import (
    DivergenceOutput,
    SampledTokens,
    divergence_loss,
    sampled_token_loss,
)
from algorithms.runtime.head_path import Head
from algorithms.runtime.term_requests import PREFIX, LossRequest
from algorithms.terms import distill_weights, nll, policy_gradient


def loss_output(states_TH: Tensor, head: Head, request: LossRequest) -> dict[str, Any]:
    """``{"loss": scalar, "metrics": detached sums by name}``."""
    return _MicroBatch(states_TH, head, request).output()


@dataclass
class _MicroBatch:
    states_TH: Tensor
    head: Head
    request: LossRequest
    metrics: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tokens = self.request.tokens
        self.trained_T = (tokens.policy_gradient_T != 0) | (tokens.nll_T != 0)
        # Of trained tokens, once a pass has come by.
        self.log_prob_T = torch.zeros_like(tokens.nll_T)
        self.entropy_T = torch.zeros_like(tokens.nll_T)

    def output(self) -> dict[str, Any]:
        states_TH, weight_VH = self.states_TH, self.head.weight_VH
        # Every rank's backward must reach every parameter, whatever rows it was dealt. The sum of
        # no row at all is 0 even where there is a NaN, and its gradient is a whole one.
        loss = states_TH[:0].float().sum()
        if weight_VH is not None:
            loss = loss + weight_VH[:0].float().sum()
        left_T = self.trained_T
        for view, rows_N, reference in self._distilled():
            output, found = self._distill(view, rows_N, reference)
            loss = loss + output
            if found.pop("passed", None) is not None:
                left_T = left_T.index_fill(0, rows_N, False)
            self._report(f"{PREFIX[VIEWS[view]]}distill", found)
        rows_N = left_T.nonzero(as_tuple=True)[0]
        if len(rows_N):
            loss = loss + self._sampled_alone(rows_N)
        self._report_sampled()
        return {"loss": loss, "metrics": self.metrics}

    # ------------------------------------------------------------------ distill

    def _distilled(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Views with tokens to distill: the view, the tokens, the reference's states of them."""
        tokens = self.request.tokens
        if tokens.reference_hidden_DH is None:
            return
        selected_D = (tokens.distill_T != 0).nonzero(as_tuple=True)[0]
        for number in range(len(VIEWS)):
            of_view_D = tokens.view_T[selected_D] == number
            if bool(of_view_D.any()):
                reference = tokens.reference_hidden_DH[of_view_D].to(self.states_TH.dtype)
                yield number, selected_D[of_view_D], reference

    def _distill(
        self, view: int, rows_N: Tensor, reference: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A view's divergence, and the sums that are reported of it; ``passed`` is among them where
        the sampled tokens' terms came with it."""
        settings = self.request.settings
        kind = (settings.divergence, settings.teacher_divergence)[view]
        if kind in SAMPLED or settings.support != "full":
            return self._approximated(kind, rows_N, reference)
        tokens = self.request.tokens
        sampled = self._sampled_tokens(rows_N)
        output = divergence_loss(
            self.states_TH.index_select(0, rows_N),
            reference,
            self.head.weight_VH,
            kind=kind,
            weights_T=tokens.distill_T[rows_N],
            temperature=settings.divergence_temperature,
            jsd_weight=settings.jsd_weight,
            teacher_head_weight_VH=tokens.reference_head_VH,
            token_ids_T=tokens.token_ids_T[rows_N],
            sampled=sampled,
            logit_map=self.head.logit_map,
        )
        found = _sums(output)
        if sampled is not None:
            self._keep(rows_N, output)
            found["passed"] = torch.ones(())
        if settings.max_importance_ratio is not None:
            assert output.weights_T is not None
            found |= _ratios(output.weights_T, tokens.distill_T[rows_N])
        return output.loss, found

    def _sampled_tokens(self, rows_N: Tensor) -> SampledTokens | None:
        """What the pass over these tokens makes of the sampled ones; None if nothing."""
        trained = bool(self.trained_T[rows_N].any())
        corrects = self.request.settings.max_importance_ratio is not None
        if not (trained or corrects):
            return None
        return SampledTokens(
            self.request.tokens.token_ids_T[rows_N],
            (lambda log_prob_n, at: self._terms(log_prob_n, rows_N[at])[0]) if trained else None,
            self.request.temperature,
            (lambda log_prob_n, at: self._ratio(log_prob_n, rows_N[at])) if corrects else None,
        )

    def _ratio(self, log_prob_n: Tensor, rows_n: Tensor) -> Tensor:
        """Truncated importance ratios."""
        most, old_T = self.request.settings.max_importance_ratio, self.request.tokens.old_log_prob_T
        assert most is not None
        if old_T is None:
            raise ValueError("importance weights need the log-probs taken at sampling time")
        return distill_weights(
            torch.ones_like(log_prob_n),
            log_prob_T=log_prob_n,
            behaviour_log_prob_T=old_T[rows_n],
            max_ratio=most,
        )

    def _approximated(
        self, kind: str, rows_N: Tensor, reference: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Top-k, or the sampled token alone."""
        tokens, settings = self.request.tokens, self.request.settings
        temperature = settings.divergence_temperature
        weights_N, found = tokens.distill_T[rows_N], {}
        states_NH = self.states_TH.index_select(0, rows_N)
        if settings.max_importance_ratio is not None:
            log_prob_N = self._log_probs(states_NH, rows_N, self.request.temperature)
            corrected_N = weights_N * self._ratio(log_prob_N, rows_N)
            found, weights_N = _ratios(corrected_N, weights_N), corrected_N
        if kind in SAMPLED:
            log_q_N = self._log_probs(reference, rows_N, temperature, tokens.reference_head_VH)
            sampled = SampledTokens(
                tokens.token_ids_T[rows_N],
                lambda log_p_n, at: (
                    weights_N[at] * sampled_token_divergence(kind, log_p_n, log_q_N[at])
                ).sum(),
                temperature,
            )
            output = self._sampled_pass(states_NH, sampled)
            log_p_N, entropy_N = output.sampled_log_prob_T, output.sampled_entropy_T
            assert log_p_N is not None and entropy_N is not None
            values_N = sampled_token_divergence(kind, log_p_N, log_q_N)
            found["entropy_sum"] = entropy_N.sum()
            loss = output.loss
        else:
            values_N = top_k_divergence(
                states_NH,
                reference,
                self.head.weight_VH,
                kind=kind,
                support=settings.support,
                top_k=settings.top_k,
                temperature=temperature,
                jsd_weight=settings.jsd_weight,
                teacher_head_weight_VH=tokens.reference_head_VH,
                logit_map=self.head.logit_map,
            )
            loss = (weights_N * values_N).sum()
        found |= {"divergence_sum": values_N.detach().sum(), "loss": loss.detach()}
        return loss, found

    # ------------------------------------------------------------------ sampled tokens

    def _log_probs(
        self, states_NH: Tensor, rows_N: Tensor, temperature: float, own_head: Tensor | None = None
    ) -> Tensor:
        sampled = SampledTokens(self.request.tokens.token_ids_T[rows_N], temperature=temperature)
        found_N = self._sampled_pass(states_NH.detach(), sampled, own_head).sampled_log_prob_T
        assert found_N is not None
        return found_N

    def _sampled_pass(
        self, states_NH: Tensor, sampled: SampledTokens, own_head: Tensor | None = None
    ) -> DivergenceOutput:
        weight_VH = self.head.weight_VH if own_head is None else own_head
        return sampled_token_loss(states_NH, weight_VH, sampled, logit_map=self.head.logit_map)

    def _sampled_alone(self, rows_N: Tensor) -> Tensor:
        """Policy gradient and nll of both views' tokens that no divergence came by."""
        sampled = self._sampled_tokens(rows_N)
        assert sampled is not None
        states_NH = self.states_TH.index_select(0, rows_N)
        output = self._sampled_pass(states_NH, SampledTokens(
            sampled.ids_T, sampled.loss, sampled.temperature
        ))  # fmt: skip
        self._keep(rows_N, output)
        return output.loss

    def _keep(self, rows_N: Tensor, output: DivergenceOutput) -> None:
        assert output.sampled_log_prob_T is not None and output.sampled_entropy_T is not None
        self.log_prob_T[rows_N] = output.sampled_log_prob_T.to(self.log_prob_T)
        self.entropy_T[rows_N] = output.sampled_entropy_T.to(self.entropy_T)

    def _terms(self, log_prob_N: Tensor, rows_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Policy gradient and nll of these tokens, and the sums that are reported."""
        tokens, settings = self.request.tokens, self.request.settings
        loss, found = log_prob_N.new_zeros(()), {}
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
        return loss, found

    # ------------------------------------------------------------------ metrics

    def _report_sampled(self) -> None:
        """Of every trained token, view by view, from what the passes left."""
        for number, view in enumerate(VIEWS):
            of_view_T = self.trained_T & (self.request.tokens.view_T == number)
            rows_N = of_view_T.nonzero(as_tuple=True)[0]
            if len(rows_N):
                found = self._terms(self.log_prob_T[rows_N], rows_N)[1]
                found["sampled/entropy_sum"] = self.entropy_T[rows_N].sum()
                self.metrics.update({PREFIX[view] + k: value for k, value in found.items()})

    def _report(self, prefix: str, found: dict[str, Tensor]) -> None:
        self.metrics.update({f"{prefix}/{name}": value for name, value in found.items()})


def _sums(output: DivergenceOutput) -> dict[str, Tensor]:
    """What is reported of a divergence."""
    assert output.weights_T is not None
    found = {
        "loss": (output.weights_T * output.per_token_T).sum(),
        "divergence_sum": output.per_token_T.sum(),
    }
    for name, value_N in (
        ("entropy_sum", output.entropy_T),
        ("kl_own_sum", output.kl_student_T),
        ("kl_other_sum", output.kl_teacher_T),
    ):
        assert value_N is not None  # token ids were given
        found[name] = value_N.sum()
    return found


def _ratios(corrected_N: Tensor, weights_N: Tensor) -> dict[str, Tensor]:
    ratio_N = corrected_N / weights_N
    return {"ratio_sum": ratio_N.sum(), "ratio_squared_sum": ratio_N.square().sum()}
