"""Losses of sampled tokens in the same pass, and what models do behind their head."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from algorithms.divergence import (
    KINDS,
    LogitMap,
    SampledTokens,
    divergence_loss,
    sampled_token_loss,
)

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=20, deadline=None)
T, H, V = 7, 5, 11
MAPS = [LogitMap(), LogitMap(scale=0.3), LogitMap(cap=1.5), LogitMap(scale=2.0, cap=0.7)]


def make(seed: int, dtype=torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """student, teacher, head, weights, ids."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher, head = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((T, H), (T, H), (V, H))
    )
    weights = torch.randn(T, generator=generator, dtype=torch.float64).to(dtype)
    ids = torch.randint(V, (T,), generator=generator)
    return student.requires_grad_(), teacher, head.requires_grad_(), weights, ids


def logits(hidden: Tensor, head: Tensor, of: LogitMap) -> Tensor:
    z = of.scale * hidden @ head.t()
    return z if of.cap is None else of.cap * torch.tanh(z / of.cap)


def brute_force(student, teacher, head, weights, kind, of: LogitMap, temperature=1.0, w=0.5):
    log_p = (logits(student, head, of) / temperature).log_softmax(-1)
    log_q = (logits(teacher, head.detach(), of) / temperature).log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    log_m = (w * q + (1 - w) * p).log()
    per_token = {
        "reverse_kl": p * (log_p - log_q),
        "forward_kl": q * (log_q - log_p),
        "jsd": w * q * (log_q - log_m) + (1 - w) * p * (log_p - log_m),
    }[kind]
    return (per_token.sum(-1) * weights).sum()


