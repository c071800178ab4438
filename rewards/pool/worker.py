"""A worker: judges the calls of a message one by one and answers each when it is judged."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rewards.errors import RewardsError
from rewards.pool.confine import MemoryLimit
from rewards.pool.wire import Channel
from rewards.verdict import Verdict

_MESSAGE_CHARS = 500
_FEEDBACK_CHARS = 100_000


def serve(
    channel: Channel, verifiers: Mapping[str, Callable[..., Any]], max_calls: int, growth: int
) -> None:
    """Answer until the other end closes, or until this worker has to be replaced.

    That is after `max_calls` calls, when it has grown by `growth` bytes, or when a call ran out of
    memory or left a thread behind: the answer then says "last" and nothing follows.
    """
    memory = MemoryLimit()
    first = memory.resident_bytes()
    done = 0
    while True:
        try:
            message = channel.receive()
        except EOFError:
            return
        verifier = verifiers[message["target"]]
        for call in message["calls"]:
            answer = _limited(verifier, call, memory, message["memory_mb"])
            done += 1
            resident = memory.resident_bytes()
            last = done >= max_calls or resident - first > growth or threading.active_count() > 1
            answer["rss"], answer["cpu"] = resident, time.process_time()
            answer["last"] = last or answer.get("reason") == "memory"
            channel.send(answer)
            if answer["last"]:
                return


def _limited(
    verifier: Callable[..., Any], call: list[Any], memory: MemoryLimit, megabytes: float
) -> dict[str, Any]:
    memory.allow(megabytes)
    try:
        return _judge(verifier, *call)
    except MemoryError:
        return _failed("memory", f"judging this answer takes more than {megabytes:g} MB")
    finally:
        memory.lift()


def _judge(
    verifier: Callable[..., Any], response: str, ground_truth: str, extra: dict[str, Any]
) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        verdict = verifier(response, ground_truth, **extra)
    except MemoryError:
        raise
    except RewardsError as err:
        return {"raise": [type(err).__module__, type(err).__qualname__, str(err)]}
    except (ValueError, TypeError) as err:
        return _failed("verifier_error", str(err) or type(err).__name__)
    except RecursionError:
        return _failed("malformed", "nested too deeply")
    except Exception as err:
        return _failed("verifier_error", f"{type(err).__name__}: {err}")
    except BaseException as err:
        return _failed("runtime_error", f"ended by {type(err).__name__}")
    if not isinstance(verdict, Verdict):
        return {"rubbish": type(verdict).__name__}
    seconds = verdict.seconds or time.perf_counter() - started
    return {
        "score": verdict.score,
        "reason": verdict.reason,
        "feedback": verdict.feedback[:_FEEDBACK_CHARS],
        "seconds": seconds,
    }


def _failed(reason: str, feedback: str) -> dict[str, Any]:
    return {"score": 0.0, "reason": reason, "feedback": feedback[:_MESSAGE_CHARS], "seconds": 0.0}


def run_and_end(
    channel: Channel, verifiers: Mapping[str, Callable[..., Any]], max_calls: int, growth: int
) -> None:
    """`serve` for a process that must not return into what forked it."""
    status = 1
    try:
        serve(channel, verifiers, max_calls, growth)
        status = 0
    finally:
        os._exit(status)
