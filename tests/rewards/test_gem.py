"""The verifier `gem`, on environments of GEM and on some of our own in GEM's registry."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from rewards import register_verifier, verify
from rewards.gem import INSTALL_COMMAND, GemMissingError, GemVerifier

register_verifier("gem", "rewards.gem:GemVerifier")

INSTALLED = importlib.util.find_spec("gem") is not None
needs_gem = pytest.mark.skipif(not INSTALLED, reason=f"gem-llm is not installed: {INSTALL_COMMAND}")

HANOI = json.dumps({"env_id": "game:TowerofHanoi-v0-easy", "seed": 3, "kwargs": {}})
MOVES = [f"I move \\boxed{{{move}}}" for move in ("A C", "A B", "C B", "A C", "B A", "B C", "A C")]

OURS = '''
import os
import gem


class Counter(gem.Env):
    """Rewards each step with its action as a number; ends after `steps`."""

    def __init__(self, steps=3, **_):
        if steps < 0:
            raise OSError("no hub here")
        self.left = steps

    def reset(self, seed=None):
        super().reset(seed)
        return f"seed {seed}", {}

    def step(self, action):
        self.left -= 1
        if action == "exit":
            raise SystemError("the environment is broken")
        return f"after {action}" + "!" * 5000, float(action), self.left == 0, False, {}


gem.register("ours:Counter-v0", "gem_environments_of_ours:Counter")
'''


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GemVerifier:
    """A verifier of this process, with an environment that another package registers."""
    (tmp_path / "gem_environments_of_ours.py").write_text(OURS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("VERL_PI_GEM_MODULES", "gem_environments_of_ours")
    return GemVerifier()


def counter(**kwargs: Any) -> str:
    return json.dumps({"env_id": "ours:Counter-v0", "seed": 1, "kwargs": kwargs})


@pytest.mark.skipif(INSTALLED, reason="gem-llm is installed")
def test_without_the_package_it_names_the_command() -> None:
    with pytest.raises(GemMissingError, match=re.escape(INSTALL_COMMAND)):
        GemVerifier()


@needs_gem
def test_a_missing_module_of_ones_own_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PI_GEM_MODULES", "no_such_module")
    with pytest.raises(GemMissingError, match="no_such_module"):
        GemVerifier()


@needs_gem
def test_it_leaves_logging_as_it_was() -> None:
    before = (list(logging.getLogger().handlers), logging.getLogger().level)
    GemVerifier()
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == before


@needs_gem
def test_a_whole_episode() -> None:
    verdict = verify("gem", json.dumps(MOVES), HANOI)
    assert (verdict.passed, verdict.score, verdict.reason) == (True, 1.0, "ok")
    assert verdict.seconds > 0
    more = verify("gem", json.dumps([*MOVES, "anything"]), HANOI)
    assert more.passed  # the episode was over


@needs_gem
def test_an_episode_without_its_end_says_what_was_seen_last() -> None:
    verdict = verify("gem", json.dumps(MOVES[:-1]), HANOI)
    assert (verdict.passed, verdict.score, verdict.reason) == (False, 0.0, "wrong_answer")
    assert "not at its end" in verdict.feedback
    assert "from tower B to tower C" in verdict.feedback


@needs_gem
def test_thoughts_before_an_episode_and_within_it() -> None:
    """A list that is only thought of is not played, and is no part of the action that follows."""
    wrong = json.dumps(MOVES[:1])
    assert verify("gem", f"<think>{wrong} or more</think>\n{json.dumps(MOVES)}", HANOI).passed
    assert not verify("gem", f"<think>{json.dumps(MOVES)}</think>{wrong}", HANOI).passed
    assert verify("gem", f"<think>{json.dumps(MOVES)}</think> ", HANOI).reason == "no_answer"
    assert verify("gem", json.dumps([f"<think>so</think>{move}" for move in MOVES]), HANOI).passed


@needs_gem
def test_an_episode_that_went_wrong() -> None:
    verdict = verify("gem", json.dumps([*MOVES[:-1], "I give up"]), HANOI)
    assert (verdict.passed, verdict.score, verdict.reason) == (False, 0.0, "wrong_answer")
    assert "valid action" in verdict.feedback


@needs_gem
def test_one_action_as_text_and_the_seed_decides() -> None:
    """Which of ten numbers is right depends on the seed alone."""

    def right_guesses(seed: int) -> list[int]:
        text = json.dumps({"env_id": "game:GuessTheNumber-v0-easy", "seed": seed, "kwargs": {}})
        return [n for n in range(1, 11) if verify("gem", f"\\boxed{{{n}}}", text).passed]

    found = [right_guesses(seed) for seed in range(6)]
    assert all(len(guesses) == 1 for guesses in found)
    assert len({guesses[0] for guesses in found}) > 1
    assert found == [right_guesses(seed) for seed in range(6)]


@needs_gem
def test_a_family_of_reasoning_gym() -> None:
    import reasoning_gym

    tasks = reasoning_gym.create_dataset("leg_counting", seed=42, size=500)
    text = json.dumps({"env_id": "rg:leg_counting", "seed": 5, "kwargs": {}})
    answers = {tasks[i]["answer"] for i in range(500)}
    passed = [answer for answer in answers if verify("gem", f"\\boxed{{{answer}}}", text).passed]
    assert len(passed) == 1


@needs_gem
@pytest.mark.parametrize(
    ("rewards", "reduce", "score"),
    [
        ("0.2 0.9 0.4", "last", 0.4),
        ("0.2 0.9 0.4", "max", 0.9),
        ("0.2 0.1 0.4", "sum", 0.7),
        ("0.2 0.9 0.4", "sum", 1.0),
        ("-1 -1 -1", "sum", 0.0),
        ("0 0 7", "last", 1.0),
    ],
)
def test_how_rewards_become_a_score(
    ours: GemVerifier, rewards: str, reduce: str, score: float
) -> None:
    actions = json.dumps(rewards.split())
    verdict = ours(actions, counter(), reduce=reduce)
    assert verdict.score == pytest.approx(score)
    assert (verdict.passed, verdict.reason == "ok") == (score == 1, score == 1)
    assert len(verdict.feedback) <= 2000
    if score > 0:
        assert ours(actions, counter(), reduce=reduce, pass_at=score - 1e-6).passed


@needs_gem
def test_what_the_environment_raises(ours: GemVerifier) -> None:
    broken = ours('["1", "exit"]', counter())
    assert broken.reason == "runtime_error"
    assert "SystemError: the environment is broken" in broken.feedback
    assert ours("no number", counter(steps=1)).reason == "runtime_error"
    assert ours("nan", counter(steps=1)).reason == "runtime_error"
    assert ours("[1, 2]", counter(steps=1)).reason == "runtime_error"  # one action, not a list


@needs_gem
def test_bounds_and_empty_answers(ours: GemVerifier) -> None:
    assert ours(json.dumps(["1"] * 201), counter(steps=300)).reason == "malformed"
    assert ours(json.dumps(["1"] * 4), counter(), max_steps=3).reason == "malformed"
    assert ours("1" * 200_001, counter()).reason == "malformed"
    assert ours("[]", counter()).reason == "no_answer"
    assert ours("<think>2</think>[]", counter()).reason == "no_answer"
    assert ours("<think>2</think>1", counter(steps=1)).passed
    assert ours(" ", counter()).reason == "no_answer"
    for bad in ({"reduce": "mean"}, {"pass_at": 2}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            ours("1", counter(), **bad)


@needs_gem
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "env_id"),
        ('{"env_id": "ours:Counter-v0"}', "a whole number as seed"),
        ('{"env_id": "ours:Counter-v0", "seed": 1, "kwargs": [1]}', "and kwargs"),
        ('{"env_id": "ours:Counter-v0", "seed": 1, "level": 2}', "env_id, a whole number"),
        ('{"env_id": "ours:Counter-v1", "seed": 1}', "not found in registry"),
        ('{"env_id": "ours:Counter-v0", "seed": 1, "kwargs": {"steps": -1}}', "no hub here"),
        ('{"env_id": "ours:Counter-v0", "seed": 1, "observation": "seed 2"}', "otherwise"),
    ],
)
def test_a_ground_truth_that_names_no_environment(ours: GemVerifier, text: str, words: str) -> None:
    verdict = ours("1", text)
    assert verdict.reason == "verifier_error"
    assert words in verdict.feedback


@needs_gem
def test_the_first_observation_may_be_recorded(ours: GemVerifier) -> None:
    text = {"env_id": "ours:Counter-v0", "seed": 1, "kwargs": {"steps": 1}, "observation": "seed 1"}
    assert ours("1", json.dumps(text)).passed
