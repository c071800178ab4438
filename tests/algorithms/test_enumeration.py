"""Every objective by enumeration: three tokens, two positions, all nine responses, all 81 pairs.

The estimator's mean over everything that can be sampled is set against the gradient of the
objective itself, written down from the paper's formulas and differentiated by autograd in float64.
Centring a reward within a group of K takes the response's own share out of its mean, a factor
1 - 1/K on the policy gradient that is common to all tasks and changes no direction.
"""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
from torch import Tensor

from algorithms.base import VIEWS, Trajectory
from algorithms.divergence import divergence_loss
from algorithms.grpo import GRPO
from algorithms.opsd import OPSD
from algorithms.pi_distill import PiDistill, StudentObjective, TeacherObjective
from algorithms.retry_sft import RetrySFT
from algorithms.sft import SFT
from algorithms.terms import nll, policy_gradient

V, H, T, K = 3, 4, 2, 2
RESPONSES = list(itertools.product(range(V), repeat=T))
BETA = 0.7


class Policy:
    """Both views of one model: a hidden state from view and prefix, and a shared head."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(3)
        shapes = {"view": (2, H), "token": (V, H), "head": (V, H)}
        self.weights = {
            name: torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()
            for name, shape in shapes.items()
        }

    @cache  # noqa: B019 - the tests ask for few policies
    def hidden(self, view: str, response: tuple[int, ...]) -> Tensor:
        """[T, H]: the states that predict the response's tokens."""
        start = self.weights["view"][VIEWS.index(view)]
        steps = [start]
        for token in response[:-1]:
            steps.append(steps[-1] + self.weights["token"][token])
        return torch.tanh(torch.stack(steps))

    @cache  # noqa: B019 - the tests ask for few policies
    def log_p(self, view: str, response: tuple[int, ...]) -> Tensor:
        """[T, V]"""
        return (self.hidden(view, response) @ self.weights["head"].t()).log_softmax(-1)

    @cache  # noqa: B019 - the tests ask for few policies
    def token_log_p(self, view: str, response: tuple[int, ...]) -> Tensor:
        return self.log_p(view, response).gather(1, torch.tensor(response).unsqueeze(1)).squeeze(1)

    def probability(self, view: str, response: tuple[int, ...]) -> Tensor:
        return self.token_log_p(view, response).sum().exp()

    @cache  # noqa: B019 - the tests ask for few policies
    def kl(self, view: str, response: tuple[int, ...]) -> Tensor:
        """[T]: KL(this view || the other) at the positions that the response visits."""
        other = "teacher" if view == "student" else "student"
        log_p, log_q = self.log_p(view, response), self.log_p(other, response).detach()
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    def gradients(self, value: Tensor) -> Tensor:
        """One vector; zeros where the value does not depend on a weight."""
        weights = list(self.weights.values())
        found = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
        pairs = zip(found, self.weights.values(), strict=True)
        return torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in pairs])


def score(response: tuple[int, ...]) -> float:
    """Any table will do, if no two views like it alike."""
    return {0: 0.0, 1: 1.0, 2: 0.25}[response[1]] * (0.5 + response[0] / 4)


@pytest.fixture
def policy() -> Policy:
    return Policy()


def sampled(policy: Policy, view: str, responses) -> list[Trajectory]:
    return [
        Trajectory(
            "task",
            T,
            score=score(r),
            has_privileged=True,
            sampled_view=view,  # pyright: ignore[reportArgumentType]
            sequence_kl=float(policy.kl(view, r).sum().detach()),
        )
        for r in responses
    ]


