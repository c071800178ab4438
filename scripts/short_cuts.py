"""Which tactics prove the bundled statements on their own, with nothing forbidden.

    python scripts/short_cuts.py

Prints the table of docs/data-core-lean.md, counted with the Lean that `auto` finds.
"""

from __future__ import annotations

from collections import Counter

from data_prep import core_lean
from rewards import verify_batch

TACTICS = (
    "grind", "lia", "simp_all", "simp [*]", "omega", "solve_by_elim", "simp", "decide", "rfl",
    "trivial", "exact ⟨_, rfl⟩",
)  # fmt: skip


def group_of(row: dict) -> str:
    """Split, and role or structure where a split has both."""
    detail = {"warmup": row["extra_info"]["role"], "heldout": row["extra_info"]["structure"]}
    return ", ".join(filter(None, [row["split"], detail.get(row["split"])]))


def main() -> None:
    rows = [row for split in core_lean.SPLITS for row in core_lean.load(split)]
    sizes = Counter(map(group_of, rows))
    statements = [row["reward_model"]["ground_truth"] for row in rows]
    solved: Counter[tuple[str, str]] = Counter()
    for tactic in TACTICS:
        verdicts = verify_batch([("lean", f"  {tactic}", text, {}) for text in statements])
        for row, verdict in zip(rows, verdicts, strict=True):
            solved[group_of(row), tactic] += verdict.passed
    print("| rows | n | " + " | ".join(f"`{tactic}`" for tactic in TACTICS) + " |")
    print("|---|---|" + "---|" * len(TACTICS))
    for group, size in sizes.items():
        counts = " | ".join(str(solved[group, tactic]) for tactic in TACTICS)
        print(f"| {group} | {size} | {counts} |")


if __name__ == "__main__":
    main()
