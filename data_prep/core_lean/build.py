"""The core-Lean rows: generated from seeds, split so that no split holds another's statement.

Two statements count as equal when they differ in names, in white space, or in the order of
hypotheses or operands (`canonical.unordered`); equal statements never occur twice, in no split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_prep.canonical import unordered
from data_prep.core_lean import arithmetic, easy, logic
from data_prep.core_lean.theorem import Family, Generator, Pick, Theorem
from data_prep.errors import DataError
from data_prep.family import Family as DataFamily
from data_prep.family import Request
from data_prep.schema import Row, write_rows

SOURCE = "core_lean"
TARGETS: tuple[Family, ...] = (*arithmetic.FAMILIES, *logic.FAMILIES)
EASY: tuple[Family, ...] = easy.FAMILIES
# Rows of each family: of the trained form in each split, and of the new form.
EASY_ROWS, WARMUP_ROWS, TRAIN_ROWS, SEEN_ROWS, NEW_ROWS = 16, 24, 20, 12, 3
MAX_DRAWS = 2000

# Automation that proves most statements without a step. The prompt names the rule; rows carry
# the list, and no proof of ours needs any of them.
FORBIDDEN = (
    "grind", "grobner", "lia", "cutsat", "omega", "simp", "simp_all", "simpa", "simp_arith",
    "simp_all_arith", "dsimp", "decide", "bv_decide", "bv_omega", "ac_rfl", "ac_nf",
    "solve_by_elim", "apply_assumption", "apply_rules", "exact?", "apply?", "rw?", "try?",
    "norm_num", "linarith", "nlinarith", "ring", "aesop", "tauto",
)  # fmt: skip
INSTRUCTION = "Prove in Lean 4 without automation."


def build() -> dict[str, list[Row]]:
    """All rows by split, families in turn, so that any prefix is balanced."""
    taken: set[tuple[str, ...]] = set()
    easy_rows = {f.name: list(_draw(f.name, f.seen, EASY_ROWS, taken)) for f in EASY}
    target = {
        f.name: _draw(f.name, f.seen, WARMUP_ROWS + TRAIN_ROWS + SEEN_ROWS, taken) for f in TARGETS
    }
    warm = {name: [next(draw) for _ in range(WARMUP_ROWS)] for name, draw in target.items()}
    train = {name: [next(draw) for _ in range(TRAIN_ROWS)] for name, draw in target.items()}
    seen = {name: list(draw) for name, draw in target.items()}
    new = {f.name: list(_draw(f.name, f.new, NEW_ROWS, taken)) for f in TARGETS if f.new}
    warmup = [*_rows(easy_rows, "warmup", "seen", "easy"), *_rows(warm, "warmup", "seen", "target")]
    heldout = [*_rows(seen, "heldout", "seen", "target"), *_rows(new, "heldout", "new", "target")]
    splits = {
        "warmup": warmup,
        "train": _rows(train, "train", "seen", "target"),
        "heldout": _interleave(heldout),
    }
    return {name: _numbered(rows) for name, rows in splits.items()}


def write(out: str | Path) -> dict[str, int]:
    """Write the splits to `out` as jsonl; return the number of rows by file."""
    files = {Path(out) / f"{split}.jsonl": rows for split, rows in build().items()}
    return {str(path): write_rows(path, rows, source=SOURCE) for path, rows in files.items()}


def rows_of(request: Request) -> Iterator[Row]:
    """The rows of all splits, for the command line."""
    for rows in build().values():
        yield from rows


def _draw(
    name: str, generate: Generator, count: int, taken: set[tuple[str, ...]]
) -> Iterator[Theorem]:
    """`count` theorems whose statements differ from all before, forms in turn."""
    found = 0
    for attempt in range(MAX_DRAWS):
        theorem = generate(Pick(f"{SOURCE}/{name}/{generate.__name__}/{attempt}", found))
        key = unordered(theorem.header)
        if key in taken:
            continue
        taken.add(key)
        found += 1
        yield theorem
        if found == count:
            return
    raise DataError(
        f"family {name}",
        "generator",
        f"only {found} of {count} statements differ",
        "widen its constants",
    )


def _rows(families: dict[str, list[Theorem]], split: str, structure: str, role: str) -> list[Row]:
    """Rows of several families, one of each in turn."""
    rounds = zip(*families.values(), strict=True)
    names = list(families)
    return [
        _row(name, theorem, split, structure, role)
        for theorems in rounds
        for name, theorem in zip(names, theorems, strict=True)
    ]


def _row(family: str, theorem: Theorem, split: str, structure: str, role: str) -> Row:
    return {
        "data_source": SOURCE,
        "prompt": prompt(theorem.header),
        "ability": "lean",
        "reward_model": {"style": "lean", "ground_truth": theorem.header},
        "extra_info": {
            "family": family,
            "forbid": list(FORBIDDEN),
            "index": 0,
            "role": role,
            "split": split,
            "structure": structure,
        },
        "privileged": [
            {"kind": "skeleton", "content": theorem.skeleton},
            {"kind": "gold_solution", "content": theorem.proof},
        ],
        "level": "easy" if role == "easy" else structure,
        "split": split,
    }


def prompt(header: str) -> list[dict[str, str]]:
    """The rule as system message, the statement alone as user message: short prompts, since a
    small model on a CPU reads each of them many times."""
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": header}]


def _interleave(rows: list[Row]) -> list[Row]:
    """Rows of new structure spread evenly among the others."""
    groups = [[r for r in rows if r["extra_info"]["structure"] == s] for s in ("seen", "new")]
    placed = [(i / len(group), row) for group in groups for i, row in enumerate(group)]
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def _numbered(rows: list[Row]) -> list[Row]:
    for index, row in enumerate(rows):
        row["extra_info"]["index"] = index
    return rows


CORE_LEAN = DataFamily(
    name=SOURCE,
    description="the bundled Lean theorems, generated again",
    verifier="lean",
    build=rows_of,
    reads="nothing",
    licence="Apache-2.0, written for this package",
    size="448 warmup, 280 train, 210 heldout",
    kinds=("skeleton", "gold_solution"),
    format="jsonl",
)
