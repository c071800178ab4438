"""The decoding engine against transformers' own generation and teacher-forced forward passes."""

from __future__ import annotations

import random

import pytest
import torch

from algorithms.runtime.cpu.decoder import (
    ABORTED,
    COMPLETED,
    Decoder,
    DecoderLimits,
    PromptError,
    Request,
)
from algorithms.runtime.cpu.model import WeightMismatchError
from algorithms.runtime.cpu.packed_linear import packing_supported
from algorithms.runtime.cpu.sampling import SamplingParams

VOCAB = 97  # of the reference model in conftest.py


def prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Prompts of 1 to 23 tokens."""
    rng = random.Random(seed)
    return [tuple(rng.randrange(1, VOCAB) for _ in range(rng.randint(1, 23))) for _ in range(count)]


def run(decoder: Decoder, requests: list[Request]) -> list[Request]:
    """Submit everything and step to the end."""
    for request in requests:
        decoder.submit(request)
    while not decoder.idle:
        decoder.step()
    return requests


def greedy(prompt_list, max_tokens=12, **kwargs) -> list[Request]:
    params = SamplingParams(max_tokens=max_tokens, temperature=0, **kwargs)
    return [Request(str(i), prompt, params) for i, prompt in enumerate(prompt_list)]


def sampled(prompt_list, max_tokens=12, **kwargs) -> list[Request]:
    params = SamplingParams(max_tokens=max_tokens, **kwargs)
    return [Request(str(i), p, params, seed=100 + i) for i, p in enumerate(prompt_list)]


def reference_greedy(reference, prompt, count) -> list[int]:
    ids = torch.tensor([prompt])
    out = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False
    )
    return out[0, len(prompt) :].tolist()


def forced_log_probs(reference, request: Request, temperature: float = 1.0) -> torch.Tensor:
    """Log-probs of the request's tokens in one forward pass over prompt and response."""
    ids = torch.tensor([list(request.prompt) + request.tokens])
    with torch.no_grad():
        logits_TV = reference(ids).logits[0, len(request.prompt) - 1 : -1] / temperature
    return logits_TV.log_softmax(-1).gather(1, torch.tensor(request.tokens)[:, None])[:, 0]


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_greedy_equals_generate(reference, new_model, rows):
    requests = run(Decoder(new_model(), DecoderLimits(rows=rows)), greedy(prompts(9)))
    for request in requests:
        assert request.tokens == reference_greedy(reference, request.prompt, 12)
        assert request.stop_reason == COMPLETED


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_equal_teacher_forcing(reference, new_model, temperature):
    batch = sampled(prompts(8), temperature=temperature)
    for request in run(Decoder(new_model()), batch):
        torch.testing.assert_close(
            torch.tensor(request.log_probs),
            forced_log_probs(reference, request, temperature),
            atol=5e-5,
            rtol=0,
        )


def test_greedy_log_probs_are_at_temperature_one(reference, new_model):
    for request in run(Decoder(new_model()), greedy(prompts(3))):
        torch.testing.assert_close(
            torch.tensor(request.log_probs), forced_log_probs(reference, request), atol=5e-5, rtol=0
        )


def test_raw_log_probs_ignore_temperature_and_top_p(reference, new_model):
    decoder = Decoder(new_model(), logprobs_mode="raw_logprobs")
    for request in run(decoder, sampled(prompts(4), temperature=0.5, top_p=0.8)):
        torch.testing.assert_close(
            torch.tensor(request.log_probs), forced_log_probs(reference, request), atol=5e-5, rtol=0
        )


def test_result_does_not_depend_on_the_batch(new_model):
    together = run(Decoder(new_model()), sampled(prompts(10)))
    for i, request in enumerate(together):
        alone = Request("alone", request.prompt, request.params, seed=100 + i)
        run(Decoder(new_model()), [alone])
        assert alone.tokens == request.tokens
        assert alone.log_probs == pytest.approx(request.log_probs, abs=5e-5)


def test_small_prefills_and_memory_change_nothing(new_model):
    wide = run(Decoder(new_model()), sampled(prompts(10)))
    model = new_model()
    one_row = 64 * model.new_cache().bytes_per_position
    limits = DecoderLimits(rows=4, cache_bytes=one_row, prefill_tokens=8)
    tight = run(Decoder(model, limits), sampled(prompts(10)))
    assert [r.tokens for r in tight] == [r.tokens for r in wide]


