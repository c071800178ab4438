"""The publishers' own files, through the command line: their counts, and nothing lost unsaid."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

import rewards
from data_prep import pi
from data_prep.__main__ import main
from data_prep.leak import find_leaks
from data_prep.schema import privileged, read_rows

pytestmark = pytest.mark.conformance


def prepare(out, name, *options, folder=None):
    source = Path(os.environ["VERL_PI_DATA"]) / (folder or name)
    assert main([name, f"source={source}", f"out={out}", *options]) == 0
    return {file.stem: read_rows(file) for file in sorted(out.glob("*.parquet"))}


def test_math(tmp_path):
    """7,500 training problems; two of them have an empty box for an answer."""
    rows = prepare(tmp_path, "math")["train"]
    dropped = json.loads((tmp_path / "dropped.jsonl").read_text().splitlines()[0])["dropped"]
    assert dropped == {"no boxed answer": 2} and len(rows) + 2 == 7500
    # The two without an answer are of level 5 and of number theory; two have a level of `?`.
    assert Counter(row["level"] for row in rows) == {
        "5": 2304 - 2, "4": 1690, "3": 1592, "2": 1348, "1": 564, "": 2,
    }  # fmt: skip
    assert Counter(row["extra_info"]["family"] for row in rows) == {
        "Algebra": 1744, "Intermediate Algebra": 1295, "Prealgebra": 1205, "Geometry": 870,
        "Number Theory": 869 - 2, "Counting & Probability": 771, "Precalculus": 746,
    }  # fmt: skip


def test_wrong_answers_of_all_of_math(tmp_path):
    """Two scorers of verl with ideas of equality of their own take none for the right answer."""
    prepare(tmp_path, "math")
    out = tmp_path / "wrong.parquet"
    assert main(["pi", f"{tmp_path / 'train.parquet'}", "kinds=[wrong_answer]", f"out={out}"]) == 0
    rows = read_rows(out)
    wrong = [privileged(row, "wrong_answer") or "" for row in rows]
    right = [row["reward_model"]["ground_truth"] for row in rows]
    assert Counter(wrong) == Counter(right) and len(rows) == 7498
    for scorer in ("verl_math", "verl_prime_math"):
        items = [
            (scorer, f"The answer is \\boxed{{{w}}}", r, {})
            for w, r in zip(wrong, right, strict=True)
        ]
        verdicts = zip(wrong, right, rewards.verify_batch(items), strict=True)
        assert not [(w, r) for w, r, verdict in verdicts if verdict.passed], scorer


def test_first_steps_of_published_solutions(tmp_path):
    """How many have one: the others are of one step, or show the answer in the first."""
    found = {}
    for name in ("math", "gsm8k", "humaneval", "mbpp"):
        splits = prepare(tmp_path / name, name)
        rows = [row for part in splits.values() for row in part]
        steps = pi.contents(rows, "first_step")
        found[name] = (sum(step is not None for step in steps), len(rows))
        for row, step in zip(rows, steps, strict=True):
            assert step is None or len(step) < len(privileged(row, "gold_solution") or "")
    assert found == {
        "math": (6607, 7498), "gsm8k": (7473, 7473), "humaneval": (128, 164), "mbpp": (875, 974),
    }  # fmt: skip


def test_gsm8k(tmp_path):
    rows = prepare(tmp_path, "gsm8k")["train"]
    assert len(rows) == 7473
    assert all(row["reward_model"]["ground_truth"].lstrip("-").isdigit() for row in rows)
    assert "<<" not in "".join(privileged(row, "gold_solution") or "" for row in rows)


def test_humaneval(tmp_path):
    assert len(prepare(tmp_path / "all", "humaneval")["test"]) == 164
    parts = prepare(tmp_path / "parts", "humaneval", "split=train:0.5,test:0.5")
    assert sum(map(len, parts.values())) == 164 and len(parts["train"]) > 60
    assert not find_leaks(parts["train"], parts["test"])


def test_mbpp(tmp_path):
    rows = prepare(tmp_path, "mbpp")
    assert {split: len(part) for split, part in rows.items()} == {
        "prompt": 10, "test": 500, "train": 374, "validation": 90,
    }  # fmt: skip
    for row in (row for part in rows.values() for row in part):
        truth = json.loads(row["reward_model"]["ground_truth"])
        assert re.search(rf"\b{truth['entry_point']}\s*\(", truth["tests"][0])
        assert truth["entry_point"] in (privileged(row, "gold_solution") or "")
    assert not find_leaks(rows["train"], [*rows["test"], *rows["validation"]])


def test_minif2f(tmp_path):
    rows = prepare(tmp_path, "minif2f", folder="minif2f_lean4/valid.jsonl")["valid"]
    assert len(rows) == 244
    proved = prepare(
        tmp_path / "few", "minif2f", folder="minif2f_lean4/dsp15_minif2f_valid_few_shot.jsonl"
    )
    assert sum(map(len, proved.values())) == 67