def clipped(factors: Tensor, old: Tensor):
    """A loss with a bound, as the policy gradient has one."""

    def loss(log_prob_n: Tensor, rows_n: Tensor) -> Tensor:
        ratio = (log_prob_n - old[rows_n]).exp()
        return -(factors[rows_n] * torch.minimum(ratio, ratio.clamp(0.8, 1.2))).sum()

    return loss


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return [g.clone() for g in torch.autograd.grad(loss, of)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", MAPS)
@FEW
@given(seed=SEEDS, chunk=st.integers(1, T), temperatures=st.sampled_from([(1.0, 1.0), (0.7, 1.3)]))
def test_both_terms_equal_brute_force(kind, of, seed, chunk, temperatures):
    student, teacher, head, weights, ids = make(seed)
    at, sampled_at = temperatures
    old = torch.randn(T, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 2
    token_loss = clipped(weights.flip(0), old)
    out = divergence_loss(
        student, teacher, head, kind=kind, weights_T=weights, temperature=at, chunk_tokens=chunk,
        sampled=SampledTokens(ids, token_loss, sampled_at), logit_map=of,
    )  # fmt: skip
    log_p = (logits(student, head, of) / sampled_at).log_softmax(-1)
    log_prob = log_p.gather(1, ids[:, None]).squeeze(1)
    expected = brute_force(student, teacher, head, weights, kind, of, at)
    expected = expected + token_loss(log_prob, torch.arange(T))
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(out.sampled_log_prob_T, log_prob.detach())
    torch.testing.assert_close(out.sampled_entropy_T, -(log_p.exp() * log_p).sum(-1).detach())
    for found, wanted in zip(
        gradients(out.loss, student, head), gradients(expected, student, head), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("of", MAPS)
@pytest.mark.parametrize("chunk", [2, "auto"])
def test_sampled_tokens_alone_equal_brute_force(of, chunk):
    student, _, head, weights, ids = make(3)
    mask = torch.tensor([1, 1, 0, 1, 0, 1, 1])
    sampled = SampledTokens(ids, lambda log_prob, rows: -(weights[rows] * log_prob).sum(), 0.7)
    out = sampled_token_loss(student, head, sampled, mask_T=mask, chunk_tokens=chunk, logit_map=of)
    log_p = (logits(student, head, of) / 0.7).log_softmax(-1)
    expected = -(weights * mask * log_p.gather(1, ids[:, None]).squeeze(1)).sum()
    torch.testing.assert_close(out.loss, expected)
    for found, wanted in zip(
        gradients(out.loss, student, head), gradients(expected, student, head), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    assert not out.per_token_T.any()


def test_gradcheck_of_both_terms():
    student, teacher, head, weights, ids = make(5)
    own_head = head.detach().clone()  # gradcheck changes the other in place
    sampled = SampledTokens(ids, lambda log_prob, rows: (weights[rows] * log_prob.exp()).sum(), 0.9)

    def loss(hidden: Tensor, of_head: Tensor) -> Tensor:
        return divergence_loss(
            hidden, teacher, of_head, weights_T=weights, sampled=sampled, temperature=1.2,
            teacher_head_weight_VH=own_head, logit_map=LogitMap(1.3, 2.0),
        ).loss  # fmt: skip

    assert torch.autograd.gradcheck(loss, (student, head))


@pytest.mark.parametrize("autocast", [False, True])
def test_given_logits_are_taken_as_they_are(autocast):
    """In float32 whatever autocast says; -inf is an entry that is never drawn."""
    student, teacher, head, weights, ids = make(6, torch.float32)
    given, of_teacher = (
        (hidden @ head.t()).detach().requires_grad_() for hidden in (student, teacher)
    )
    with torch.no_grad():
        given[:, 3], of_teacher[:, 3] = -torch.inf, -torch.inf
    ids = torch.where(ids == 3, 4, ids)
    sampled = SampledTokens(ids, lambda log_prob, rows: -(weights[rows] * log_prob).sum())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = divergence_loss(given, of_teacher, None, weights_T=weights, sampled=sampled)
    (found,) = gradients(out.loss, given)
    keep = [i for i in range(V) if i != 3]
    of_kept = given.detach()[:, keep].requires_grad_()
    log_p = of_kept.log_softmax(-1)
    log_q = of_teacher.detach()[:, keep].log_softmax(-1)
    log_prob = given.log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    expected = ((log_p.exp() * (log_p - log_q)).sum(-1) * weights).sum()
    (wanted,) = gradients(expected, of_kept)
    (of_sampled,) = gradients(-(weights * log_prob).sum(), given)
    torch.testing.assert_close(out.loss, expected.detach() - (weights * log_prob.detach()).sum())
    torch.testing.assert_close(found[:, keep], wanted + of_sampled[:, keep])
    assert not found[:, 3].any()


def test_both_terms_and_a_correction_at_once():
    student, teacher, head, weights, ids = make(8)
    old = torch.linspace(-4, -1, T, dtype=torch.float64)

    def reweight(log_prob: Tensor, rows: Tensor) -> Tensor:
        return (log_prob - old[rows]).exp().clamp(max=2.0)

    out = divergence_loss(
        student, teacher, head, weights_T=weights, chunk_tokens=3,
        sampled=SampledTokens(ids, clipped(weights, old), 0.8, reweight),
    )  # fmt: skip
    log_prob = (student @ head.t() / 0.8).log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    corrected = weights * reweight(log_prob.detach(), torch.arange(T))
    expected = brute_force(student, teacher, head, corrected, "reverse_kl", LogitMap())
    expected = expected + clipped(weights, old)(log_prob, torch.arange(T))
    torch.testing.assert_close(out.loss, expected)
    for found, wanted in zip(
        gradients(out.loss, student, head), gradients(expected, student, head), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_corrected_weights_are_constants():
    student, teacher, head, weights, ids = make(7)
    old = torch.linspace(-4, -1, T, dtype=torch.float64)
    reweight = lambda log_prob, rows: (log_prob - old[rows]).exp().clamp(max=2.0)  # noqa: E731
    out = divergence_loss(
        student, teacher, head, weights_T=weights, chunk_tokens=3,
        sampled=SampledTokens(ids, reweight=reweight),
    )  # fmt: skip
    log_prob = (student @ head.t()).log_softmax(-1).gather(1, ids[:, None]).squeeze(1).detach()
    corrected = weights * (log_prob - old).exp().clamp(max=2.0)
    torch.testing.assert_close(out.weights_T, corrected)
    plain = divergence_loss(student, teacher, head, weights_T=corrected)
    torch.testing.assert_close(out.loss, plain.loss)
    for found, wanted in zip(
        gradients(out.loss, student, head), gradients(plain.loss, student, head), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_no_token_that_counts_is_a_zero_of_the_graph():
    student, _, head, _, ids = make(1)
    sampled = SampledTokens(ids, lambda log_prob, rows: log_prob.new_zeros(()))
    for mask in (None, torch.zeros(T)):
        out = sampled_token_loss(student, head, sampled, mask_T=mask)
        assert out.loss.item() == 0.0
        assert all(not g.any() for g in gradients(out.loss, student, head))


def test_only_values_where_there_is_no_loss():
    student, _, head, _, ids = make(2)
    out = sampled_token_loss(student, head, SampledTokens(ids))
    assert not out.loss.requires_grad
    wanted = (student @ head.t()).log_softmax(-1).gather(1, ids[:, None]).squeeze(1).detach()
    torch.testing.assert_close(out.sampled_log_prob_T, wanted)


@pytest.mark.parametrize("of", MAPS[2:])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_capped_logits_and_padding_stay_finite(of, dtype):
    student, teacher, head, weights, ids = make(4, dtype)
    with torch.no_grad():
        head[-2:] = -torch.inf
    ids = ids % (V - 2)
    sampled = SampledTokens(ids, lambda log_prob, rows: -log_prob.sum())
    out = divergence_loss(
        student, teacher, head, weights_T=weights.float(), sampled=sampled, logit_map=of
    )
    hidden_grad, head_grad = gradients(out.loss, student, head)
    assert out.loss.isfinite() and hidden_grad.isfinite().all() and head_grad.isfinite().all()
    assert not head_grad[-2:].any() and head_grad[:-2].any()


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": float("inf")}, {"cap": -1.0}])
def test_a_map_without_meaning_is_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        LogitMap(**wrong)


def test_a_model_configuration_gives_its_map():
    assert LogitMap.of({}) == LogitMap.of({"final_logit_softcapping": None}) == LogitMap()
    assert LogitMap.of({"final_logit_softcapping": 30.0}) == LogitMap(cap=30.0)
    assert LogitMap.of({"logit_scale": 0.0625}) == LogitMap(scale=0.0625)
    assert LogitMap.of({"logits_scaling": 8.0}) == LogitMap(scale=0.125)
