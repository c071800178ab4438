"""A family: what turns one published data set into rows.

A family is a `Family` object in a file of its own, registered by name in `data_prep.registry`. Its
`build` gets a `Request` and gives rows; everything else (validating, splitting, dropping what
occurs twice or leaks, writing) is the same for all families and done by `data_prep.pipeline`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data_prep.errors import DataError

__all__ = ["Drop", "Drops", "Family", "Hub", "Option", "Record", "Request", "make_row"]

MAX_CHARS = 200_000
MAX_PLACES = 1000
Row = dict[str, Any]
Parse = Callable[[str], Any]


class Drop(Exception):
    """Raised while one record becomes a row: the row is left out and counted under `reason`.

    `reason` is the same for all rows of a kind; `detail` may tell more of this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass
class Drops:
    """Rows left out: how many for each reason, and the first places of each."""

    strict: bool = False
    kept: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    places: list[dict[str, str]] = field(default_factory=list)

    def add(self, where: str, reason: str, detail: str = "") -> None:
        """Count one row. It is an error instead (DataError) with `strict`, and where the first
        1,000 rows were all dropped: the source is another than the family expects."""
        if self.strict:
            mend = "mend the row, or leave out strict=true to drop it"
            raise DataError(where, "row", f"{reason} {detail}".strip(), mend)
        self.counts[reason] += 1
        if self.counts[reason] <= MAX_PLACES:
            self.places.append({"where": where, "reason": reason, "detail": detail[:200]})
        if self.kept == 0 and self.counts.total() >= MAX_PLACES:
            raise self.nothing_left(where)

    def nothing_left(self, where: str) -> DataError:
        """The error for a source of which no row is left."""
        reasons = ", ".join(f"{n} × {reason}" for reason, n in self.counts.most_common(3))
        first = f"; the first: {self.places[0]['where']}" if self.places else ""
        problem = f"no row is left ({reasons or 'there was none'}{first})"
        return DataError(where, "rows", problem, "check that the source is this data set")


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub: its id, and the configurations and splits to read."""

    id: str
    splits: tuple[str, ...] = ("train",)
    configs: tuple[str | None, ...] = (None,)


@dataclass(frozen=True)
class Option:
    """One `name=value` of a family. `parse` is str, int, float, `boolean` or `json_object`."""

    name: str
    parse: Parse
    default: Any
    help: str


@dataclass(frozen=True)
class Record:
    """One row as its publisher gives it. `where` names file and line, `number` counts from 0."""

    where: str
    number: int
    fields: Mapping[str, Any]
    split: str | None = None
    max_chars: int = MAX_CHARS

    def text(self, *names: str, default: str | None = None) -> str:
        """The first of these columns that is there, as text. Drops the row where it is none."""
        for name in names:
            value = self.fields.get(name)
            if value is not None:
                return self.checked(value, name)
        if default is None:
            raise Drop(f"column `{'` or `'.join(names)}` is missing")
        return default

    def checked(self, value: Any, name: str) -> str:
        """`value` where it is proper text of bearable length; drops the row otherwise."""
        if not isinstance(value, str):
            raise Drop(f"column `{name}` is no text", f"found {type(value).__name__}")
        if len(value) > self.max_chars:
            raise Drop(f"column `{name}` is longer than {self.max_chars} characters")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Drop(f"column `{name}` is not UTF-8") from None
        return value

    def texts(self, name: str, default: list[str] | None = None) -> list[str]:
        """A column that is a list of texts."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, list):
            raise Drop(f"column `{name}` is {'missing' if value is None else 'no list'}")
        return [self.checked(item, name) for item in value]


@dataclass
class Request:
    """What a family's `build` works on: source, options (parsed, defaults filled in), drops."""

    family: Family
    source: str | None
    options: Mapping[str, Any]
    drops: Drops = field(default_factory=Drops)

    def __getitem__(self, name: str) -> Any:
        return self.options[name]

    @property
    def path(self) -> Path:
        """The source as an existing file or folder. Raises DataError where it is none."""
        if self.source is None or not Path(self.source).exists():
            problem = (
                "missing" if self.source is None else f"there is no file or folder {self.source}"
            )
            raise DataError(self.family.name, "source", problem, "add source=FILE or source=FOLDER")
        return Path(self.source)

    def records(self) -> Iterator[Record]:
        """The records of the source, or of the family's hub id, one at a time; unreadable ones
        are counted as dropped."""
        from data_prep.sources import Reading, read  # lazy: it imports this module

        reading = Reading(self.drops, self.options.get("max_chars", MAX_CHARS))
        seen: set[int] = set()
        for record in read(self.source, self.family.hub, reading):
            name = self.family.id_column
            value = record.fields.get(name) if name else None
            if value is not None:
                key = hash(str(value))
                if key in seen:
                    self.drops.add(record.where, f"duplicate `{name}`", str(value))
                    continue
                seen.add(key)
            yield record

    def convert(self, make: Callable[[Record, Request], Row]) -> Iterator[Row]:
        """A row for each record; those for which `make` raises Drop are counted instead."""
        for record in self.records():
            try:
                row = make(record, self)
            except Drop as drop:
                self.drops.add(record.where, drop.reason, drop.detail)
            else:
                yield row


@dataclass(frozen=True)
class Family:
    """One data set. `name` is what the command line calls it.

    build: gives the rows of a request (`privileged` filled in where the data set has it; `uid` may
        be left out). Problems of one row are counted (`request.drops.add`), problems of the whole
        source raise DataError.
    verifier: `reward_model.style` of its rows.
    reads: "records" (any file, folder or hub id, through `request.records()`), "files" (its own
        layout, below `request.path`), or "nothing" (it generates).
    id_column: a column of the source whose values occur once; later ones are dropped and counted.
    """

    name: str
    description: str
    verifier: str
    build: Callable[[Request], Iterable[Row]]
    reads: Literal["records", "files", "nothing"] = "records"
    hub: Hub | None = None
    licence: str = ""
    size: str = ""
    kinds: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    id_column: str | None = None
    format: Literal["parquet", "jsonl"] = "parquet"


def make_row(
    *,
    data_source: str,
    prompt: str | list[dict[str, str]],
    ability: str,
    verifier: str,
    ground_truth: str | Mapping[str, Any],
    split: str,
    index: int,
    privileged: Mapping[str, str | None],
    family: str = "",
    level: str = "",
    structure: str = "",
    **extra: Any,
) -> Row:
    """A row of our schema. A `prompt` of type str is one user message; a ground truth that is an
    object is written as JSON; kinds whose content is None or empty are left out."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(ground_truth, str):
        ground_truth = json.dumps(ground_truth, ensure_ascii=False, sort_keys=True)
    return {
        "data_source": data_source,
        "prompt": messages,
        "ability": ability,
        "reward_model": {"style": verifier, "ground_truth": ground_truth},
        "extra_info": {
            "index": index, "split": split, "family": family, "structure": structure, **extra,
        },
        "privileged": [{"kind": kind, "content": c} for kind, c in privileged.items() if c],
        "level": level,
        "split": split,
    }  # fmt: skip


def boolean(text: str) -> bool:
    """`true` or `false` (also yes, no, 1, 0)."""
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise ValueError("give true or false")
    return values[text.lower()]


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON ({error.msg}); give an object like '{{\"a\": 1}}'") from None
    if not isinstance(value, dict):
        raise ValueError("give a JSON object like '{\"a\": 1}'")
    return value