def loss(policy: Policy, algorithm, responses, view: str) -> Tensor:
    """What the worker computes for one group: every term a mean over its own tokens."""
    rows, _ = algorithm.rows(sampled(policy, view, responses))
    settings = algorithm.loss_settings()
    total = policy.weights["head"].sum() * 0.0
    for own, kind in zip(VIEWS, (settings.divergence, settings.teacher_divergence), strict=True):
        other = "teacher" if own == "student" else "student"
        mine = [row for row in rows if row.view == own]
        for row in mine:
            response = responses[row.trajectory]
            counts = {t: T * sum(bool(getattr(r, t)) for r in mine) for t in TERMS}
            new, ones = policy.token_log_p(own, response), torch.ones(T, dtype=torch.float64)
            if row.policy_gradient:
                old = policy.token_log_p(view, response).detach()
                weights = ones * row.policy_gradient / counts["policy_gradient"]
                unclipped = {"clip_low": 1.0, "clip_high": 1e9}  # for exact means
                term = policy_gradient(new, old, ones * row.advantage, weights, **unclipped)
                total = total + term.total
            if row.nll:
                total = total + nll(new, ones * row.nll / counts["nll"]).total
            if row.distill:
                head = policy.weights["head"]
                states = policy.hidden(own, response), policy.hidden(other, response).detach()
                weights = ones * row.distill / counts["distill"]
                total = total + divergence_loss(*states, head, kind=kind, weights_T=weights).loss
    return total


TERMS = ("policy_gradient", "distill", "nll")


def mean_gradient(policy: Policy, algorithm, view: str) -> Tensor:
    """-grad of the loss, over all pairs of responses as often as they are sampled."""
    parts = []
    for pair in itertools.combinations_with_replacement(RESPONSES, K):
        orders = 1 if pair[0] == pair[1] else 2
        chance = torch.stack([policy.probability(view, r) for r in pair]).prod().detach()
        parts.append(orders * chance * loss(policy, algorithm, pair, view))
    return -policy.gradients(torch.stack(parts).sum())


def expectation(policy: Policy, view: str, value) -> Tensor:
    """E over what ``view`` samples; its probability carries a gradient."""
    return torch.stack([policy.probability(view, r) * value(r) for r in RESPONSES]).sum()


def local(policy: Policy, sampler: str, value) -> Tensor:
    """The same, but what is sampled is constant: the gradient at visited positions alone."""
    chances = [policy.probability(sampler, r).detach() for r in RESPONSES]
    parts = zip(chances, RESPONSES, strict=True)
    return torch.stack([chance * value(r) for chance, r in parts]).sum()


def forward_kl(policy: Policy, response) -> Tensor:
    """KL(sg teacher || student) at the positions that the response visits, summed."""
    log_t, log_s = policy.log_p("teacher", response).detach(), policy.log_p("student", response)
    return (log_t.exp() * (log_t - log_s)).sum()


CENTRED = (1 - 1 / K) / T  # the policy gradient's common factor; a mean over T tokens


def close(found: Tensor, wanted: Tensor) -> bool:
    assert float(wanted.abs().max()) > 1e-3, "nothing to compare"
    return torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_grpo_is_the_gradient_of_the_expected_reward(policy):
    wanted = CENTRED * policy.gradients(expectation(policy, "student", score))
    assert close(mean_gradient(policy, GRPO(), "student"), wanted)


@pytest.mark.parametrize("reward_weight", [0.0, 1.5])
def test_opsd_with_the_kl_in_the_loss(policy, reward_weight):
    """Eq. 5; the KL's gradient is taken at the positions visited, through the student alone."""
    algorithm = OPSD(reward_weight=reward_weight, distill_weight=BETA)
    kl = local(policy, "student", lambda r: policy.kl("student", r).sum()) / T
    wanted = -BETA * policy.gradients(kl)
    if reward_weight:
        wanted = wanted + reward_weight * CENTRED * policy.gradients(
            expectation(policy, "student", score)
        )
    assert close(mean_gradient(policy, algorithm, "student"), wanted)


def test_opsd_with_the_kl_in_the_reward(policy):
    """Algorithm 2: a reward less the sequence's KL, which is a number and has no gradient."""
    algorithm = OPSD(reward_weight=1.0, distill_weight=BETA, kl_placement="reward")
    value = expectation(
        policy, "student", lambda r: score(r) - BETA * policy.kl("student", r).sum().detach()
    )
    found = mean_gradient(policy, algorithm, "student")
    assert close(found, CENTRED * policy.gradients(value))


