"""Each family on a few rows of our own, in its publisher's format, through the command line."""

from __future__ import annotations

import ast
import json
from itertools import chain

import pytest

from data_prep import registry
from data_prep.__main__ import main
from data_prep.math_text import last_boxed
from data_prep.mbpp import entry_point
from data_prep.schema import privileged, read_rows


def prepare(tmp_path, name, records, *options, file="data.jsonl"):
    """The rows by split that the command makes of these records."""
    source = tmp_path / file
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    return run(tmp_path, name, f"source={source}", *options)


def run(tmp_path, name, *options):
    out = tmp_path / "out"
    assert main([name, f"out={out}", *options]) == 0
    rows = {file.stem: read_rows(file) for file in sorted(out.glob("*.parquet"))}
    family = registry.get_family(name)
    for row in chain.from_iterable(rows.values()):
        assert row["reward_model"]["style"] == family.verifier
        assert {entry["kind"] for entry in row["privileged"]} <= set(family.kinds)
    return rows


def kinds(row):
    return {entry["kind"]: entry["content"] for entry in row["privileged"]}


def test_gsm8k(tmp_path):
    answer = "She has 2*600 = <<2*600=1200>>1200 g.\n#### 1,200"
    (row,) = prepare(tmp_path, "gsm8k", [{"question": "How much?", "answer": answer}])["train"]
    assert row["data_source"] == "openai/gsm8k"
    assert row["reward_model"] == {"style": "math", "ground_truth": "1200"}
    solution = "She has 2*600 = 1200 g.\n\\boxed{1200}"
    assert kinds(row) == {"gold_answer": "1200", "gold_solution": solution}
    assert row["prompt"][0]["content"].startswith("How much?\n\nReason step by step")


def test_math(tmp_path):
    record = {
        "problem": "Halve $\\frac{2}{3}$.", "level": "Level 2", "type": "Prealgebra",
        "solution": "First \\boxed{1}? No: $\\boxed{\\frac{1}{3}}$.",
    }  # fmt: skip
    open_box = {**record, "problem": "Another.", "solution": "So \\boxed{\\frac{1}{3"}
    strange = {**record, "problem": "A third.", "level": "Level ?", "solution": "\\boxed 7$."}
    first, third = prepare(tmp_path, "math", [record, open_box, strange])["train"]
    assert first["reward_model"]["ground_truth"] == "\\frac{1}{3}"
    assert (first["level"], first["extra_info"]["family"]) == ("2", "Prealgebra")
    assert kinds(first)["gold_solution"] == record["solution"]
    assert (third["level"], third["reward_model"]["ground_truth"]) == ("", "7")


def test_math500(tmp_path):
    record = {
        "problem": "Add 1 and 2.", "solution": "$\\boxed{3}$", "answer": "3", "level": 4,
        "subject": "Algebra", "unique_id": "test/algebra/1.json",
    }  # fmt: skip
    twin = {**record, "problem": "Add 2 and 1."}
    (row,) = prepare(tmp_path, "math500", [record, twin])["test"]
    assert (row["level"], row["extra_info"]["family"]) == ("4", "Algebra")
    assert row["reward_model"]["ground_truth"] == "3"
    assert "duplicate `unique_id`" in (tmp_path / "out" / "dropped.jsonl").read_text()


def test_numina_takes_a_seeded_part_and_leaves_out_what_is_evaluated_on(tmp_path):
    records = [
        {"source": "olympiads" if i % 2 else "cn_k12", "problem": f"What is {i} times seven?",
         "solution": f"It is \\boxed{{{7 * i}}}.", "messages": []} for i in range(60)
    ]  # fmt: skip
    held_out = [{"problem": "WHAT is 5 times seven ?", "answer": "35", "solution": ""}]
    prepare(tmp_path, "math500", held_out, file="test.jsonl")
    against = f"against={tmp_path / 'out' / 'test.parquet'}"
    options = ("rows=10", "collections=olympiads", against, "keep=train")
    rows = prepare(tmp_path, "numina", records, *options, file="train.jsonl")["train"]
    assert len(rows) == 10
    assert {row["extra_info"]["family"] for row in rows} == {"olympiads"}
    assert "35" not in [row["reward_model"]["ground_truth"] for row in rows]
    places = [row["extra_info"]["index"] for row in rows]
    assert places == sorted(places) and places != list(range(1, 21, 2))
    other = prepare(tmp_path, "numina", records, *options, "seed=1", file="train.jsonl")["train"]
    assert [r["uid"] for r in other] != [r["uid"] for r in rows]
    dropped = json.loads((tmp_path / "out" / "dropped.jsonl").read_text().splitlines()[0])
    assert dropped["dropped"] == {
        "another collection": 30, "in the held-out rows (the same statement)": 1,
    }  # fmt: skip


