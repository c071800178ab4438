"""The three loss terms: literals worked by hand, invariances, NaN where nothing is visited."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from algorithms.terms import (
    Term,
    add_metrics,
    distill,
    distill_weights,
    nll,
    normalise,
    policy_gradient,
    policy_metrics,
    term_count,
    token_weights,
)

LOG = math.log
# ratio, advantage, objective, d objective / d log_prob, with bounds [0.8, 1.3]
CASES = [
    (1.0, 2.0, 2.0, 2.0),
    (1.5, 2.0, 2.6, 0.0),  # clipped above
    (1.5, -2.0, -3.0, -3.0),  # a bad token that became likelier is still pushed down
    (0.5, 2.0, 1.0, 1.0),  # a good token that became rarer is still pushed up
    (0.5, -2.0, -1.6, 0.0),  # clipped below
    (1.2, 0.0, 0.0, 0.0),
]


def inputs(cases=CASES):
    ratio, advantage, value, slope = (
        torch.tensor(x, dtype=torch.float64) for x in zip(*cases, strict=True)
    )
    old = torch.linspace(-3.0, -0.5, len(cases), dtype=torch.float64)
    return (old + ratio.log()).requires_grad_(), old, advantage, value, slope


def clipped(log_prob, old, advantage, weights):
    return policy_gradient(log_prob, old, advantage, weights, clip_low=0.2, clip_high=0.3)


def test_policy_gradient_by_hand():
    log_prob, old, advantage, value, slope = inputs()
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0], dtype=torch.float64)
    term = clipped(log_prob, old, advantage, weights)
    assert term.total.item() == pytest.approx(-(weights * value).sum().item(), abs=1e-12)
    term.total.backward()
    torch.testing.assert_close(log_prob.grad, -weights * slope)


def test_policy_metrics_by_hand():
    log_prob, old, advantage, _, _ = inputs()
    metrics = policy_metrics(clipped(log_prob, old, advantage, torch.ones(6)).metrics)
    ratios = [1.0, 1.5, 1.5, 0.5, 0.5, 1.2]
    assert metrics == pytest.approx(
        {
            "clip_fraction": 2 / 6,
            "clip_fraction_low": 1 / 6,
            "clip_fraction_high": 1 / 6,
            "ratio_mean": sum(ratios) / 6,
            "approx_kl": sum(r - 1 - LOG(r) for r in ratios) / 6,
            "effective_sample_size": sum(ratios) ** 2 / (6 * sum(r * r for r in ratios)),
        }
    )


def test_effective_sample_size_is_one_for_the_same_policy():
    old = torch.tensor([-1.0, -2.0])
    term = policy_gradient(old, old, torch.ones(2), torch.ones(2))
    assert policy_metrics(term.metrics)["effective_sample_size"] == 1.0


def test_old_log_probs_and_advantages_are_constants():
    new, old, advantage = (torch.zeros(3, requires_grad=True) for _ in range(3))
    policy_gradient(new, old, advantage, torch.ones(3)).total.backward()
    assert new.grad is not None
    assert old.grad is None and advantage.grad is None


def test_nll_and_distill_by_hand():
    values = torch.tensor([0.5, 2.0, 4.0], requires_grad=True)
    weights = torch.tensor([1.0, 0.0, 0.25])
    for term, sign, name in (
        (distill(values, weights), 1, "divergence"),
        (nll(values, weights), -1, "nll"),
    ):
        assert term.total.item() == pytest.approx(sign * 1.5)
        (grad,) = torch.autograd.grad(term.total, values)
        assert torch.equal(grad, sign * weights)
        assert term.metrics["tokens"] == 2
        assert term.metrics[name].item() == pytest.approx(sign * 4.5)


TERMS: dict[str, Callable[[Tensor, Tensor], Term]] = {
    "policy_gradient": lambda x, w: policy_gradient(x, x.detach() - 0.1, torch.ones_like(x), w),
    "distill": distill,
    "nll": nll,
}


@pytest.mark.parametrize("name", TERMS)
def test_nan_at_unvisited_positions_changes_nothing(name):
    mask = torch.tensor([[1, 0, 1], [0, 0, 1]])
    clean = torch.arange(6.0).reshape(2, 3) - 7.0
    results = []
    for filling in (0.0, math.nan, math.inf):
        values = clean.masked_fill(mask == 0, filling).requires_grad_()
        term = TERMS[name](values, mask)
        term.total.backward()
        results.append((term.total, values.grad, *term.metrics.values()))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert (results[0][1][mask == 0] == 0).all()


@pytest.mark.parametrize("name", TERMS)
def test_no_token_is_a_zero_that_touches_the_graph(name):
    values = torch.full((3,), math.nan, requires_grad=True)
    total = normalise(TERMS[name](values, torch.zeros(3)).total, 0)
    assert total.item() == 0.0
    total.backward()
    assert (values.grad == 0).all()


@pytest.mark.parametrize("name", TERMS)
def test_bfloat16_is_summed_in_float32(name):
    values = torch.full((4096,), -0.01, dtype=torch.bfloat16, requires_grad=True)
    term = TERMS[name](values, torch.ones(4096))
    assert term.total.dtype == torch.float32
    exact = TERMS[name](values.detach().double().requires_grad_(), torch.ones(4096)).total
    assert term.total.item() == pytest.approx(exact.item(), rel=1e-2)


@given(seed=st.integers(0, 2**31 - 1), cut=st.integers(0, 6), padding=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_micro_batches_padding_and_packing_change_nothing(seed, cut, padding):
    generator = torch.Generator().manual_seed(seed)
    log_prob, old, advantage = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    mask = torch.rand(6, 4, generator=generator) < 0.6
    count = term_count(mask)
    whole = policy_gradient(log_prob, old, advantage, mask)
    halves = [
        policy_gradient(log_prob[p], old[p], advantage[p], mask[p])
        for p in (slice(0, cut), slice(cut, 6))
    ]
    new_2, old_2, advantage_2 = (
        pad(x, (0, padding), value=math.nan) for x in (log_prob, old, advantage)
    )
    padded = policy_gradient(new_2, old_2, advantage_2, pad(mask, (0, padding)))
    packed = policy_gradient(log_prob[mask], old[mask], advantage[mask], mask[mask])
    expected = normalise(whole.total, count)
    split = sum(normalise(half.total, count) for half in halves)
    for other in (split, normalise(padded.total, count), normalise(packed.total, count)):
        torch.testing.assert_close(other, expected)
    sums = add_metrics(half.metrics for half in halves)
    assert policy_metrics(sums) == pytest.approx(policy_metrics(whole.metrics))


def test_token_and_sequence_mean_by_hand():
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    values = torch.tensor([[4.0] * 4, [1.0] * 4, [9.0] * 4], requires_grad=True)
    means = {
        mode: normalise(
            distill(values, token_weights(mask, mode)).total, term_count(mask, mode)
        ).item()
        for mode in ("token_mean", "sequence_mean")
    }
    assert means == pytest.approx({"token_mean": 17 / 5, "sequence_mean": 5 / 2})
    assert (term_count(mask), term_count(mask, "sequence_mean")) == (5, 2)


def test_packed_sequence_mean_equals_padded():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    ids = torch.tensor([7, 7, 7, 3, 3, 3, 9, 9, 9])
    padded = token_weights(mask, "sequence_mean")
    packed = token_weights(mask.flatten(), "sequence_mean", sequence_ids_T=ids)
    assert torch.equal(packed, padded.flatten())
    assert term_count(mask.flatten(), "sequence_mean", sequence_ids_T=ids) == 3


def test_ranks_that_average_gradients():
    total = torch.tensor(6.0)
    assert normalise(total, 4).item() == 1.5
    assert normalise(total, 4, averaging_ranks=2).item() == 3.0


def test_distill_weights():
    mask = torch.tensor([1, 1, 0, 1])
    assert distill_weights(mask, 0.5).tolist() == [0.5, 0.5, 0.0, 0.5]
    new = torch.tensor([LOG(0.5), LOG(0.9), math.nan, LOG(0.1)], requires_grad=True)
    old = torch.tensor([LOG(0.5), LOG(0.1), math.nan, LOG(0.2)])
    weights = distill_weights(mask, 0.5, log_prob_T=new, behaviour_log_prob_T=old, max_ratio=3.0)
    assert weights.tolist() == pytest.approx([0.5, 1.5, 0.0, 0.25])
    assert not weights.requires_grad


X = torch.zeros(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: policy_gradient(X, X, X, torch.ones(4)),
        lambda: policy_gradient(X, X, X, X, clip_low=1.1),
        lambda: policy_gradient(X, X, X, X, clip_high=-0.1),
        lambda: nll(X, torch.ones(1, 3)),
        lambda: normalise(X.sum(), -1),
        lambda: token_weights(X, "mean"),
        lambda: token_weights(X, "sequence_mean"),
        lambda: token_weights(X, "sequence_mean", sequence_ids_T=torch.zeros(4)),
        lambda: distill_weights(X, log_prob_T=X),
        lambda: distill_weights(X, log_prob_T=X, behaviour_log_prob_T=X, max_ratio=0.0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError):
        call()
