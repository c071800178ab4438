"""`tool_use` on τ-bench's published retail tasks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tiny_shop import (
    messages,
    truth,
)

import rewards
from rewards.tau_bench.episode import Episode

# Gold actions of the published tasks that fail: each would have a gift card pay more than it
# holds. The benchmark's own replay passes over them, so leaving them out changes nothing.
# Place of the task in tasks_train.jsonl and of the action in it.
FAILING_GOLD = {
    (24, 0), (27, 0), (81, 1), (148, 1), (161, 0), (214, 0), (229, 0), (252, 0), (253, 0),
    (288, 0), (314, 3), (349, 0), (351, 2), (351, 6), (369, 0), (376, 1), (427, 0), (431, 4),
    (441, 0), (469, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def published() -> tuple[str, list[dict]]:
    folder = Path(os.environ["VERL_PI_DATA"]) / "tau_bench_retail"
    files = [folder / f"tasks_{split}.jsonl" for split in ("train", "dev")]
    tasks = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(tasks) == 520
    return str(folder), tasks


@pytest.mark.conformance
def test_published_gold_passes_and_each_write_is_needed(published):
    folder, tasks = published
    failing, not_needed = set(), set()
    for place, task in enumerate(tasks):
        gold = truth(*task["actions"], outputs=task["outputs"])
        said = "The answer is " + " and ".join(task["outputs"])
        assert rewards.verify("tool_use", messages(said, *task["actions"]), gold, data=folder).score
        episode = Episode("retail", folder)
        for index, action in enumerate(task["actions"]):
            if episode.step(action["name"], action["kwargs"]).text.startswith("Error: insuff"):
                failing.add((place, index))
            rest = [*task["actions"][:index], *task["actions"][index + 1 :]]
            if rewards.verify("tool_use", messages(said, *rest), gold, data=folder).score:
                not_needed.add((place, index))
    assert failing == not_needed == FAILING_GOLD


@pytest.mark.conformance
def test_published_tasks_with_an_output_need_it(published):
    """The published training tasks ask for no output, so one is put in."""
    folder, tasks = published
    assert not any(task["outputs"] for task in tasks)
    for task in tasks[::10]:
        gold = truth(*task["actions"], outputs=["54.04"])
        with_it = messages(*task["actions"], "That is $54.04.")
        assert rewards.verify("tool_use", with_it, gold, data=folder).score == 1
        assert rewards.verify("tool_use", messages(*task["actions"]), gold, data=folder).score == 0


@pytest.mark.conformance
def test_comparing_changed_records_is_comparing_hashes(published):
    folder, tasks = published
    for task in tasks[::130]:
        whole, half = Episode("retail", folder), Episode("retail", folder)
        for index, action in enumerate(task["actions"]):
            whole.step(action["name"], action["kwargs"])
            if index:
                half.step(action["name"], action["kwargs"])
        same = not whole.data.differences(half.data)
        assert same == (whole.data.hash() == half.data.hash())