def test_aime(tmp_path):
    records = [
        {"id": 60, "problem": "Find n.", "solution": "", "answer": "073", "year": "2031"},
        {"Question": "Find m.", "Answer": 204},
        {"problem": "Find k.", "answer": "1000"},
        {"problem": "Find j.", "answer": "½"},
    ]
    first, second = prepare(tmp_path, "aime", records, file="train.jsonl")["test"]
    assert first["reward_model"]["ground_truth"] == "73"
    assert first["extra_info"]["family"] == "2031"
    assert second["reward_model"]["ground_truth"] == "204"
    dropped = json.loads((tmp_path / "out" / "dropped.jsonl").read_text().splitlines()[0])
    assert dropped["dropped"] == {"the answer is no number from 0 to 999": 2}


def function(i: int) -> dict[str, str]:
    return {
        "task_id": f"Own/{i}",
        "prompt": f'\ndef add_{i}(x: int) -> int:\n    """Add {i} to x."""\n',
        "entry_point": f"add_{i}",
        "canonical_solution": f"    return x + {i}\n",
        "test": f"\ndef check(candidate):\n    assert candidate(1) == {i + 1}\n",
    }


def test_humaneval(tmp_path):
    (row,) = prepare(tmp_path, "humaneval", [function(4)])["test"]
    record = function(4)
    truth = json.loads(row["reward_model"]["ground_truth"])
    wanted = {name: record[name] for name in ("prompt", "test", "entry_point")}
    assert truth == {"kind": "humaneval", **wanted}
    assert "```python\ndef add_4(x: int)" in row["prompt"][0]["content"]
    solution = (privileged(row, "gold_solution") or "").removeprefix("```python\n")
    space: dict = {}
    exec(solution.removesuffix("```") + (privileged(row, "test_suite") or ""), space)
    space["check"](space["add_4"])


def test_humaneval_is_divided_by_problem(tmp_path):
    records = [function(i) for i in range(30)]
    rows = prepare(tmp_path, "humaneval", records, "split=train:0.5,test:0.5")
    names = {split: {r["extra_info"]["name"] for r in part} for split, part in rows.items()}
    assert names["train"] | names["test"] == {r["task_id"] for r in records}
    assert not names["train"] & names["test"] and min(map(len, names.values())) > 5
    turned = prepare(tmp_path, "humaneval", records[::-1], "split=train:0.5,test:0.5")
    assert {r["extra_info"]["name"] for r in turned["train"]} == names["train"]


def task(number) -> dict:
    return {
        "task_id": number,
        "text": f"Write a function that gives the triple of a number, plus {number}.",
        "code": f"import math\r\ndef triple_{number}(x):\r\n  return 3 * x + {number} ",
        "test_setup_code": "",
        "test_list": [f"assert abs(triple_{number}({i}) - {3 * i + number}) < 1" for i in range(3)],
        "challenge_test_list": [],
    }


def test_mbpp(tmp_path):
    numbers = [1, 10, 11, 510, 511, 600, 601, 974]
    rows = prepare(tmp_path, "mbpp", [*map(task, numbers), {**task(3), "task_id": 975}])
    names = {split: [int(r["extra_info"]["name"]) for r in part] for split, part in rows.items()}
    assert names == {
        "prompt": [1, 10], "test": [11, 510], "validation": [511, 600], "train": [601, 974],
    }  # fmt: skip
    row = rows["train"][0]
    truth = json.loads(row["reward_model"]["ground_truth"])
    assert truth["entry_point"] == "triple_601" and truth["tests"] == task(601)["test_list"]
    assert row["prompt"][0]["content"].count("assert") == 3
    solution = (privileged(row, "gold_solution") or "").removeprefix("```python\n")
    ast.parse(solution.removesuffix("```"))
    assert "\r" not in solution
    fewer = prepare(tmp_path, "mbpp", [task(601)], "show_tests=1")["train"][0]
    assert fewer["prompt"][0]["content"].count("assert") == 1
    assert privileged(fewer, "test_suite") == "\n".join(task(601)["test_list"])


@pytest.mark.parametrize(
    ("code", "test", "name"),
    [
        ("def f(x):\n  return x", "assert f(2) == 2", "f"),
        ("", "assert set(g(2)) == set([2])", "g"),
        ("class Pair: pass\ndef h(x): pass", "assert h([Pair(1, 2)]) == 3", "h"),
    ],
)
def test_the_function_that_the_tests_call(code, test, name):
    assert entry_point(code, [test]) == name


