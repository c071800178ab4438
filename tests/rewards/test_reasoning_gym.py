"""All 105 families of reasoning-gym, each with its own scorer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rewards import Verdict, register_verifier, verify, verify_batch
from rewards.reasoning_gym import ReasoningGymVerifier, ground_truth
from rewards.reasoning_gym.scoring import EVALUATED, SYMBOLIC
from rewards.reasoning_gym.tasks import SLOW, UNSTABLE

gym: Any = pytest.importorskip("reasoning_gym", reason="pip install 'verl-pi[reasoning-gym]'")
register_verifier("reasoning_gym", "rewards.reasoning_gym:ReasoningGymVerifier")

SEED, SIZE = 7, 4
FAMILIES = sorted(set(gym.factory.DATASETS) - {"composite"})  # a mixture of the others
# Drawn smaller: the defaults take seconds a task, or cannot be solved in a line.
CONFIGS: dict[str, dict[str, Any]] = {
    "rubiks_cube": {"cube_size": 2, "min_scramble_steps": 1, "max_scramble_steps": 3},
    "rush_hour": {"min_moves": 1, "max_moves": 1},
    "boxnet": {"min_box_num": 1, "max_box_num": 1},
}
# Families that give no answer of their own ("answer": None): many are right.
NO_ORACLE = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
# Families that draw their tasks when the data set is made, and so need its size.
SIZE_MATTERS = {"acre"}


def drawn(family: str, index: int = 1, seed: int = SEED, size: int = SIZE) -> dict[str, Any]:
    config = CONFIGS.get(family, {})
    return gym.create_dataset(family, seed=seed, size=size, **config)[index]


def truth(family: str, entry: dict[str, Any], index: int = 1, seed: int = SEED) -> str:
    config = CONFIGS.get(family)
    return ground_truth(family, entry, seed=seed, size=SIZE, index=index, config=config)


def carried(family: str, entry: dict[str, Any]) -> str:
    found = {"dataset": family, "entry": entry, "config": CONFIGS.get(family, {})}
    return json.dumps(found, default=str)


def right_answer(family: str, entry: dict[str, Any]) -> str:
    """The family's own, or for those without one an answer made here."""
    metadata = entry["metadata"]
    if family == "boxnet":
        return json.dumps(box_plan(metadata["initial_state"]))
    if family == "graph_color":
        return json.dumps(metadata["possible_answer"])
    if family == "propositional_logic":
        return metadata["example_answer"]
    if family == "rubiks_cube":
        turns = metadata["scramble_moves"].split()[::-1]
        return " ".join(turn[:-1] if turn.endswith("'") else turn + "'" for turn in turns)
    if family == "rush_hour":
        return "A+4"
    return entry["answer"]


def box_plan(state: dict[str, list[str]]) -> list[dict[str, str]]:
    """Each box square by square to its target, one move a turn."""
    places = {}
    for at, things in state.items():
        places.update(dict.fromkeys(things, tuple(map(float, at.split("_")))))
    plan = []
    for box in [thing for thing in places if thing.startswith("box_")]:
        target = box.replace("box_", "target_")
        (row, column), goal = places[box], places[target]
        while (row, column) != goal:
            step = (goal[0] > row) - (goal[0] < row)
            new = (row + step, column) if step else (row, column + (1 if goal[1] > column else -1))
            plan.append({f"Agent[{row}, {column}]": f"move({box}, square[{new[0]}, {new[1]}])"})
            row, column = new
        plan.append({f"Agent[{row}, {column}]": f"move({box}, {target})"})
    return plan


def answered(answer: str) -> str:
    return f"<think><answer>no</answer></think>So <answer>{answer}</answer>"


WRONG = "wrong"


def test_there_are_105_families() -> None:
    assert len(FAMILIES) == 105
    assert set(FAMILIES) >= UNSTABLE | SLOW | EVALUATED | SYMBOLIC | NO_ORACLE


@pytest.fixture(scope="module")
def tasks() -> dict[str, tuple[dict[str, Any], str]]:
    """One entry and one right answer of each family."""
    found = {family: drawn(family) for family in FAMILIES}
    return {family: (entry, right_answer(family, entry)) for family, entry in found.items()}


