"""From a request to files: what every family has in common.

Rows are validated and spooled to disk; then it is decided which of them are kept (no training row
that occurs among the held-out rows, a seeded part where `rows` asks for one), and only then are
the files written. In memory are hashes, never texts.
"""

from __future__ import annotations

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from data_prep import leak
from data_prep.errors import DataError
from data_prep.family import Drops, Request, Row
from data_prep.progress import Counted
from data_prep.schema import RowFile, Validator, metadata, short_hash
from data_prep.write import Spool, replacing, write_file, writer_for

TRAINED = ("train", "warmup")  # splits of other names are held out


@dataclass
class Prepared:
    """What came of a request: rows by file (nothing is written in a dry run) and by split."""

    files: dict[str, int] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    drops: Drops = field(default_factory=Drops)


@dataclass
class _Spooled:
    """The spooled rows, and of each: its split, the hash of its uid, whether it is kept."""

    spool: Spool
    validator: Validator
    splits: list[str] = field(default_factory=list)
    uids: array[int] = field(default_factory=lambda: array("Q"))
    kept: bytearray = field(default_factory=bytearray)

    def rows(self, splits: Iterable[str] | None = None) -> Iterator[Row]:
        """The rows that are kept, of all splits or of these."""
        wanted = set(self.splits if splits is None else splits)
        for line, split, kept in zip(self.spool.lines(), self.splits, self.kept, strict=True):
            if kept and split in wanted:
                yield json.loads(line)


def prepare(request: Request) -> Prepared:
    """Build, check and write the rows of a request. Raises DataError for bad input or options."""
    out = Path(request["out"] or request.family.name)
    _check_out(out)
    dry = request["dry_run"]
    if not dry:
        _folder_of(out).mkdir(parents=True, exist_ok=True)
    with Spool(None if dry else _folder_of(out)) as spool:
        spooled = _spool(request, spool)
        _drop_leaks(request, spooled)
        _choose(request, spooled)
        prepared = Prepared(drops=request.drops)
        kept = zip(spooled.splits, spooled.kept, strict=True)
        prepared.splits.update(split for split, is_kept in kept if is_kept)
        _check_rows(request, prepared)
        plan = _plan(request, out, prepared.splits)
        for path, splits in plan.items():
            count = {split: prepared.splits[split] for split in splits}
            if not dry:
                rows = Counted(spooled.rows(splits), f"writing {path}", sum(count.values()))
                about = metadata(_source_name(request), count)
                write_file(path, rows, spooled.validator.schema(), about)
            prepared.files[str(path)] = sum(count.values())
    if not dry:
        _write_drops(request.drops, out)
    return prepared


def is_trained(split: str) -> bool:
    """Whether rows of this split are trained on; all others are held out."""
    return split.startswith(TRAINED)


def _spool(request: Request, spool: Spool) -> _Spooled:
    """Validate and store all rows; rows that occur twice are dropped."""
    spooled, parts = _Spooled(spool, Validator()), _parts(request)
    seen: set[int] = set()
    rows = Counted(request.family.build(request), f"reading {request.family.name}")
    for number, row in enumerate(rows):
        at = f"{request.family.name}, row {number}"
        clean = spooled.validator.clean(row, at)
        if parts:
            _resplit(clean, parts, request["seed"])
        uid = short_hash(clean["uid"])
        once = uid ^ is_trained(clean["split"])  # an item in both roles is a matter of leaks
        if once in seen:
            request.drops.add(at, "duplicate", clean["uid"])
            continue
        seen.add(once)
        request.drops.kept += 1
        spool.append(clean)
        spooled.splits.append(clean["split"])
        spooled.uids.append(uid)
        spooled.kept.append(1)
    return spooled


def _drop_leaks(request: Request, spooled: _Spooled) -> None:
    """Drop training rows that are among the held-out ones, ours or those of `against`."""
    trained = {split for split in set(spooled.splits) if is_trained(split)}
    held_out = set(spooled.splits) - trained
    places = [i for i, split in enumerate(spooled.splits) if split in trained]
    files = [RowFile(path) for path in filter(None, request["against"].split(","))]
    sets: list[Iterable[Mapping[str, Any]]] = [*files, _Again(spooled, held_out)]
    if not trained or not (files or held_out):
        return
    index = leak.HeldOut(Counted(chain.from_iterable(sets), "held-out rows"))
    found: dict[int, leak.Match] = {}
    train = _Again(spooled, trained)
    for match in index.matches(Counted(train, "training rows, against the held-out ones")):
        found.setdefault(match.train, match)
    for place, match in sorted(found.items()):
        spooled.kept[places[place]] = 0
        detail = f"uid {match.train_uid}, overlap {match.overlap:.2f}"
        at = f"{request.family.name}, row {places[place]}"
        request.drops.add(at, f"in the held-out rows ({match.reason})", detail)


