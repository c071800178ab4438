"""Rows: one schema for every data set, a validator, and files that never come out half-written.

A row is a dict. Columns are verl's (`data_source`, `prompt`, `ability`, `reward_model`,
`extra_info`) and ours: `privileged` (the privileged information, one entry per kind), `level`,
`split`, `uid`. `extra_info` may carry further keys; their values are strings, numbers, booleans,
or lists of strings.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError
from data_prep.write import Spool, write_file, writer_for

__all__ = [
    "COLUMNS", "SCHEMA_VERSION", "DataError", "RowFile", "Validator", "arrow_schema", "make_uid",
    "metadata", "privileged", "read_rows", "short_hash", "validate_rows", "write_rows",
]  # fmt: skip

SCHEMA_VERSION = "1"
BATCH_ROWS = 256
ROLES = ("system", "user", "assistant", "tool")
COLUMNS: dict[str, pa.DataType] = {
    "data_source": pa.string(),
    "prompt": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "ability": pa.string(),
    "reward_model": pa.struct([("style", pa.string()), ("ground_truth", pa.string())]),
    "extra_info": pa.struct([]),  # filled by `arrow_schema`
    "privileged": pa.list_(pa.struct([("kind", pa.string()), ("content", pa.string())])),
    "level": pa.string(),
    "split": pa.string(),
    "uid": pa.string(),
}
EXTRA_INFO: dict[str, pa.DataType] = {
    "index": pa.int64(),
    "split": pa.string(),
    "family": pa.string(),
    "structure": pa.string(),
}
Row = dict[str, Any]


def make_uid(row: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of what the row asks and how it is judged."""
    content = [row["data_source"], row["prompt"], row["reward_model"]]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def privileged(row: Mapping[str, Any], kind: str) -> str | None:
    """The row's privileged content of that kind, or None where it has none."""
    return next((p["content"] for p in row["privileged"] if p["kind"] == kind), None)


def arrow_schema(extra_types: Mapping[str, pa.DataType]) -> pa.Schema:
    """The columns in their order, `extra_info` widened by the further keys that occur."""
    further = sorted(extra_types.keys() - EXTRA_INFO.keys())
    extra = {**EXTRA_INFO, **extra_types}
    struct = pa.struct([(key, extra[key]) for key in [*EXTRA_INFO, *further]])
    return pa.schema([(k, struct if k == "extra_info" else t) for k, t in COLUMNS.items()])


class Validator:
    """Checks rows one by one, and remembers what all rows of a file must agree on."""

    def __init__(self) -> None:
        self.extra_types: dict[str, pa.DataType] = {}
        self._first: dict[int, int] = {}

    def clean(self, row: Mapping[str, Any], at: str) -> Row:
        """The row in canonical form: columns in order, `uid` filled in.

        Raises DataError naming row (`at`), column and mend. Unknown columns are refused.
        """
        try:
            clean = _validate_row(row, at)
        except UnicodeEncodeError as error:
            problem = f"half of a surrogate pair ({error.object[error.start]!r})"
            mend = "write the character in full"
            raise DataError(at, "text", problem, mend) from error
        _validate_extra(clean["extra_info"], self.extra_types, at)
        return clean

    def unique(self, uid: str, number: int, at: str) -> None:
        """Raise DataError where a row before this one (`number`) had its uid."""
        twin = self._first.setdefault(short_hash(uid), number)
        if twin != number:
            problem = f"the same uid {uid} as row {twin}"
            raise DataError(at, "column `uid`", problem, "drop one of the two rows")

    def schema(self) -> pa.Schema:
        """The arrow schema of the rows so far."""
        return arrow_schema(self.extra_types)


def short_hash(text: str) -> int:
    """64 bits of a text: what is kept of it where a million texts would be too much."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def validate_rows(rows: Iterable[Mapping[str, Any]], where: str = "rows") -> list[Row]:
    """The rows in canonical form: columns in order, `uid` filled in. Unknown columns are refused.

    Raises DataError naming row, column and mend; two rows of one uid are refused too.
    """
    return list(_validated(rows, where, Validator()))


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Validated rows of a `.parquet` or `.jsonl` file. Raises DataError for a bad file."""
    return list(RowFile(path))


