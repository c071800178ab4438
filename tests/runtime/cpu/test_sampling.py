"""The sampler: what it draws, with which log-prob, and which requests it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from algorithms.runtime.cpu.sampling import SamplingError, SamplingParams, sample, uniforms

ROWS = 20_000


def draw(logits_V: torch.Tensor, rows: int = ROWS, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
    params = SamplingParams(max_tokens=1, **kwargs)
    return sample(logits_V.expand(rows, -1), [params] * rows, uniforms(3, rows).tolist())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_tempered_distribution(temperature):
    logits_V = torch.linspace(-1, 2, 300)[torch.randperm(300, generator=torch.manual_seed(0))]
    tokens, log_probs = draw(logits_V, temperature=temperature)
    expected_V = (logits_V / temperature).softmax(-1)
    observed_V = torch.bincount(tokens, minlength=300) / ROWS
    # Total variation of a multinomial sample of this size is about sqrt(V / (2 pi N)) = 0.05.
    assert float((observed_V - expected_V).abs().sum()) / 2 < 0.08
    torch.testing.assert_close(log_probs, expected_V.log()[tokens], atol=1e-5, rtol=0)


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    probabilities_V = torch.tensor([0.05, 0.4, 0.3, 0.15, 0.1])
    tokens, log_probs = draw(probabilities_V.log(), top_p=0.6)
    assert set(tokens.tolist()) == {1, 2}
    torch.testing.assert_close(log_probs.exp()[tokens == 1][0], torch.tensor(0.4 / 0.7))


def test_top_k_and_top_p_together():
    probabilities_V = torch.tensor([0.05, 0.4, 0.3, 0.15, 0.1])
    assert set(draw(probabilities_V.log(), top_k=3)[0].tolist()) == {1, 2, 3}
    assert set(draw(probabilities_V.log(), top_k=3, top_p=0.5)[0].tolist()) == {1, 2}
    assert set(draw(probabilities_V.log(), top_k=50)[0].tolist()) == {0, 1, 2, 3, 4}


def test_top_p_needs_more_than_the_sorted_candidates():
    logits_V = torch.zeros(3000)
    tokens, _ = draw(logits_V, rows=2000, top_p=0.9)
    assert len(set(tokens.tolist())) > 1100  # more than the 1024 candidates sorted first


def test_greedy_and_sampled_rows_share_a_batch():
    logits = torch.tensor([[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]])
    params = [SamplingParams(max_tokens=1, temperature=0), SamplingParams(max_tokens=1)]
    tokens, _ = sample(logits, params, [0.0, 0.0])
    assert tokens.tolist() == [2, 0]


def test_extreme_numbers_draw_a_possible_token():
    logits_V = torch.full((600,), float("-inf"))
    logits_V[[5, 299, 511]] = 0.0
    params = [SamplingParams(max_tokens=1)] * 4
    edges = [0.0, 1 / 3, 2 / 3, float(np.nextafter(1.0, 0.0))]
    tokens, log_probs = sample(logits_V.expand(4, -1), params, edges)
    assert set(tokens.tolist()) <= {5, 299, 511}
    assert tokens[0] == 5
    assert tokens[3] == 511
    assert torch.isfinite(log_probs).all()


def test_uniforms_depend_on_the_seed_alone():
    assert uniforms(7, 5).tolist() == uniforms(7, 9).tolist()[:5]
    assert uniforms(7, 5).tolist() != uniforms(8, 5).tolist()
    assert 0 <= uniforms(-1, 1)[0] < 1  # any integer is a seed


def test_parse_reads_verls_dictionary():
    params = SamplingParams.parse(
        {
            "temperature": 0.8,
            "top_p": 0.9,
            "top_k": -1,
            "repetition_penalty": 1.0,
            "logprobs": True,
            "max_tokens": 500,
            "stop": "end",
            "stop_token_ids": [3],
            "seed": 11,
        },
        max_tokens=48,
    )
    assert params == SamplingParams(
        max_tokens=48,
        temperature=0.8,
        top_p=0.9,
        top_k=0,
        logprobs=True,
        stop=("end",),
        stop_token_ids=frozenset({3}),
        seed=11,
    )
    assert SamplingParams.parse({"max_new_tokens": 5}, 48).max_tokens == 5


@pytest.mark.parametrize(
    "given",
    [
        {"repetition_penalty": 1.2},
        {"guided_json": "{}"},
        {"temperature": -1},
        {"top_p": 0},
        {"top_k": -2},
    ],
)
def test_parse_refuses_what_it_would_not_apply(given):
    with pytest.raises(SamplingError) as error:
        SamplingParams.parse(given, 10)
    assert isinstance(pickle.loads(pickle.dumps(error.value)), SamplingError)


def test_unknown_log_prob_mode():
    with pytest.raises(SamplingError, match="processed_logprobs"):
        sample(torch.zeros(1, 3), [SamplingParams(max_tokens=1)], [0.5], mode="logits")