def test_every_family_scores_its_right_answer_and_no_wrong_one(
    tasks: dict[str, tuple[dict[str, Any], str]],
) -> None:
    assert {family for family, (entry, _) in tasks.items() if entry["answer"] is None} == NO_ORACLE
    recipes = {family: truth(family, entry) for family, (entry, _) in tasks.items()}
    right = judged({family: (answered(tasks[family][1]), recipes[family]) for family in FAMILIES})
    assert {f: v for f, v in right.items() if (v.passed, v.score) != (True, 1.0)} == {}
    wrong = judged({family: (answered(WRONG), recipes[family]) for family in FAMILIES})
    assert {f: v for f, v in wrong.items() if v.passed or v.score > 0.1} == {}
    assert {v.reason for v in wrong.values()} == {"wrong_answer", "malformed"}


def test_an_entry_that_went_through_json_is_scored_the_same(
    tasks: dict[str, tuple[dict[str, Any], str]],
) -> None:
    texts = {family: carried(family, entry) for family, (entry, _) in tasks.items()}
    right = judged({family: (answered(tasks[family][1]), texts[family]) for family in FAMILIES})
    assert {f: v for f, v in right.items() if (v.passed, v.score) != (True, 1.0)} == {}


def judged(cases: dict[str, tuple[str, str]]) -> dict[str, Verdict]:
    items = [("reasoning_gym", response, text, {}) for response, text in cases.values()]
    return dict(zip(cases, verify_batch(items), strict=True))


def test_a_recipe_is_written_unless_it_cannot_be_relied_on(
    tasks: dict[str, tuple[dict[str, Any], str]],
) -> None:
    written = {family: json.loads(truth(family, tasks[family][0])) for family in FAMILIES}
    assert {f for f, found in written.items() if "entry" in found} == UNSTABLE | SLOW
    acre = {key: value for key, value in written["acre"].items() if key != "check"}
    assert acre == {"dataset": "acre", "config": {}, "seed": SEED, "size": SIZE, "index": 1}
    recipe = {"dataset": "ransom_note", "seed": 1, "size": 2, "index": 0}
    verdict = verify("reasoning_gym", "True", json.dumps(recipe))
    assert verdict.reason == "verifier_error"
    assert "carry its entry" in verdict.feedback


def test_entries_that_json_cannot_hold_are_named_by_their_recipe() -> None:
    """gsm_symbolic puts fractions into some of its entries."""
    entries = [drawn("gsm_symbolic", index, 11, 12) for index in range(12)]
    strange = [i for i, entry in enumerate(entries) if "Fraction(" in repr(entry["metadata"])]
    assert strange
    index = strange[0]
    with pytest.raises(TypeError, match="Fraction"):
        json.dumps(entries[index])
    text = ground_truth("gsm_symbolic", entries[index], seed=11, size=12, index=index)
    assert verify("reasoning_gym", entries[index]["answer"], text).passed


def test_another_task_than_the_one_asked_is_noticed() -> None:
    entry = drawn("gcd")
    text = truth("gcd", {**entry, "question": "The sum of one and one?"})
    verdict = verify("reasoning_gym", entry["answer"], text)
    assert verdict.reason == "verifier_error"
    assert "another task" in verdict.feedback


SPY = "__import__('pathlib').Path({path!r}).touch()"
FORMS = [
    "{code}",
    "[{code}]",
    "sin({code})",
    "1 if {code} else 2",
    "[1 for x in [{code}]]",
    "S(\"{code}\")",
    "().__class__.__base__.__subclasses__()",
    "[1 for help.__class__.__getitem__ in [exec]]",
    "(lambda: {code})()",
]  # fmt: skip


@pytest.mark.parametrize("family", sorted(EVALUATED | SYMBOLIC))
def test_an_answer_is_never_run(family: str, tmp_path: Path) -> None:
    """Each of these families runs the text of an answer if it is given it as it is."""
    entry = drawn(family)
    spy = tmp_path / "was-here"
    text = truth(family, entry)
    verifier = ReasoningGymVerifier()  # here, where no process of the pool could hide it
    for form in FORMS:
        response = form.format(code=SPY.format(path=str(spy)))
        verdict = verifier(response, text)
        assert (verdict.passed, verdict.score) == (False, 0.0) or verdict.score <= 0.1
        assert not spy.exists()


def test_without_the_guards_it_would_run(tmp_path: Path) -> None:
    """The test before could otherwise pass for the wrong reason."""
    spy = tmp_path / "was-here"
    dataset = gym.create_dataset("countdown", seed=1, size=1)
    dataset.score_answer(SPY.format(path=str(spy)), dataset[0])
    assert spy.exists()