@dataclass(frozen=True)
class _Again:
    """The kept rows of some splits, for as many loops as are needed."""

    spooled: _Spooled
    splits: set[str]

    def __iter__(self) -> Iterator[Row]:
        return self.spooled.rows(self.splits)


def _choose(request: Request, spooled: _Spooled) -> None:
    """Keep the splits of `keep`, and of each the seeded part that `rows` asks for."""
    keep = set(filter(None, request["keep"].split(",")))
    missing = sorted(keep - set(spooled.splits))
    if missing:
        known = ", ".join(sorted(set(spooled.splits)))
        problem = f"no row is of split `{missing[0]}`"
        raise DataError("command line", "keep", problem, f"use some of {known}")
    groups: dict[str, list[tuple[int, int]]] = {}
    for i, split in enumerate(spooled.splits):
        if keep and split not in keep:
            spooled.kept[i] = 0
        elif spooled.kept[i] and request["rows"]:
            rank = short_hash(f"{request['seed']}/{spooled.uids[i]}")
            groups.setdefault(split, []).append((rank, i))
    for group in groups.values():
        chosen = {i for _, i in heapq.nsmallest(request["rows"], group)}
        for _, i in group:
            spooled.kept[i] = i in chosen


def _parts(request: Request) -> list[tuple[str, float]]:
    """`train:0.8,test:0.2` as names with the upper end of their part of [0, 1]."""
    parts, end = [], 0.0
    for part in filter(None, request["split"].split(",")):
        name, _, share = part.partition(":")
        try:
            end += float(share)
        except ValueError:
            end = 2.0
        parts.append((name, end))
    if parts and abs(end - 1) > 1e-9:
        problem = f"no split of everything: `{request['split']}`"
        mend = "give shares that add up to 1, like train:0.8,test:0.2"
        raise DataError("command line", "split", problem, mend)
    return parts


def _resplit(row: Row, parts: list[tuple[str, float]], seed: int) -> None:
    """Give the row the split that the hash of its problem falls into: one problem, one split."""
    point = short_hash(f"{seed}/{leak.statement_key(row)}") / 2**64
    row["split"] = next((name for name, end in parts if point < end), parts[-1][0])
    row["extra_info"]["split"] = row["split"]


def _check_out(out: Path) -> None:
    if out.suffix and not out.is_dir():
        writer_for(out)
    if out.is_file() and not out.suffix:
        raise DataError(str(out), "out", "a file is in the way", "give another folder")


def _folder_of(out: Path) -> Path:
    return out.parent if out.suffix and not out.is_dir() else out


def _check_rows(request: Request, prepared: Prepared) -> None:
    if not prepared.splits:
        raise request.drops.nothing_left(request.family.name)


def _plan(request: Request, out: Path, splits: Counter[str]) -> dict[Path, list[str]]:
    """Which splits go into which file: a folder gets a file for each."""
    if _folder_of(out) == out:
        suffix = request["format"] or request.family.format
        return {out / f"{split}.{suffix}": [split] for split in sorted(splits)}
    if len({is_trained(split) for split in splits}) > 1:
        problem = f"{' and '.join(sorted(splits))} would be in one file"
        mend = "give a folder (out=FOLDER), or one of them (keep=train)"
        raise DataError(str(out), "out", problem, mend)
    return {out: sorted(splits)}


def _source_name(request: Request) -> str:
    """What the file says of its source: no folder of this machine."""
    if request.source is None:
        hub = request.family.hub
        return f"{request.family.name} {hub.id if hub else ''}".strip()
    path = Path(request.source)
    return f"{request.family.name} {path.name if path.exists() else request.source}"


def _write_drops(drops: Drops, out: Path) -> None:
    """The side file: how many rows were dropped for which reason, and where. None, if none."""
    folder = _folder_of(out)
    path = folder / ("dropped.jsonl" if folder == out else f"{out.name}.dropped.jsonl")
    if not drops.counts:
        path.unlink(missing_ok=True)
        return
    lines = [{"dropped": dict(sorted(drops.counts.items()))}, *drops.places]
    with replacing(path) as file:
        for line in lines:
            text = json.dumps(line, ensure_ascii=False)
            file.write(text.encode("utf-8", "backslashreplace") + b"\n")
