"""The decoding engine of the CPU rollout: one HF model, a dense batch of rows, continuous batching.

Synchronous and single-threaded; :mod:`algorithms.runtime.cpu.decode_loop` drives it in a thread.
Every :meth:`Decoder.step` admits what waits and fits, then appends one token to every row. Rows
that finish leave the batch at once, so the tail of a batch gets cheap. Prompts are computed once
for all requests that share them, within an admission and with rows still decoding; of a prompt that
goes on where a finished row ended, only what is new.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from algorithms.runtime.cpu.kv_cache import RowCache
from algorithms.runtime.cpu.prefix_store import PrefixStore
from algorithms.runtime.cpu.sampling import SamplingParams, sample, uniforms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from algorithms.runtime.cpu.model import RolloutModel

COMPLETED = "completed"
ABORTED = "aborted"


class PromptError(ValueError):
    """A prompt is empty, or leaves no room to generate."""


@dataclass
class Request:
    """A prompt on its way to a response; ``tokens`` and ``log_probs`` grow while it decodes."""

    request_id: str
    prompt: tuple[int, ...]
    params: SamplingParams
    seed: int = 0
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    stop_reason: str | None = None

    def __post_init__(self) -> None:
        self.uniforms = uniforms(self.seed, self.params.max_tokens)


@dataclass
class _Row:
    request: Request
    length: int  # positions in the cache
    stop_ids: frozenset[int]
    shareable: bool = True  # the cached prompt was computed with the current weights
    prompt_hidden_H: torch.Tensor | None = None


@dataclass(frozen=True)
class _Prefill:
    """Prompt tokens to compute for a row whose first ``known`` positions are there."""

    row: int
    tokens: tuple[int, ...]
    known: int


@dataclass(frozen=True)
class DecoderLimits:
    """Bounds of the batch: rows, positions of one row, cache memory, padded tokens of a prefill;
    and of the memory for finished rows."""

    rows: int = 128
    positions: int = 2048
    cache_bytes: int = 1 << 30
    prefill_tokens: int = 2048
    prefix_bytes: int = 1 << 29


class Decoder:
    """Continuous batching over a :class:`RolloutModel`.

    Args:
        model: the model, its stop tokens and its tokenizer's decode function.
        limits: batch bounds; one row is always admitted, whatever the memory bound says.
        logprobs_mode: see :mod:`algorithms.runtime.cpu.sampling`.
        decode_text: token ids to text, needed by requests with stop strings.
    """

    def __init__(
        self,
        model: RolloutModel,
        limits: DecoderLimits | None = None,
        logprobs_mode: str = "processed_logprobs",
        decode_text: Callable[[list[int]], str] | None = None,
    ) -> None:
        self.model = model
        self.limits = limits or DecoderLimits()
        self.logprobs_mode = logprobs_mode
        self.decode_text = decode_text
        self.cache: RowCache = model.new_cache()
        self.finished = PrefixStore(self.limits.prefix_bytes)
        self.waiting: deque[Request] = deque()
        self.going_on: deque[Request] = deque()
        self.rows: list[_Row] = []
        self.generated_tokens = 0
        self.prefilled_tokens = 0
        self.reused_tokens = 0

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing decodes."""
        return not self.waiting and not self.going_on and not self.rows

    def submit(self, request: Request) -> None:
        """Queue a request. One that goes on where a finished row ended comes before those that do
        not, since that row is not kept for long.

        Raises:
            PromptError: the prompt is empty or fills the context.
            ValueError: stop strings without a way to decode text.
        """
        if not request.prompt:
            raise PromptError(f"request {request.request_id}: the prompt is empty")
        if len(request.prompt) >= self.limits.positions:
            raise PromptError(
                f"request {request.request_id}: a prompt of {len(request.prompt)} tokens leaves no "
                f"room in a context of {self.limits.positions}; shorten it or raise "
                "rollout.max_model_len"
            )
        if request.params.stop and self.decode_text is None:
            raise ValueError("stop strings need a tokenizer, and this decoder has none")
        queue = self.going_on if self.finished.continues(request.prompt) else self.waiting
        queue.append(request)

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """Admit what fits, append one token to every row, and return the requests that finished."""
        finished = self._admit()
        if self.rows:
            finished += self._decode()
        return finished

    @torch.inference_mode()
    def abort(self, request_ids: Iterable[str] | None = None) -> list[Request]:
        """Drop the named requests, or all; return them with the tokens they have so far."""
        chosen = None if request_ids is None else set(request_ids)

        def hit(request: Request) -> bool:
            return chosen is None or request.request_id in chosen

        aborted = [r for r in (*self.going_on, *self.waiting) if hit(r)]
        self.going_on = deque(r for r in self.going_on if not hit(r))
        self.waiting = deque(r for r in self.waiting if not hit(r))
        leaving = [i for i, row in enumerate(self.rows) if hit(row.request)]
        aborted += [self.rows[i].request for i in leaving]
        self._remove(leaving)
        for request in aborted:
            request.stop_reason = ABORTED
        return aborted

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Update the model. Rows in flight continue with the new weights on their old cache."""
        self.forget()
        for row in self.rows:
            row.shareable = False
        self.model.load_weights(weights)

    def forget(self) -> None:
        """Drop what is kept of finished rows."""
        self.finished.clear()

    def release_cache(self) -> None:
        """Free the cache's memory when no row is live."""
        if not self.rows:
            self.cache.release()
            self.forget()

    # -- admission -----------------------------------------------------------------------------

    def _admit(self) -> list[Request]:
        admitted: list[Request] = []
        needed = max((self._final_length(row.request) for row in self.rows), default=0)
        while queue := self.going_on or self.waiting:
            rows = len(self.rows) + len(admitted) + 1
            wanted = max(needed, self._final_length(queue[0]))
            fits = rows * wanted * self.cache.bytes_per_position <= self.limits.cache_bytes
            if rows > 1 and (rows > self.limits.rows or not fits):
                break
            needed = wanted
            admitted.append(queue.popleft())
        if not admitted:
            return []
        self.cache.reserve(len(self.rows) + len(admitted), needed)
        return self._prefill(admitted)

    def _final_length(self, request: Request) -> int:
        return min(len(request.prompt) + request.params.max_tokens, self.limits.positions)

    def _prefill(self, admitted: list[Request]) -> list[Request]:
        """Compute the prompts, each distinct one once, and draw every request's first token."""
        live = {row.request.prompt: i for i, row in enumerate(self.rows) if row.shareable}
        groups: dict[tuple[int, ...], list[int]] = {}
        for request in admitted:
            groups.setdefault(request.prompt, []).append(len(self.rows))
            stop_ids = request.params.stop_token_ids
            if not request.params.ignore_eos:
                stop_ids = stop_ids | self.model.eos_ids
            self.rows.append(_Row(request, len(request.prompt), stop_ids))
        jobs = [self._begun(p, members[0]) for p, members in groups.items() if p not in live]
        for begun in (False, True):  # apart, since without a past attention needs no mask
            for batch in self._micro_batches([job for job in jobs if bool(job.known) is begun]):
                self._prefill_batch(batch)
        for prompt, members in groups.items():
            source = live.get(prompt, members[0])
            copies = [row for row in members if row != source]
            self.cache.copy_rows([source] * len(copies), copies, len(prompt))
            for row in copies:
                self.rows[row].prompt_hidden_H = self.rows[source].prompt_hidden_H
        first = len(self.rows) - len(admitted)
        hidden = [row.prompt_hidden_H for row in self.rows[first:]]
        return self._advance(torch.stack([h for h in hidden if h is not None]), first)

    def _begun(self, prompt: tuple[int, ...], row: int) -> _Prefill:
        """The row with what is kept of the finished one that its prompt goes on from."""
        states, known = self.finished.longest(prompt)
        if states is not None:
            self.cache.put(row, states, known)
        return _Prefill(row, prompt[known:], known)

    def _micro_batches(self, jobs: list[_Prefill]) -> list[list[_Prefill]]:
        """Cut prompts sorted by length so that a batch's padded size stays within the bound."""
        batches: list[list[_Prefill]] = []
        for job in sorted(jobs, key=lambda job: len(job.tokens)):
            # Sorted by length: the newcomer is the longest, and so sets the padded width.
            padded = (len(batches[-1]) + 1) * len(job.tokens) if batches else 0
            if batches and padded <= self.limits.prefill_tokens:
                batches[-1].append(job)
            else:
                batches.append([job])
        return batches

    def _prefill_batch(self, jobs: list[_Prefill]) -> None:
        rows, known = [job.row for job in jobs], [job.known for job in jobs]
        new = [len(job.tokens) for job in jobs]
        width = max(new)
        ids_BT = torch.tensor([job.tokens + (0,) * (width - len(job.tokens)) for job in jobs])
        known_B1, new_B1 = torch.tensor(known)[:, None], torch.tensor(new)[:, None]
        # Padding takes the last real position: further ones may be beyond the model's context.
        positions_BT = known_B1 + torch.minimum(torch.arange(width), new_B1 - 1)
        if any(known):
            self.cache.begin_continuation(rows, known, new)
        else:
            self.cache.begin_prefill(rows, new)
        hidden_BTH = self.model.hidden(ids_BT, positions_BT, self.cache)
        for i, row in enumerate(rows):
            self.rows[row].prompt_hidden_H = hidden_BTH[i, new[i] - 1].clone()
        self.prefilled_tokens += sum(new)
        self.reused_tokens += sum(known)

    # -- decoding ------------------------------------------------------------------------------

    def _decode(self) -> list[Request]:
        lengths_B = torch.tensor([row.length for row in self.rows])
        ids_B1 = torch.tensor([[row.request.tokens[-1]] for row in self.rows])
        self.cache.begin_decode(lengths_B)
        hidden_B1H = self.model.hidden(ids_B1, lengths_B[:, None], self.cache)
        for row in self.rows:
            row.length += 1
        return self._advance(hidden_B1H[:, 0], first=0)

    def _advance(self, hidden_BH: torch.Tensor, first: int) -> list[Request]:
        """Draw a token for rows ``first ..`` from their hidden states; remove what finished."""
        rows = self.rows[first:]
        logits_BV = self.model.logits(hidden_BH)
        for i, row in enumerate(rows):
            if len(row.request.tokens) + 1 < row.request.params.min_tokens:
                logits_BV[i, list(row.stop_ids)] = float("-inf")
        tokens_B, log_probs_B = sample(
            logits_BV,
            [row.request.params for row in rows],
            [row.request.uniforms[len(row.request.tokens)] for row in rows],
            self.logprobs_mode,
        )
        drawn = zip(rows, tokens_B.tolist(), log_probs_B.tolist(), strict=True)
        for row, token, log_prob in drawn:
            row.request.tokens.append(token)
            row.request.log_probs.append(log_prob)
        self.generated_tokens += len(rows)
        leaving = [first + i for i, row in enumerate(rows) if self._is_done(row)]
        finished = [self.rows[i].request for i in leaving]
        for i in leaving:
            self._keep(i)
        self._remove(leaving)
        return finished

    def _keep(self, place: int) -> None:
        """Remember a finished row. Of its last token there are no keys and values yet."""
        row = self.rows[place]
        if row.shareable and self.limits.prefix_bytes:
            tokens = row.request.prompt + tuple(row.request.tokens[:-1])
            self.finished.put(tokens, self.cache.states(place, row.length))

    def _is_done(self, row: _Row) -> bool:
        request, params = row.request, row.request.params
        count = len(request.tokens)
        full = len(request.prompt) + count >= self.limits.positions
        done = count >= params.max_tokens or full
        if not done and count >= params.min_tokens:
            done = request.tokens[-1] in row.stop_ids or self._hit_stop_string(request)
        if done:
            request.stop_reason = COMPLETED
        return done

    def _hit_stop_string(self, request: Request) -> bool:
        if not request.params.stop or self.decode_text is None:
            return False
        # A stop string of n characters ends in the last n tokens at most, plus one cut in half.
        tail = max(len(text) for text in request.params.stop) + 4
        text = self.decode_text(request.tokens[-tail:])
        return any(stop in text for stop in request.params.stop)

    def _remove(self, leaving: list[int]) -> None:
        """Take rows out and close the holes with rows from the end."""
        if not leaving:
            return
        gone = set(leaving)
        kept = len(self.rows) - len(gone)
        holes = [i for i in leaving if i < kept]
        movers = [i for i in range(kept, len(self.rows)) if i not in gone]
        if movers:
            longest = max(self.rows[i].length for i in movers)
            self.cache.copy_rows(movers, holes, longest)
            for source, target in zip(movers, holes, strict=True):
                self.rows[target] = self.rows[source]
        del self.rows[kept:]
