"""Texts from a language model: one in a folder or on the hub, or one behind an OpenAI-compatible
endpoint. Both are functions from conversations to `n` texts each.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from data_prep.errors import DataError

Messages = Sequence[dict[str, str]]
# `sample(conversations, seed)`: n texts for each conversation, in their order.
Sampler = Callable[[Sequence[Messages], int], list[list[str]]]
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
TRIES = 6
KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn: `n` a conversation; temperature 0 is greedy (all n are then equal)."""

    n: int = 1
    temperature: float = 0.7
    top_p: float = 1.0
    max_new_tokens: int = 512


def open_model(model: str, endpoint: str | None, sampling: Sampling) -> Sampler:
    """The model called `model` at `endpoint`, or else the one in that folder (or on the hub)."""
    if endpoint:
        return Endpoint(endpoint, model, sampling)
    return LocalModel(model, sampling)


class LocalModel:
    """transformers' `generate` on the first accelerator, or on the CPU. Not thread-safe."""

    def __init__(self, model: str, sampling: Sampling) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.sampling = sampling
        self._torch = torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
            loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        except (OSError, ValueError) as error:
            problem = f"cannot be loaded ({str(error).splitlines()[0][:200]})"
            mend = "give a folder with a model and its tokenizer, or a hub id"
            raise DataError(f"model {model}", "model", problem, mend) from error
        if not self._tokenizer.chat_template:
            mend = "use an instruction-tuned model, or save a chat template with its tokenizer"
            raise DataError(f"model {model}", "tokenizer", "it has no chat template", mend)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model = loaded.to(device).eval()

    def __call__(self, conversations: Sequence[Messages], seed: int) -> list[list[str]]:
        """All conversations as one batch. The same batch and seed give the same texts."""
        if not conversations:
            return []
        self._torch.manual_seed(seed)
        inputs = self._tokenizer.apply_chat_template(
            [list(messages) for messages in conversations],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        ).to(self._model.device)
        prompt = inputs["input_ids"].shape[1]
        with self._torch.inference_mode():
            tokens = self._model.generate(**inputs, **self._settings())[:, prompt:]
        texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        n = self.sampling.n
        if self.sampling.temperature == 0:
            return [[text] * n for text in texts]
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def _settings(self) -> dict[str, Any]:
        common = {
            "max_new_tokens": self.sampling.max_new_tokens,
            "num_return_sequences": self.sampling.n,
            "pad_token_id": self._tokenizer.pad_token_id,
        }
        if self.sampling.temperature == 0:
            return {**common, "num_return_sequences": 1, "do_sample": False}
        drawn = {"do_sample": True, "temperature": self.sampling.temperature, "top_k": 0}
        return {**common, **drawn, "top_p": self.sampling.top_p}


class Endpoint:
    """An OpenAI-compatible server (`URL/chat/completions`), asked by several threads at once.

    The key, where one is needed, is read from the environment (OPENAI_API_KEY). What a busy server
    refuses is tried again, ever later.
    """

    def __init__(
        self, url: str, model: str, sampling: Sampling, threads: int = 8, seconds: float = 600
    ) -> None:
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url, self.model, self.sampling, self.threads = url, model, sampling, threads
        self._client = httpx.Client(headers=headers, timeout=seconds)
        self._pause = 1.0

    def __call__(self, conversations: Sequence[Messages], seed: int) -> list[list[str]]:
        """Each conversation gets a seed of its own; servers that know seeds repeat themselves."""
        seeds = [random.Random(f"{seed}/{i}").getrandbits(31) for i in range(len(conversations))]
        with ThreadPoolExecutor(self.threads) as threads:
            return list(threads.map(self._texts, conversations, seeds))

    def _texts(self, messages: Messages, seed: int) -> list[str]:
        texts: list[str] = []
        while len(texts) < self.sampling.n:  # some servers give one choice, whatever n is
            found = self._ask(messages, self.sampling.n - len(texts), seed + len(texts))
            texts += found[: self.sampling.n - len(texts)]
        return texts

    def _ask(self, messages: Messages, n: int, seed: int) -> list[str]:
        body = {
            "model": self.model,
            "messages": list(messages),
            "n": n,
            "seed": seed,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_new_tokens,
        }
        answer = self._post(body)
        try:
            texts = [choice["message"].get("content") or "" for choice in answer.json()["choices"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            texts = []
        if not texts:
            raise self._error(f"no choices in {answer.text[:200]!r}", "check the server")
        return texts

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        said = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
            try:
                answer = self._client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
            except httpx.TransportError as error:
                said = f"{type(error).__name__}: {error}"
                continue
            if answer.is_success:
                return answer
            said = f"status {answer.status_code}: {answer.text[:200]}"
            if answer.status_code not in RETRIED:
                break
        mend = f"check the address, the model's name and {KEY_VARIABLE}"
        raise self._error(said, mend)

    def _error(self, problem: str, mend: str) -> DataError:
        return DataError(f"endpoint {self.url}", f"model {self.model}", problem, mend)