def test_no_other_family_evaluates(tasks: dict[str, tuple[dict[str, Any], str]]) -> None:
    """Read from the library's sources, so that another version of it is looked at again."""
    found = set()
    for family, (dataset, _) in gym.factory.DATASETS.items():
        source = Path(sys.modules[dataset.__module__].__file__ or "").read_text()
        scorer = source.partition("def score_answer")[2].partition("\nclass ")[0]
        called = re.findall(r"(?:\w+\.)?\b(?:eval|exec|parse_expr|sympify)\(([^)]*)\)", scorer)
        if any(not text.startswith(("entry[", "metadata[")) for text in called):
            found.add(family)
    assert found == EVALUATED | SYMBOLIC


@pytest.mark.parametrize(
    ("family", "answer"),
    [
        ("game_of_life_halting", "banana"),  # bool("banana") == bool("False")
        ("coin_flip", "0"),  # the share of equal leading characters is 1
        ("puzzle24", "1*2*3*4"),  # makes 24 of other numbers
        ("spell_backward", "{}x"),  # the right word and more
        ("letter_jumble", "{} wrong"),
        ("gsm_symbolic", "-{}"),
        ("gsm_symbolic", "{} or 0"),
        ("knights_knaves", "It is false that {}"),
        ("knights_knaves", "{} Or else they lie."),
        ("quantum_lock", "not {}"),  # of other letters none is looked at
        ("survo", "not {}"),
        ("kakurasu", "not {}"),
        ("rush_hour", "not A+4"),
        ("sokoban", "not {}"),
        ("fraction_simplification", "{} or 1/2"),
    ],
)
def test_full_marks_for_wrong_answers_are_taken_back(family: str, answer: str) -> None:
    """The library gives 1.0 for some of each: when it no longer does, the mend can go."""
    size = 12 if family in ("coin_flip", "puzzle24", "spell_backward") else 4
    config = CONFIGS.get(family, {})
    dataset = gym.create_dataset(family, seed=6, size=size, **config)
    entries = [dataset[index] for index in range(size)]
    given = []
    for index, entry in enumerate(entries):
        wrong = answer.format(entry["answer"])
        right = family == "coin_flip" and float(entry["answer"]) < 1e-3
        if dataset.score_answer(wrong, entry) >= 1 and not right:
            given.append((index, wrong))
    assert given
    for index, wrong in given[:3]:
        text = ground_truth(family, entries[index], seed=6, size=size, index=index, config=config)
        assert verify("reasoning_gym", wrong, text).score == 0
        assert verify("reasoning_gym", right_answer(family, entries[index]), text).passed


def test_an_integral_that_is_not_solved_is_no_answer() -> None:
    """For some tasks the library's own answer is one, and it would be right for every task."""
    dataset = gym.create_dataset("intermediate_integration", seed=3, size=3)
    entry = dataset[2]
    assert entry["answer"] == "3*Integral(x**3*cos(3*x), x) + C"
    assert dataset.score_answer("Integral(3*x**3*cos(3*x), x)", entry) == 1
    text = ground_truth("intermediate_integration", entry, seed=3, size=3, index=2)
    assert verify("reasoning_gym", entry["answer"], text).reason == "malformed"
    solved = "x**3*sin(3*x) + x**2*cos(3*x) - 2*x*sin(3*x)/3 - 2*cos(3*x)/9 + C"
    assert verify("reasoning_gym", solved, text).passed


def test_partial_credit_and_where_it_passes() -> None:
    entry = drawn("spell_backward")
    text = truth("spell_backward", entry)
    almost = entry["answer"][:-1] + "#"
    verdict = verify("reasoning_gym", almost, text)
    share = 1 - 1 / len(almost)
    assert (verdict.passed, verdict.reason) == (False, "wrong_answer")
    assert verdict.score == pytest.approx(share)
    passed = verify("reasoning_gym", almost, text, pass_at=share - 0.01)
    assert (passed.passed, passed.reason) == (True, "ok")
    assert passed.score == pytest.approx(share)