class RowFile:
    """The validated rows of a file, one at a time; every loop reads the file again."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise DataError(str(path), "file", "it is a folder", "give one of the files in it")
        if not self.path.is_file():
            raise DataError(str(path), "file", "there is no such file", "check the path")
        if self.path.suffix not in _READERS:
            problem = f"no format of ours: `{self.path.suffix}`"
            raise DataError(str(path), "file", problem, f"use {' or '.join(_READERS)}")

    def __iter__(self) -> Iterator[Row]:
        rows = _READERS[self.path.suffix](self.path)
        return _validated(rows, str(self.path), Validator())


def write_rows(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], *, source: str
) -> int:
    """Write validated rows to `.parquet` or `.jsonl`, atomically; return their number.

    The same rows give the same bytes. Parquet metadata records schema version, `source` (where
    the data came from) and counts by split; jsonl has no place for them.
    """
    path = Path(path)
    writer_for(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    validator, splits = Validator(), Counter[str]()
    with Spool(path.parent) as spool:
        for row in _validated(rows, str(path), validator):
            spool.append(row)
            splits[row["split"]] += 1
        write_file(path, spool, validator.schema(), metadata(source, splits))
    return splits.total()


def metadata(source: str, splits: Mapping[str, int]) -> dict[str, str]:
    """What a parquet file of ours says of itself."""
    return {
        "verl_pi.schema_version": SCHEMA_VERSION,
        "verl_pi.source": source,
        "verl_pi.rows": json.dumps(dict(sorted(splits.items()))),
    }


def _validated(
    rows: Iterable[Mapping[str, Any]], where: str, validator: Validator
) -> Iterator[Row]:
    for number, row in enumerate(rows):
        at = f"{where}, row {number}"
        clean = validator.clean(row, at)
        validator.unique(clean["uid"], number, at)
        yield clean


def _validate_row(row: Mapping[str, Any], at: str) -> Row:
    if not isinstance(row, Mapping):
        raise DataError(at, "row", f"a {type(row).__name__}, not an object", "write a JSON object")
    unknown = sorted(row.keys() - COLUMNS.keys())
    if unknown:
        raise DataError(
            at, f"column `{unknown[0]}`", "no column of ours", "move it into `extra_info`"
        )
    for name in COLUMNS.keys() - {"uid"}:
        if row.get(name) is None:
            raise DataError(at, f"column `{name}`", "missing", f"add `{name}`")
    for name in ("data_source", "ability", "level", "split"):
        _expect(_is_text(row[name]), at, name, row[name], "a string")
    clean: Row = {name: row[name] for name in COLUMNS if name != "uid"}
    clean["prompt"] = _pairs(row["prompt"], "role", "content", at, "prompt")
    clean["privileged"] = _pairs(row["privileged"], "kind", "content", at, "privileged")
    clean["reward_model"] = _pairs(
        [row["reward_model"]], "style", "ground_truth", at, "reward_model"
    )[0]
    _validate_prompt(clean["prompt"], at)
    kinds = [entry["kind"] for entry in clean["privileged"]]
    _expect(len(kinds) == len(set(kinds)), at, "privileged", kinds, "each kind once")
    clean["uid"] = row["uid"] if row.get("uid") is not None else make_uid(clean)
    _expect(isinstance(clean["uid"], str) and clean["uid"] != "", at, "uid", clean["uid"], "a name")
    return clean


def _validate_prompt(prompt: list[dict[str, str]], at: str) -> None:
    _expect(bool(prompt), at, "prompt", prompt, "at least one message")
    for message in prompt:
        role = message["role"]
        _expect(role in ROLES, at, "prompt", role, f"a role among {', '.join(ROLES)}")


def _validate_extra(extra: Any, types: dict[str, pa.DataType], at: str) -> None:
    _expect(isinstance(extra, Mapping), at, "extra_info", extra, "an object")
    for key, value in extra.items():
        column = f"extra_info.{key}"
        found = _extra_type(value)
        _expect(
            found is not None,
            at,
            column,
            value,
            "a string, number (of 64 bits), boolean or list of strings",
        )
        if value is not None:
            wanted = types.setdefault(key, EXTRA_INFO.get(key, found))
            _expect(wanted == found, at, column, value, f"{wanted} as in the rows before")


def _extra_type(value: Any) -> pa.DataType | None:
    if value is None:
        return pa.string()
    if isinstance(value, list):
        return pa.list_(pa.string()) if all(map(_is_text, value)) else None
    if isinstance(value, str):
        return pa.string() if _is_text(value) else None
    if type(value) is int and not -(2**63) <= value < 2**63:
        return None
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(type(value))


def _is_text(value: Any) -> bool:
    """Whether it is a string. Raises UnicodeEncodeError for one with half of a surrogate pair."""
    return isinstance(value, str) and (value.isascii() or bool(value.encode()))


def _pairs(value: Any, key: str, content: str, at: str, column: str) -> list[dict[str, str]]:
    """A list of objects with two string fields, and nothing else in them."""
    wanted = f"{{{key}: string, {content}: string}}"
    _expect(isinstance(value, list), at, column, value, f"a list of {wanted}")
    pairs = []
    for entry in value:
        good = isinstance(entry, Mapping) and entry.keys() == {key, content}
        good = good and all(map(_is_text, entry.values()))
        _expect(good, at, column, entry, wanted)
        pairs.append({key: entry[key], content: entry[content]})
    return pairs


def _expect(good: bool, at: str, column: str, value: Any, wanted: str) -> None:
    if not good:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise DataError(at, f"column `{column}`", f"found {shown}", f"give {wanted}")


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    yield json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 ({error.reason})"
                raise _line_error(path, number, problem, "convert it") from error
            except (ValueError, RecursionError) as error:  # a number of 5,000 digits too
                problem = f"not JSON ({getattr(error, 'msg', error)})"
                raise _line_error(path, number, problem, "write one object") from error


def _line_error(path: Path, number: int, problem: str, mend: str) -> DataError:
    return DataError(f"{path}, line {number}", "line", problem, mend)


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from map(_without_nulls, batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        problem = f"no readable parquet ({str(error).splitlines()[0].rstrip('.')})"
        raise DataError(str(path), "file", problem, "write the file again") from error


def _without_nulls(row: Row) -> Row:
    """A key of `extra_info` that only other rows have comes back as null."""
    if isinstance(row.get("extra_info"), dict):
        row["extra_info"] = {k: v for k, v in row["extra_info"].items() if v is not None}
    return row


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl}
