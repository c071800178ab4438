"""The files that a run trains and evaluates on, made once from whatever the user named.

Rows get the control kinds of privileged information, a ``row_uid`` that survives verl's loader,
and are checked: both views must fit, no held-out statement may be trained on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from algorithms.runtime.prompts import row_views
from algorithms.runtime.stages import Sampling
from algorithms.views import ViewOverflow
from data_prep import core_lean, leak, pi, small_programs, worked_arithmetic
from data_prep.schema import read_rows
from recipes.config import ConfigError

Row = dict[str, Any]
GOLD = "gold_solution"
FOR_TESTS = ("test", "heldout", "eval")
# Sets that come with the package: name -> loader of a split.
BUNDLED: dict[str, Callable[[str], list[Row]]] = {
    "core_lean": core_lean.load,
    "worked_arithmetic": worked_arithmetic.load,
    "small_programs": small_programs.load,
}


@dataclass
class RunData:
    """Rows by role, and what was dropped from them. ``compared``: training and warm-up rows in
    which no held-out row was found; ``given``: rows that the data had by role."""

    train: list[Row]
    heldout: list[Row]
    warmup: list[list[Row]]
    dropped: list[dict[str, Any]] = field(default_factory=list)
    longest: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    given: dict[str, int] = field(default_factory=dict)

    def with_gold(self) -> list[Row]:
        """The training rows that have a gold proof: what SFT can use."""
        return [row for row in self.train if any(e["kind"] == GOLD for e in row["privileged"])]


def load(name: str | None, split: str) -> list[Row]:
    """Rows of the bundled set, or of a parquet or jsonl file.

    Raises:
        ConfigError: no such file.
        data_prep.errors.DataError: a file whose rows do not have our schema.
    """
    if name is None:
        return []
    if name in BUNDLED:
        return BUNDLED[name](split)
    path = Path(name).expanduser()
    if not path.exists():
        raise ConfigError(
            f"no data at {path}: give {', '.join(BUNDLED)}, or a parquet or jsonl file that "
            "python -m data_prep wrote"
        )
    return read_rows(path)


@dataclass(frozen=True)
class KindsOfArms:
    """Privileged kinds that arms show to a teacher, or tell in their retry prompts."""

    shown: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


NO_KINDS = KindsOfArms()


def build(config: Any, tokenizer: Any, warm_up: bool, kinds: KindsOfArms = NO_KINDS) -> RunData:
    """Load, check and complete all rows of a run. Deterministic.

    What ``kinds`` names is made from the rows where they lack it and it can be.
    """
    whole, asked = load(config.data.train, "train"), load(config.data.eval, "heldout")
    train = _first(whole, config.data.train_rows)
    heldout = _first(asked, config.data.eval_rows)
    warm = load(config.data.warmup, "warmup") if warm_up else []
    leak.check_disjoint([*train, *warm], heldout)
    _check_splits(train, config.data.train)
    compared = len({row["uid"] for row in [*train, *warm]})
    without = set(config.data.without_gold)
    _check_families(without, train)
    data = RunData(
        [_withheld(row, without) for row in _with_controls(train, (*kinds.shown, *kinds.told))],
        [_withheld(row, without) for row in heldout],
        [],
        compared=compared,
        given={"train": len(whole), "heldout": len(asked)},
    )
    if warm_up:
        data.warmup = [_mix(warm, phase.mix, config) for phase in config.warmup.phases]
    samplings = [
        Sampling(
            pi_kind=kind,
            max_prompt_tokens=config.max_prompt_tokens,
            template=_template(config),
        )
        for kind in dict.fromkeys([config.privileged.kind, *kinds.shown])
    ]
    fitting = partial(_fitting, data, tokenizer, samplings, chat_kwargs(config))
    data.train = fitting("train", data.train)
    data.heldout = fitting("heldout", data.heldout)
    data.warmup = [fitting("warmup", rows) for rows in data.warmup]
    return data


def _check_splits(rows: Sequence[Row], name: str | None) -> None:
    """Refuse to train on what its publisher set aside for tests."""
    found = sorted({str(row["split"]) for row in rows} & set(FOR_TESTS))
    if found:
        raise ConfigError(
            f"data.train={name}: rows whose split is {', '.join(found)} are for evaluation; give "
            "the file of the training split (python -m data_prep writes one file a split)"
        )


def chat_kwargs(config: Any) -> dict[str, Any]:
    """What verl gives to the chat template beside the messages (``enable_thinking`` and such)."""
    given = OmegaConf.select(config, "verl.data.apply_chat_template_kwargs") or {}
    return {str(name): value for name, value in given.items()}


def _check_families(families: set[str], rows: Sequence[Row]) -> None:
    known = {str(row["extra_info"].get("family")) for row in rows}
    if families - known:
        raise ConfigError(
            f"data.without_gold: no training row is of family {', '.join(sorted(families - known))}"
            f"; known: {', '.join(sorted(known))}"
        )


def _withheld(row: Row, families: set[str]) -> Row:
    """The row, without its gold proof where its family is to have none; marked either way."""
    if not families:
        return row
    has_gold = row["extra_info"].get("family") not in families
    kinds = row["privileged"] if has_gold else [e for e in row["privileged"] if e["kind"] != GOLD]
    return {
        **row,
        "privileged": kinds,
        "extra_info": {**row["extra_info"], "has_gold": has_gold},
    }


def _template(config: Any) -> dict[str, str]:
    template = {"position": config.privileged.position}
    if config.privileged.template:
        template["template"] = config.privileged.template
    return template


def _first(rows: list[Row], count: int | None) -> list[Row]:
    if count is None or count >= len(rows):
        return rows
    # A seeded choice, in the file's order: the first rows may all be of one family.
    chosen = sorted(random.Random(0).sample(range(len(rows)), count))
    return [rows[i] for i in chosen]


def _with_controls(rows: list[Row], kinds: Sequence[str] = ()) -> list[Row]:
    """Every row with the privileged kinds that the control arms show, or tell after a failure."""
    rows = pi.attach(pi.attach(rows, "wrong_skeleton"), "gibberish")
    for kind in dict.fromkeys(kinds):
        there = any(entry["kind"] == kind for row in rows for entry in row["privileged"])
        if kind in pi.BUILDERS and not there:
            rows = pi.attach(rows, kind)
    return rows


# A mix is one warm-up phase: which rows, in which view.


def _format_mix(rows: list[Row], config: Any) -> list[Row]:
    """Easy rows in both views, and the target families from skeleton to proof."""
    easy = [r for r in rows if not _is_target(r)]
    return [
        *(_viewed(r, "student") for r in easy[::2]),
        *(_viewed(r, "teacher") for r in easy[1::2]),
        *(_viewed(r, "teacher") for r in rows if _is_target(r)),
    ]


def _bare_mix(rows: list[Row], config: Any) -> list[Row]:
    """Bare statements of the target families; half of them also with the skeleton."""
    target = [r for r in rows if _is_target(r)]
    return [
        *(_viewed(r, "student") for r in target),
        *(_viewed(r, "teacher") for r in target[::2]),
    ]


def _plain_mix(rows: list[Row], config: Any) -> list[Row]:
    """All rows, bare prompt to solution."""
    return [_viewed(r, "student") for r in rows]


MIXES: dict[str, Callable[[list[Row], Any], list[Row]]] = {
    "plain": _plain_mix,
    "format": _format_mix,
    "bare": _bare_mix,
}


def _is_target(row: Row) -> bool:
    return row["extra_info"].get("role") == "target"


def _mix(rows: list[Row], name: str, config: Any) -> list[Row]:
    if name not in MIXES:
        raise ConfigError(f"warmup.phases: no mix {name!r}; known: {', '.join(MIXES)}")
    mixed = MIXES[name](rows, config)
    random.Random(0).shuffle(mixed)
    return mixed


def _viewed(row: Row, view: str) -> Row:
    return {**row, "extra_info": {**row["extra_info"], "view": view}}


def _fitting(
    data: RunData,
    tokenizer: Any,
    samplings: Sequence[Sampling],
    chat: dict[str, Any],
    role: str,
    rows: Sequence[Row],
) -> list[Row]:
    """Rows whose views all fit; the others are dropped and counted."""
    kept, longest = [], 0
    for row in rows:
        try:
            views = [row_views(tokenizer, row, row["prompt"], s, **chat) for s in samplings]
        except ViewOverflow as overflow:
            where = {"arm": role, "seed": None, "step": 0, "uid": row["uid"]}
            data.dropped.append({**where, "reason": "view_overflow", "detail": str(overflow)})
            continue
        sizes = [len(ids) for both in views for ids in (both.teacher_ids, both.student_ids)]
        longest = max(longest, *sizes)
        kept.append(row)
    if rows and not kept:
        raise ConfigError(
            f"no {role} row fits max_prompt_tokens={samplings[0].max_prompt_tokens}: raise it"
        )
    data.longest[role] = max(longest, data.longest.get(role, 0))
    return kept


def write(data: RunData, folder: Path) -> dict[str, str]:
    """The parquet files that the stages read, by role."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"train": data.train, "train_gold": data.with_gold(), "eval": data.heldout}
    files |= {f"warmup_{i}": rows for i, rows in enumerate(data.warmup)}
    paths = {}
    for role, rows in files.items():
        path = folder / f"{role}.parquet"
        table = pa.Table.from_pylist([{**row, "row_uid": row["uid"]} for row in rows])
        pq.write_table(table, path)
        paths[role] = str(path)
    return paths
