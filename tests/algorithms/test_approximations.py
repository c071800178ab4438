"""Top-k and sampled-token divergences against the exact one, and the trap of k1."""

from __future__ import annotations

import pytest
import torch

from algorithms.approximations import (
    check_divergence,
    sampled_token_divergence,
    top_k_divergence,
)
from algorithms.divergence import divergence_loss
from algorithms.divergence.kinds import KINDS

T, H, V = 7, 5, 13


@pytest.fixture
def states():
    torch.manual_seed(0)
    shapes = ((T, H), (T, H), (V, H))
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def exact(states, kind):
    return divergence_loss(*states, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("support", ["student", "teacher"])
def test_with_the_whole_vocabulary_it_is_the_exact_divergence(states, kind, support):
    found = top_k_divergence(*states, kind=kind, support=support, top_k=V + 5, chunk_tokens=3)
    truth = exact(states, kind)
    assert torch.allclose(found.double(), truth.per_token_T, atol=1e-6)
    ours = torch.autograd.grad(found.sum(), states, allow_unused=True)
    theirs = torch.autograd.grad(truth.loss, states, allow_unused=True)
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert torch.allclose(ours[2], theirs[2], atol=1e-5)
    assert ours[1] is None  # the teacher is a constant


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("support", ["student", "teacher"])
def test_a_tail_bucket_only_loses(states, kind, support):
    whole = exact(states, kind).per_token_T
    values = [top_k_divergence(*states, kind=kind, support=support, top_k=k) for k in (1, 4, 12)]
    for value in values:
        assert bool((value >= -1e-6).all()) and bool((value.double() <= whole + 1e-6).all())
    assert bool((values[0] <= values[1] + 1e-6).all())


def test_no_tokens_are_a_zero_of_the_graph(states):
    student, teacher, head = states
    found = top_k_divergence(student[:0], teacher[:0], head)
    assert found.shape == (0,)
    found.sum().backward()


def test_k2s_mean_gradient_is_that_of_the_reverse_kl(states):
    student, teacher, head = states
    truth = torch.autograd.grad(exact(states, "reverse_kl").loss, student)[0]
    log_p, log_q = ((h @ head.detach().t()).log_softmax(-1) for h in (student, teacher.detach()))
    p = log_p.exp().detach()
    columns = zip(p.T, log_p.T, log_q.T, strict=True)
    values = [pv * sampled_token_divergence("k2", lp, lq) for pv, lp, lq in columns]
    mean = torch.stack(values).sum()
    assert torch.allclose(torch.autograd.grad(mean, student)[0], truth, atol=1e-10)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(states, kind):
    student, teacher, head = (s.detach() for s in states)
    log_p, log_q = ((h @ head.t()).log_softmax(-1) for h in (student, teacher))
    mean = (log_p.exp() * sampled_token_divergence(kind, log_p, log_q)).sum(-1)
    assert torch.allclose(mean, exact((student, teacher, head), "reverse_kl").per_token_T)
    if kind == "k3":
        assert bool((sampled_token_divergence(kind, log_p, log_q) >= 0).all())


def test_k1_as_a_loss_would_not_depend_on_the_teacher_and_is_refused(states):
    student, teacher, head = states
    log_p, log_q = ((h @ head.detach().t()).log_softmax(-1) for h in (student, teacher.detach()))
    gradients = [
        torch.autograd.grad((log_p - other)[:, 0].sum(), student, retain_graph=True)[0]
        for other in (log_q, torch.zeros_like(log_q))
    ]
    assert torch.equal(*gradients)  # the trap
    with pytest.raises(ValueError, match="score function"):
        sampled_token_divergence("k1", log_p[:, 0], log_q[:, 0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("k1",), "kl_placement=reward"),
        (("l2",), "unknown divergence"),
        (("k2", "student"), "support=full"),
        (("jsd", "both"), "unknown support"),
        (("jsd", "student", 0), "top_k"),
    ],
)
def test_refusals_name_the_mend(arguments, words):
    with pytest.raises(ValueError, match=words):
        check_divergence(*arguments)