def test_shared_prompts_are_computed_once(new_model):
    prompt = tuple(range(1, 18))
    decoder = Decoder(new_model())
    copies = run(decoder, sampled([prompt] * 6))
    assert decoder.prefilled_tokens == len(prompt)
    for request in copies:
        alone = Request("alone", prompt, request.params, seed=request.seed)
        run(Decoder(new_model()), [alone])
        assert alone.tokens == request.tokens


def test_a_late_copy_shares_the_prompt_of_a_live_row(reference, new_model):
    prompt = tuple(range(1, 18))
    decoder = Decoder(new_model())
    first, late = greedy([prompt, prompt])
    decoder.submit(first)
    decoder.step()
    decoder.submit(late)
    while not decoder.idle:
        decoder.step()
    assert decoder.prefilled_tokens == len(prompt)
    assert late.tokens == first.tokens == reference_greedy(reference, prompt, 12)


def conversation(decoder: Decoder, prompt: tuple[int, ...], turns: int) -> list[list[int]]:
    """Greedy answers, each with a few more tokens behind it the next prompt."""
    answers = []
    for turn in range(turns):
        (request,) = run(decoder, greedy([prompt], max_tokens=9))
        answers.append(request.tokens)
        prompt = (*prompt, *request.tokens, 40 + turn, 41, 42)
    return answers


def test_a_conversation_goes_on_where_it_was(reference, new_model):
    begin, decoder = tuple(range(1, 18)), Decoder(new_model())
    answers = conversation(decoder, begin, 4)
    assert answers == conversation(Decoder(new_model(), DecoderLimits(prefix_bytes=0)), begin, 4)
    # of later turns only the last token of the answer and what follows it
    assert decoder.prefilled_tokens == len(begin) + 3 * 4
    assert decoder.reused_tokens == sum(len(begin) + 12 * turn + 8 for turn in range(3))