@pytest.mark.parametrize(
    ("response", "extract", "reason"),
    [
        ("<answer>{}</answer>", "auto", "ok"),
        ("<answer>1</answer> no: <answer>\n{}\n</answer>.", "auto", "ok"),
        ("It is $\\boxed{{{}}}$.", "auto", "ok"),
        ("{}", "auto", "ok"),
        ("thoughts</think>\n{}\n", "auto", "ok"),
        ("<think><answer>{}</answer></think>", "auto", "no_answer"),
        ("\\boxed{{1}} <answer>{}</answer>", "auto", "ok"),
        ("\\boxed{{{}}} <answer>1</answer>", "boxed", "ok"),
        ("\\boxed{{1}} {}", "answer", "no_answer"),
        ("\\boxed{{{}", "boxed", "no_answer"),
        ("<answer>{}", "answer", "no_answer"),
        ("</answer>{}<answer>", "answer", "no_answer"),
        ("<answer></answer>{}", "auto", "no_answer"),
        ("It is {}.", "auto", "wrong_answer"),
        ("", "auto", "no_answer"),
    ],
)
def test_where_the_answer_is(response: str, extract: str, reason: str) -> None:
    entry = drawn("leg_counting")
    text = truth("leg_counting", entry)
    verdict = verify("reasoning_gym", response.format(entry["answer"]), text, extract=extract)
    assert verdict.reason == reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "no JSON object"),
        ('{"dataset": 3}', "no JSON object"),
        ('{"dataset": "sums", "entry": {}}', "no data set 'sums'"),
        ('{"dataset": "gcd", "entry": {}}', "a question, an answer and metadata"),
        ('{"dataset": "gcd", "entry": {"question": "", "answer": "", "metadata": '
         '{"source_dataset": "lcm"}}}', "not of gcd"),
        ('{"dataset": "gcd", "seed": 1, "size": 2}', "['index']"),
        ('{"dataset": "gcd", "seed": 1, "size": 2, "index": 2}', "index < size"),
        ('{"dataset": "gcd", "seed": "1", "size": 2, "index": 1}', "whole numbers"),
        ('{"dataset": "gcd", "seed": 1, "size": 2, "index": 1, "config": {"x": 1}}', "config"),
        ("[" * 100_000, "not JSON"),
    ],
)  # fmt: skip
def test_a_ground_truth_that_names_no_task(text: str, words: str) -> None:
    verdict = verify("reasoning_gym", "1", text)
    assert (verdict.reason, verdict.passed) == ("verifier_error", False)
    assert words in verdict.feedback


def test_options_and_long_answers() -> None:
    verifier = ReasoningGymVerifier()
    entry = drawn("gcd")
    text = truth("gcd", entry)
    assert verifier("1" * 100_001, text).reason == "malformed"
    assert verifier("11", text, max_chars=1).reason == "malformed"
    for bad in ({"extract": "tail"}, {"pass_at": 0}, {"pass_at": 1.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            verifier("1", text, **bad)


_DRAW = """
import json, sys, reasoning_gym
found = {}
for family, config in json.loads(sys.argv[1]).items():
    tasks = reasoning_gym.create_dataset(family, seed=21, size=10, **config)
    found[family] = [repr((tasks[i]["question"], tasks[i]["answer"])) for i in range(10)]
print()  # some families draw dots on the way
print(json.dumps(found))
"""
# Seconds of processor time a task; of these knight_swap depends on the hash seed.
SLOW_TO_DRAW = {"intermediate_integration", "knight_swap"}


@pytest.mark.conformance
def test_which_families_draw_the_same_task_in_every_process() -> None:
    """A minute of drawing: it needs no data, but is no test for every day."""
    families = sorted(set(FAMILIES) - SLOW_TO_DRAW)
    configs = json.dumps({family: CONFIGS.get(family, {}) for family in families})
    draws = []
    for seed in ("0", "5"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-W", "ignore", "-c", _DRAW, configs]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        draws.append(json.loads(done.stdout.splitlines()[-1]))
    assert {f for f in families if draws[0][f] != draws[1][f]} == UNSTABLE - SLOW_TO_DRAW


@pytest.mark.conformance
def test_which_families_need_the_size() -> None:
    differ = set()
    for family in sorted(set(FAMILIES) - UNSTABLE):
        if repr(drawn(family, size=SIZE)) != repr(drawn(family, size=500)):
            differ.add(family)
    assert differ == SIZE_MATTERS


@pytest.mark.conformance
@pytest.mark.parametrize("family", FAMILIES)
def test_more_tasks_of_every_family(family: str) -> None:
    entries = [drawn(family, index, 11) for index in range(SIZE)]
    answers = [answered(right_answer(family, entry)) for entry in entries]
    texts = [truth(family, entry, index, 11) for index, entry in enumerate(entries)]
    right = judged({str(i): (answers[i], texts[i]) for i in range(SIZE)})
    assert [verdict.score for verdict in right.values()] == [1.0] * SIZE