STATEMENT = "theorem {} (x : ℕ) (h : x = 3) : x + 0 = 3 := by"
PROOF = "  have e : x + 0 = x := by rfl\n  rw [e, h]"
HEADER = "import Mathlib\n\nopen Nat\n\n"


def test_minif2f_in_three_formats(tmp_path):
    whole = {"name": "amc12_1", "split": "valid", "lean": f"{HEADER}{STATEMENT.format('amc12_1')}"}
    apart = {"name": "amc12_1", "split": "valid", "header": HEADER, "formal_proof": PROOF,
             "formal_statement": STATEMENT.format("amc12_1") + "\n"}  # fmt: skip
    (row,) = prepare(tmp_path, "minif2f", [{**whole, "lean": f"{whole['lean']} sorry"}])["valid"]
    assert row["reward_model"]["ground_truth"] == whole["lean"] and row["privileged"] == []
    (row,) = prepare(tmp_path, "minif2f", [apart, {"name": "b", "formal_statement": "def b"}])[
        "valid"
    ]
    assert row["reward_model"]["ground_truth"] == whole["lean"]
    assert kinds(row) == {"skeleton": PROOF.replace("rfl", "sorry"), "gold_solution": PROOF}
    (tmp_path / "lean" / "Valid").mkdir(parents=True)
    (tmp_path / "lean" / "Valid" / "a.lean").write_text(f"{whole['lean']}\n{PROOF}\n")
    (again,) = run(tmp_path, "minif2f", f"source={tmp_path / 'lean'}")["valid"]
    assert {**again, "extra_info": row["extra_info"]} == row


def test_proofnet(tmp_path):
    record = {
        "id": "Own|exercise_1_2", "nl_statement": "x plus 0 is 3.", "nl_proof": "Clear.",
        "lean4_src_header": HEADER.rstrip(),
        "lean4_formalization": STATEMENT.format("exercise_1_2").removesuffix(" by"),
    }  # fmt: skip
    empty = {**record, "id": "Own|exercise_1_3", "lean4_formalization": "def x := 1"}
    (row,) = prepare(tmp_path, "proofnet", [record, empty], file="valid.jsonl")["valid"]
    assert row["data_source"] == "proofnet" and row["privileged"] == []
    assert row["reward_model"]["ground_truth"] == HEADER + STATEMENT.format("exercise_1_2")
    assert (row["extra_info"]["name"], row["extra_info"]["family"]) == ("Own|exercise_1_2", "Own")


def test_reasoning_gym_draws_again_what_the_row_says(tmp_path):
    gym = pytest.importorskip("reasoning_gym", reason="pip install 'verl-pi[reasoning-gym]'")
    rows = run(
        tmp_path, "reasoning_gym", "tasks=chain_sum,leg_counting", "size=20", "test_size=5",
        "config={}", "seed=3",
    )  # fmt: skip
    assert {split: len(part) for split, part in rows.items()} == {"test": 10, "train": 40}
    for row in rows["train"][::7]:
        truth = json.loads(row["reward_model"]["ground_truth"])
        entry = gym.create_dataset(
            truth["dataset"], seed=truth["seed"], size=truth["size"], **truth["config"]
        )[truth["index"]]
        assert entry["question"].strip() in row["prompt"][0]["content"]
        assert privileged(row, "gold_answer") == entry["answer"]


def test_reasoning_gym_levels_are_harder(tmp_path):
    pytest.importorskip("reasoning_gym", reason="pip install 'verl-pi[reasoning-gym]'")
    options = ("tasks=chain_sum", "size=30", "test_size=0")
    lengths = []
    for level in (1, 3):
        rows = run(tmp_path, "reasoning_gym", *options, f"level={level}")["train"]
        assert {row["level"] for row in rows} == {str(level)}
        lengths.append(sum(len(row["prompt"][0]["content"]) for row in rows) / len(rows))
    assert lengths[1] > lengths[0] + 5


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("\\boxed{a \\} b}", "a \\} b"),
        ("\\boxed{1} and \\fbox{2}", "2"),
        ("\\boxed{{x}{y}}.", "{x}{y}"),
        ("$\\boxed 9$.", "9"),
        ("\\boxed{}", None),
        ("\\boxed{never closed", None),
        ("no box", None),
    ],
)
def test_the_last_box(solution, answer):
    assert last_boxed(solution) == answer