@pytest.mark.parametrize("prefix_bytes", [2_000, 20_000, 1 << 29])
def test_reuse_changes_nothing(new_model, prefix_bytes):
    """Prompts that begin alike, some known, some not, at the same time."""
    plain = Decoder(new_model(), DecoderLimits(prefix_bytes=0))
    keeping = Decoder(new_model(), DecoderLimits(rows=5, prefix_bytes=prefix_bytes))
    asked = prompts(6, seed=3)
    for _ in range(4):
        expected, found = run(plain, sampled(asked)), run(keeping, sampled(asked))
        assert [r.tokens for r in found] == [r.tokens for r in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.log_probs == pytest.approx(other.log_probs, abs=5e-5)
        cuts = (None if i % 2 else 4 + i for i in range(len(found)))
        asked = [(*r.prompt, *r.tokens[:n], 7) for r, n in zip(found, cuts, strict=True)] + asked[
            :2
        ]
    assert keeping.finished.bytes <= prefix_bytes
    assert (keeping.reused_tokens > 0) or prefix_bytes == 2_000


@pytest.mark.skipif(
    not packing_supported(torch.bfloat16), reason="this processor has no bf16 kernels in oneDNN"
)
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_in_bf16_an_answer_is_the_same_to_the_last_bit_whatever_is_beside_it(new_model, rows):
    """A run can be repeated, though its requests come in another order and at other times."""
    asked = prompts(9, seed=11)
    beside = [tuple(1 + i % 90 for i in range(40, 90 + n)) for n in range(5)]
    model = new_model(torch.bfloat16)
    alone = run(Decoder(model), sampled(asked))
    decoder = Decoder(model, DecoderLimits(rows=rows))
    for request in sampled(beside, max_tokens=20):
        decoder.submit(request)
    for request, expected in zip(run(decoder, sampled(asked)), alone, strict=True):
        assert (request.tokens, request.log_probs) == (expected.tokens, expected.log_probs)


def test_who_goes_on_is_not_kept_waiting(new_model):
    decoder = Decoder(new_model(), DecoderLimits(rows=1))
    (first,) = run(decoder, greedy([tuple(range(1, 12))], max_tokens=3))
    fresh = Request("fresh", tuple(range(50, 60)), SamplingParams(max_tokens=3))
    goes_on = Request("on", (*first.prompt, *first.tokens, 5), SamplingParams(max_tokens=3))
    decoder.submit(fresh)
    decoder.submit(goes_on)
    finished = []
    while not decoder.idle:
        finished += decoder.step()
    assert [r.request_id for r in finished] == ["on", "fresh"]


def test_who_only_begins_alike_keeps_its_turn_and_its_last_bits(new_model):
    """A fresh prompt's answer does not depend on what happens to be kept when it comes."""
    begin = tuple(range(1, 33))
    asked = [(*begin[:30], end) for end in (47, 48, 49)]
    decoder = Decoder(new_model(), DecoderLimits(rows=1))
    run(decoder, greedy([begin], max_tokens=3))
    requests = greedy(asked, max_tokens=3)
    for request in requests:
        decoder.submit(request)
    finished = []
    while not decoder.idle:
        finished += decoder.step()
    alone = run(Decoder(new_model(), DecoderLimits(rows=1)), greedy(asked, max_tokens=3))
    assert finished == requests and decoder.reused_tokens == 0
    assert [r.log_probs for r in requests] == [r.log_probs for r in alone]


def test_a_continuation_near_the_end_of_the_context_beside_a_longer_one(reference, new_model):
    """Padding of the one must not reach positions that the model has not."""
    most = new_model().config.max_position_embeddings
    decoder = Decoder(new_model(), DecoderLimits(positions=most))
    seen = []
    hidden = decoder.model.hidden
    decoder.model.hidden = lambda ids, positions, cache: (  # type: ignore[method-assign]
        seen.append(int(positions.max())) or hidden(ids, positions, cache)
    )
    nearly, short = tuple(1 + i % 90 for i in range(most - 6)), tuple(range(20, 40))
    first = run(decoder, greedy([nearly, short], max_tokens=3))
    after = [
        (*r.prompt, *r.tokens, *extra)
        for r, extra in zip(first, ((7,), range(30, 60)), strict=True)
    ]
    for request in run(decoder, greedy(after, max_tokens=2)):
        assert request.tokens == reference_greedy(reference, request.prompt, 2)
    assert decoder.reused_tokens > most and max(seen) < most


def test_nothing_of_other_weights_is_reused(reference, new_model):
    decoder = Decoder(new_model())
    (first,) = run(decoder, greedy([tuple(range(1, 12))]))
    decoder.load_weights(reference.state_dict().items())
    run(decoder, greedy([(*first.prompt, *first.tokens, 5)]))
    assert decoder.reused_tokens == 0


def test_stop_token_ends_a_row_and_stays_in_the_output(reference, new_model):
    prompt = prompts(1)[0]
    free = reference_greedy(reference, prompt, 12)
    stop = free[4]
    expected = free[: free.index(stop) + 1]
    by_request = greedy([prompt], stop_token_ids=frozenset({stop}))
    assert run(Decoder(new_model()), by_request)[0].tokens == expected
    as_eos = new_model(eos_ids=[stop])
    assert run(Decoder(as_eos), greedy([prompt]))[0].tokens == expected
    assert run(Decoder(as_eos), greedy([prompt], ignore_eos=True))[0].tokens == free


def test_min_tokens_bars_stop_tokens(new_model, reference):
    prompt = prompts(1)[0]
    stop = reference_greedy(reference, prompt, 1)[0]
    request = greedy([prompt], stop_token_ids=frozenset({stop}), min_tokens=3)
    tokens = run(Decoder(new_model()), request)[0].tokens
    assert len(tokens) >= 3
    assert stop not in tokens[:2]


def test_stop_string(reference, new_model):
    prompt = prompts(1)[0]
    free = reference_greedy(reference, prompt, 12)

    def decode_text(ids: list[int]) -> str:
        return "".join(f"<{i}>" for i in ids)

    stop = f"{free[3]}><{free[4]}"
    decoder = Decoder(new_model(), decode_text=decode_text)
    assert run(decoder, greedy([prompt], stop=(stop,)))[0].tokens == free[:5]
    with pytest.raises(ValueError, match="tokenizer"):
        Decoder(new_model()).submit(greedy([prompt], stop=("x",))[0])


def test_rows_of_different_lengths_leave_one_by_one(reference, new_model):
    requests = [
        Request(str(i), prompt, SamplingParams(max_tokens=1 + 3 * (i % 4), temperature=0))
        for i, prompt in enumerate(prompts(8))
    ]
    decoder = Decoder(new_model())
    for request in requests:
        decoder.submit(request)
    sizes = []
    while not decoder.idle:
        decoder.step()
        sizes.append(len(decoder.rows))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 3
    for request in requests:
        expected = reference_greedy(reference, request.prompt, request.params.max_tokens)
        assert request.tokens == expected


def test_abort_returns_partial_output_and_spares_the_others(reference, new_model):
    requests = greedy(prompts(5))
    decoder = Decoder(new_model(), DecoderLimits(rows=4))
    for request in requests:
        decoder.submit(request)
    for _ in range(3):
        decoder.step()
    aborted = decoder.abort(["1", "4"])
    assert {r.request_id for r in aborted} == {"1", "4"}
    assert all(r.stop_reason == ABORTED for r in aborted)
    assert len(requests[1].tokens) > 0
    assert requests[4].tokens == []  # it was still waiting
    while not decoder.idle:
        decoder.step()
    for i in (0, 2, 3):
        assert requests[i].tokens == reference_greedy(reference, requests[i].prompt, 12)
    assert decoder.abort() == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_update_changes_the_model_to_the_new_one(reference, new_model, dtype):
    torch.manual_seed(1)
    old = reference.state_dict()
    new = {k: (v + 0.2 * torch.randn_like(v)).to(dtype) for k, v in old.items()}
    new["lm_head.weight"] = new["model.embed_tokens.weight"]
    model = new_model(dtype)
    decoder = Decoder(model)
    before = run(decoder, greedy(prompts(4)))
    decoder.load_weights((k, v) for k, v in new.items() if k != "lm_head.weight")
    after = run(decoder, greedy(prompts(4)))
    assert [r.tokens for r in before] != [r.tokens for r in after]
    fresh = new_model(dtype)
    fresh.load_weights(new.items())
    assert [r.tokens for r in run(Decoder(fresh), greedy(prompts(4)))] == [r.tokens for r in after]


def test_weight_update_names_what_does_not_fit(new_model):
    model = new_model()
    with pytest.raises(WeightMismatchError, match=r"no weight 'model\.extra'"):
        model.load_weights([("model.extra", torch.zeros(1))])
    with pytest.raises(WeightMismatchError, match="shape"):
        model.load_weights([("model.norm.weight", torch.zeros(1))])


def test_a_prompt_computed_with_old_weights_is_not_shared(reference, new_model):
    prompt = tuple(range(1, 10))
    decoder = Decoder(new_model())
    first, late = greedy([prompt, prompt])
    decoder.submit(first)
    decoder.step()
    decoder.load_weights(reference.state_dict().items())
    decoder.submit(late)
    decoder.step()
    assert decoder.prefilled_tokens == 2 * len(prompt)


def test_the_context_bounds_prompt_and_response(new_model):
    decoder = Decoder(new_model(), DecoderLimits(positions=16))
    with pytest.raises(PromptError, match="16"):
        decoder.submit(Request("long", tuple(range(1, 17)), SamplingParams(max_tokens=1)))
    with pytest.raises(PromptError, match="empty"):
        decoder.submit(Request("none", (), SamplingParams(max_tokens=1)))
    request = run(decoder, greedy([tuple(range(1, 13))], max_tokens=50))[0]
    assert len(request.prompt) + len(request.tokens) == 16


def test_tokens_beyond_the_tokenizer_are_never_drawn(new_model):
    model = new_model(vocab_size=7)
    for request in run(Decoder(model), sampled(prompts(6), max_tokens=20, temperature=3.0)):
        assert max(request.tokens) < 7


def test_bf16_stays_close_to_float32(reference, new_model):
    for request in run(Decoder(new_model(torch.bfloat16)), sampled(prompts(6))):
        difference = torch.tensor(request.log_probs) - forced_log_probs(reference, request)
        assert float(difference.abs().mean()) < 0.3


def test_cache_is_released_only_when_idle(new_model):
    decoder = Decoder(new_model())
    decoder.submit(greedy([(1, 2, 3)])[0])
    decoder.step()
    decoder.release_cache()
    assert decoder.cache.capacity[0] >= 1
    while not decoder.idle:
        decoder.step()
    assert decoder.finished.bytes
    decoder.release_cache()
    assert decoder.cache.capacity == (0, 0) and not decoder.finished.bytes
