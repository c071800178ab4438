"""Answers of another model: an OpenAI-compatible endpoint in the place of the rollout server."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from algorithms.retry.attempts import Generation, Request
from algorithms.retry.conversation import plain_ids

KEY_VARIABLE = "OPENAI_API_KEY"
TRIES = 6
FIRST_PAUSE_SECONDS = 1.0
ANSWER_SECONDS = 600.0
AT_ONCE = 64
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)

Client = tuple[httpx.AsyncClient, asyncio.Semaphore]
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()


class EndpointError(RuntimeError):
    """The endpoint does not answer as asked, with what to check."""


def _client() -> Client:
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.AsyncClient(headers=headers, timeout=ANSWER_SECONDS)
        _clients[loop] = (client, asyncio.Semaphore(AT_ONCE))
    return _clients[loop]


async def answer(
    url: str, model: str, request: Request, tokenizer: Any, *, top_p: float, seed: int
) -> Generation:
    """One answer of ``model`` at ``url`` (with /v1), as token ids of our own tokenizer.

    A busy endpoint is asked again, ever later. Tokens are counted by our tokenizer, since they are
    what is trained on; the endpoint's limit on tokens is by its own.

    Raises:
        EndpointError: no answer after ``TRIES`` tries, or one that is no chat completion.
    """
    body = {
        "model": model,
        "messages": list(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": top_p,
        "seed": seed,
    }
    reply = await _post(f"{url.rstrip('/')}/chat/completions", body)
    try:
        choice = reply["choices"][0]
        text, finished = choice["message"].get("content") or "", choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise EndpointError(
            f"{url} (model {model}) sent no chat completion: {str(reply)[:200]!r}"
        ) from error
    ids = plain_ids(tokenizer, text)
    complete = finished == "stop" and len(ids) < request.max_tokens
    if complete:
        return Generation((*ids, tokenizer.eos_token_id), text, True)
    ids = ids[: request.max_tokens]
    return Generation(tuple(ids), tokenizer.decode(ids), False)


async def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    client, slots = _client()
    said = ""
    for attempt in range(TRIES):
        if attempt:
            pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        try:
            async with slots:
                reply = await client.post(url, json=body)
        except httpx.ReadTimeout:
            # It is at work on the answer still: asking again would only add to that.
            said = f"no answer within {ANSWER_SECONDS:.0f} s"
            break
        except httpx.TransportError as error:
            said = f"{type(error).__name__}: {error}"
            continue
        if reply.is_success:
            try:
                return reply.json()
            except ValueError as error:
                raise EndpointError(f"{url} sent no JSON: {reply.text[:200]!r}") from error
        said = f"status {reply.status_code}: {reply.text[:200]}"
        if reply.status_code not in BUSY:
            break
    raise EndpointError(
        f"{url} (model {body['model']}): {said}. Check the address (it ends in /v1), the model's "
        f"name and {KEY_VARIABLE}"
    )