def test_both_placements_together_are_the_whole_gradient_of_the_sequence_kl(policy):
    """d E[sum KL_t] = (what the loss placement takes) + (what the reward placement takes)."""
    whole = expectation(policy, "student", lambda r: policy.kl("student", r).sum())
    in_loss = OPSD(distill_weight=1.0)
    in_reward = OPSD(distill_weight=1.0, kl_placement="reward")
    parts = T * mean_gradient(policy, in_loss, "student")
    parts = parts + mean_gradient(policy, in_reward, "student") / CENTRED
    assert close(parts, -policy.gradients(whole))


def teacher_gradient(policy: Policy, placement: str) -> Tensor:
    """Eq. 2."""
    if placement == "loss":
        value = CENTRED * expectation(policy, "teacher", score)
        value = value - BETA * local(policy, "teacher", lambda r: policy.kl("teacher", r).sum()) / T
        return policy.gradients(value)
    return policy.gradients(CENTRED * expectation(policy, "teacher", lambda r: _net(policy, r)))


def student_gradient(policy: Policy, placement: str) -> Tensor:
    """Eq. 3: token ratios whose denominator is constant; the student's probability alone moves."""

    def weighed(reward):
        def value(r):
            ratio = (
                policy.token_log_p("student", r) - policy.token_log_p("teacher", r).detach()
            ).exp()
            return ratio.sum() * reward(r)

        return value

    if placement == "loss":
        rewarded = local_centred(policy, weighed(lambda r: 1.0), score)
        kl = local(policy, "teacher", lambda r: forward_kl(policy, r)) / T
        return policy.gradients(rewarded - BETA * kl)
    return policy.gradients(
        local_centred(policy, weighed(lambda r: 1.0), lambda r: float(_net(policy, r)))
    )


def local_centred(policy: Policy, surrogate, reward) -> Tensor:
    """Mean over pairs of the surrogate times the reward less the pair's mean, per token."""
    mean = float(local(policy, "teacher", lambda r: torch.tensor(float(reward(r)))))
    value = local(policy, "teacher", lambda r: surrogate(r) * (float(reward(r)) - mean))
    return (1 - 1 / K) * value / T


def _net(policy: Policy, response) -> Tensor:
    return score(response) - BETA * policy.kl("teacher", response).sum().detach()


@pytest.mark.parametrize("placement", ["loss", "reward"])
def test_the_teachers_objective(policy, placement):
    algorithm = TeacherObjective(kl_weight=BETA, kl_placement=placement)
    found = mean_gradient(policy, algorithm, "teacher")
    assert close(found, teacher_gradient(policy, placement))


@pytest.mark.parametrize("placement", ["loss", "reward"])
def test_the_students_objective(policy, placement):
    algorithm = StudentObjective(kl_weight=BETA, kl_placement=placement)
    found = mean_gradient(policy, algorithm, "teacher")
    assert close(found, student_gradient(policy, placement))


@pytest.mark.parametrize("placement", ["loss", "reward"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_pi_distill_is_the_weighted_sum_of_both(policy, alpha, placement):
    """Eq. 4."""
    algorithm = PiDistill(alpha=alpha, kl_weight=BETA, kl_placement=placement)
    wanted = alpha * teacher_gradient(policy, placement)
    wanted = wanted + (1 - alpha) * student_gradient(policy, placement)
    assert close(mean_gradient(policy, algorithm, "teacher"), wanted)


def test_sft_is_the_likelihood_of_what_is_given(policy):
    value = torch.stack([policy.token_log_p("student", r).sum() for r in RESPONSES]).mean() / T
    found = -policy.gradients(loss(policy, SFT(), RESPONSES, "student"))
    assert close(found, policy.gradients(value))


def test_self_sft_is_the_likelihood_of_what_passed(policy):
    passed = [r for r in RESPONSES if score(r) >= 0.5]
    assert 1 < len(passed) < len(RESPONSES)
    value = torch.stack([policy.token_log_p("student", r).sum() for r in passed]).mean() / T
    algorithm = RetrySFT(threshold=0.5, per_task=len(RESPONSES))
    found = -policy.gradients(loss(policy, algorithm, RESPONSES, "student"))
    assert close(found, policy.gradients(value))
