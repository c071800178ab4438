"""The verifier `gem`: the reward that an environment of GEM gives to an episode.

The ground truth is `{"env_id", "seed", "kwargs"}`, the response a JSON list of actions or one
action as text, after its thoughts if it has any. The episode is played again, `reset(seed)` and
then step by step, in a fresh environment. Environments of one's own are registered by a module
named in `VERL_PI_GEM_MODULES`.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rewards.errors import RewardsError
from rewards.verdict import Verdict

MODULES_VARIABLE = "VERL_PI_GEM_MODULES"
INSTALL_COMMAND = (
    "pip install 'verl-pi[reasoning-gym]' && "
    "pip install --no-deps --ignore-requires-python gem-llm==0.1.0"
)
_REDUCE = {"last": lambda rewards: rewards[-1], "sum": sum, "max": max}
_KEYS = {"env_id", "seed", "kwargs", "observation"}
_MAX_STEPS = 200
_MAX_CHARS = 200_000
_FEEDBACK_CHARS = 2000


class GemMissingError(RewardsError, ImportError):
    """The package gem-llm, or a module that VERL_PI_GEM_MODULES names, is not installed."""


class _GroundTruthError(ValueError):
    """The ground truth names no environment that can be started."""


class GemVerifier:
    """Plays an episode again and passes on its reward.

    Options of a call: reduce ("last", "sum" or "max" of the rewards), pass_at (1.0: the score from
    which an episode passes), max_steps (200), max_chars (200,000).
    Raises GemMissingError, with the command, without the package.
    """

    OPTIONS = frozenset({"pass_at", "reduce", "max_steps", "max_chars"})
    ISOLATION = "process"
    SECONDS = 30.0
    MEMORY_MB = 2048
    CACHEABLE = False  # an environment may ask for more than its seed

    def __init__(self) -> None:
        self._gem = load_gem()  # workers that are forked from here have it already

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        started = time.monotonic()
        _check(extra)
        actions = _actions(response, extra)
        if isinstance(actions, Verdict):
            return actions
        try:
            env, observation = _begin(self._gem, ground_truth)
        except _GroundTruthError as err:
            return Verdict.failed("verifier_error", f"the ground truth cannot be used: {err}")
        try:
            rewards, ended, observation = _play(env, actions, observation)
        except MemoryError:
            raise
        except Exception as err:  # whatever the environment raises is about this answer
            text = f"the environment ended with {type(err).__name__}: {err}"
            return Verdict.failed(
                "runtime_error", text[:_FEEDBACK_CHARS], time.monotonic() - started
            )
        return _verdict(rewards, ended, observation, extra, time.monotonic() - started)


def load_gem() -> Any:
    """GEM with all environments registered. Its import sets up logging: that is undone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        gem = importlib.import_module("gem")  # lazy: a second of imports
        for module in os.environ.get(MODULES_VARIABLE, "").replace(",", " ").split():
            importlib.import_module(module)
    except ImportError as err:
        missing = "gem-llm is not installed" if err.name == "gem" else f"the verifier gem: {err}"
        raise GemMissingError(f"{missing}: {INSTALL_COMMAND}") from None
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return gem


def _check(options: Mapping[str, Any]) -> None:
    if options.get("reduce", "last") not in _REDUCE:
        raise ValueError(f"reduce={options['reduce']!r} is none of {', '.join(_REDUCE)}")
    if not 0 < float(options.get("pass_at", 1.0)) <= 1:
        raise ValueError(f"pass_at={options['pass_at']!r} is not in (0, 1]")


def _actions(response: str, options: Mapping[str, Any]) -> list[str] | Verdict:
    chars = int(options.get("max_chars", _MAX_CHARS))
    steps = int(options.get("max_steps", _MAX_STEPS))
    if len(response) > chars:
        return Verdict.failed("malformed", f"the response has more than {chars} characters")
    if not response.strip():
        return Verdict.failed("no_answer", "the response is empty")
    answer = response.rpartition("</think>")[2].strip()
    if not answer:
        return Verdict.failed("no_answer", "there is nothing after the thoughts")
    # Thoughts may stand before the list, and within its actions: those the environment sees.
    found = _texts(response) or _texts(answer)
    if found is None:
        return [answer]
    if not found:
        return Verdict.failed("no_answer", "the list of actions is empty")
    if len(found) > steps:
        return Verdict.failed("malformed", f"{len(found)} actions are more than {steps}")
    return found


def _texts(text: str) -> list[str] | None:
    """The list of texts that it is in JSON; None if it is none: an action may look like JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(found, list) and all(isinstance(action, str) for action in found)
    return found if is_list else None


def _begin(gem: Any, text: str) -> tuple[Any, str]:
    """A fresh environment and its first observation. Raises _GroundTruthError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise _GroundTruthError(f"it is not JSON ({err})") from None
    if not isinstance(found, dict) or not isinstance(found.get("env_id"), str):
        raise _GroundTruthError("it is no JSON object with an env_id")
    seed, kwargs = found.get("seed"), found.get("kwargs") or {}
    if set(found) - _KEYS or type(seed) is not int or not isinstance(kwargs, dict):
        raise _GroundTruthError("it is to have env_id, a whole number as seed, and kwargs")
    try:
        env = gem.make(found["env_id"], **kwargs)
        observation, _ = env.reset(seed=seed)
    except MemoryError:
        raise
    except Exception as err:  # a name, a hub, a package: nothing that the answer could change
        raise _GroundTruthError(f"{found['env_id']} does not start: {err!r}") from None
    if found.get("observation", observation) != observation:
        raise _GroundTruthError(f"{found['env_id']} starts otherwise than when it was recorded")
    return env, str(observation)


def _play(env: Any, actions: Sequence[str], observation: str) -> tuple[list[float], bool, str]:
    """The rewards up to the end of the episode, whether it ended, and what was seen last."""
    rewards: list[float] = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        if not math.isfinite(rewards[-1]):
            raise ValueError(f"a reward of {rewards[-1]}")
        if terminated or truncated:
            return rewards, True, str(observation)
    return rewards, False, str(observation)


def _verdict(
    rewards: list[float],
    ended: bool,
    observation: str,
    options: Mapping[str, Any],
    seconds: float,
) -> Verdict:
    if not ended:
        text = f"the episode is not at its end; seen last: {observation}"
        return Verdict.failed("wrong_answer", text[:_FEEDBACK_CHARS], seconds)
    reward = _REDUCE[options.get("reduce", "last")](rewards)
    score = min(1.0, max(0.0, reward))
    if score >= float(options.get("pass_at", 1.0)):
        return Verdict(True, score, "ok", "", seconds)
    text = f"reward {reward:g}; seen last: {observation}"
    return Verdict.failed("wrong_answer", text[:_FEEDBACK_CHARS], seconds, score)
