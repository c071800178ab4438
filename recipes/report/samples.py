"""A handful of held-out problems with every arm's answer side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recipes.report.arms import Arm, last_by_seed, teacher_keys
from recipes.report.evaluations import BASELINE, TEACHER, Evaluations, Key, key_of
from recipes.report.reader import Row, int_of, text_of

RESPONSE_CHARS = 1500
FEEDBACK_CHARS = 600

Wanted = dict[Key, str]


def choose(table: Evaluations, best: Arm | None) -> list[tuple[str, str]]:
    """(title, uid): fixed, broken and unchanged wrong by the best arm, and one of new structure.

    Deterministic; families not shown yet come first.
    """
    baseline = last_by_seed(table.keys(BASELINE, "student"))
    if not baseline:
        return []
    before = _first_sample(table, baseline[0])
    after = _first_sample(table, best.keys[0]) if best and best.keys else {}
    new = {uid for uid, p in table.problems.items() if p.structure == "new"}
    name = best.name if best else ""
    groups = [
        (f"Fixed by {name}", [u for u in before if after.get(u) and not before[u]]),
        (f"Broken by {name}", [u for u in before if after.get(u) is False and before[u]]),
        ("Wrong before and after", [u for u in before if after.get(u) is False and not before[u]]),
        ("New structure", _interesting_first([u for u in before if u in new], before, after)),
    ]
    if not after:
        groups = [("Baseline only: no arm has a result", sorted(before)), groups[3]]
    chosen: list[tuple[str, str]] = []
    for title, uids in groups:
        taken = {uid for _, uid in chosen}
        shown = {table.problems[uid].family for uid in taken}
        fresh = [u for u in uids if u not in taken]
        fresh.sort(key=lambda u: table.problems[u].family in shown)
        if fresh:
            chosen.append((title, fresh[0]))
    return chosen


def _first_sample(table: Evaluations, key: Key) -> dict[str, bool]:
    """Verdict of sample 0 by uid, uids sorted."""
    answers = table.answers[key]
    return {uid: answers[uid, 0][0] for uid, sample in sorted(answers) if sample == 0}


def _interesting_first(
    uids: list[str], before: dict[str, bool], after: dict[str, bool]
) -> list[str]:
    return sorted(uids, key=lambda u: not (after.get(u) and not before[u]))


def wanted_keys(table: Evaluations, arms: list[Arm]) -> Wanted:
    """The evaluations shown side by side, with the name each goes by."""
    wanted: Wanted = {}
    for key in last_by_seed(table.keys(BASELINE, "student"))[:1]:
        wanted[key] = BASELINE
    for key in teacher_keys(table)[:1]:
        wanted[key] = TEACHER
    for arm in arms:
        for key in arm.keys[:1]:
            wanted[key] = arm.name
    return wanted


def gather(
    rows: Iterable[Row], chosen: list[tuple[str, str]], wanted: Wanted, table: Evaluations
) -> list[dict[str, Any]]:
    """Second pass over evaluations.jsonl: the text of the chosen answers."""
    uids = {uid for _, uid in chosen}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    statements: dict[str, str] = {}
    for row in rows if chosen else ():
        uid = text_of(row, "uid")
        if uid not in uids:
            continue
        statement = text_of(row, "statement") or text_of(row, "prompt")
        if statement and key_of(row).view == "student":  # the teacher's prompt holds the PI
            statements.setdefault(uid, _cut(statement, RESPONSE_CHARS))
        name = wanted.get(key_of(row))
        if name is not None and int_of(row, "sample") == 0:
            found[uid, name] = _answer(name, row)
    names = list(wanted.values())
    return [
        {
            "title": title,
            "uid": uid,
            "family": table.problems[uid].family,
            "structure": table.problems[uid].structure,
            "statement": statements.get(uid),
            "answers": [found[uid, name] for name in names if (uid, name) in found],
        }
        for title, uid in chosen
    ]


def _answer(name: str, row: Row) -> dict[str, Any]:
    return {
        "name": name,
        "seed": int_of(row, "seed"),
        "step": int_of(row, "step"),
        "passed": row.get("passed") is True,
        "reason": text_of(row, "reason"),
        "response": _cut(text_of(row, "response"), RESPONSE_CHARS),
        "feedback": _cut(text_of(row, "feedback"), FEEDBACK_CHARS),
    }


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… ({len(text) - limit} more characters)"
