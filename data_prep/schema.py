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
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError

__all__ = [
    "COLUMNS", "SCHEMA_VERSION", "DataError", "arrow_schema", "make_uid", "privileged",
    "read_rows", "validate_rows", "write_rows",
]  # fmt: skip

SCHEMA_VERSION = "1"
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


def arrow_schema(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The columns in their order, `extra_info` widened by the further keys that occur."""
    extra = dict(EXTRA_INFO)
    for row in rows:
        for key in sorted(row["extra_info"].keys() - extra.keys()):
            extra[key] = _extra_type(row["extra_info"][key])
    further = sorted(extra.keys() - EXTRA_INFO.keys())
    struct = pa.struct([(key, extra[key]) for key in [*EXTRA_INFO, *further]])
    return pa.schema([(k, struct if k == "extra_info" else t) for k, t in COLUMNS.items()])


def validate_rows(rows: Iterable[Mapping[str, Any]], where: str = "rows") -> list[Row]:
    """The rows in canonical form: columns in order, `uid` filled in. Unknown columns are refused.

    Raises DataError naming row, column and mend; two rows of one uid are refused too.
    """
    checked: list[Row] = []
    first_seen: dict[str, int] = {}
    extra_types: dict[str, pa.DataType] = dict(EXTRA_INFO)
    for number, row in enumerate(rows):
        at = f"{where}, row {number}"
        clean = _validate_row(row, at)
        _validate_extra(clean["extra_info"], extra_types, at)
        twin = first_seen.setdefault(clean["uid"], number)
        if twin != number:
            problem = f"the same uid {clean['uid']} as row {twin}"
            raise DataError(at, "column `uid`", problem, "drop one of the two rows")
        checked.append(clean)
    return checked


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Validated rows of a `.parquet` or `.jsonl` file. Raises DataError for a bad file."""
    path = Path(path)
    if not path.is_file():
        raise DataError(str(path), "file", "there is no such file", "check the path")
    return validate_rows(_by_suffix(path, _READERS)(path), str(path))


def write_rows(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], *, source: str
) -> int:
    """Write validated rows to `.parquet` or `.jsonl`, atomically; return their number.

    The same rows give the same bytes. Parquet metadata records schema version, `source` (where
    the data came from) and counts by split; jsonl has no place for them.
    """
    path = Path(path)
    write = _by_suffix(path, _WRITERS)
    checked = validate_rows(rows, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file, checked, source)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:  # an interrupt too leaves no half-written file
        Path(temporary).unlink(missing_ok=True)
        raise
    return len(checked)


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
        _expect(isinstance(row[name], str), at, name, row[name], "a string")
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
            found is not None, at, column, value, "a string, number, boolean or list of strings"
        )
        if value is not None:
            wanted = types.setdefault(key, found)
            _expect(wanted == found, at, column, value, f"{wanted} as in the rows before")


def _extra_type(value: Any) -> pa.DataType | None:
    if value is None:
        return pa.string()
    if isinstance(value, list):
        return pa.list_(pa.string()) if all(isinstance(x, str) for x in value) else None
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return types.get(type(value))


def _pairs(value: Any, key: str, content: str, at: str, column: str) -> list[dict[str, str]]:
    """A list of objects with two string fields, and nothing else in them."""
    wanted = f"{{{key}: string, {content}: string}}"
    _expect(isinstance(value, list), at, column, value, f"a list of {wanted}")
    pairs = []
    for entry in value:
        good = isinstance(entry, Mapping) and entry.keys() == {key, content}
        good = good and all(isinstance(x, str) for x in entry.values())
        _expect(good, at, column, entry, wanted)
        pairs.append({key: entry[key], content: entry[content]})
    return pairs


def _expect(good: bool, at: str, column: str, value: Any, wanted: str) -> None:
    if not good:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise DataError(at, f"column `{column}`", f"found {shown}", f"give {wanted}")


def _by_suffix(path: Path, table: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    if path.suffix not in table:
        raise DataError(
            str(path), "file", f"no format of ours: `{path.suffix}`", f"use {' or '.join(table)}"
        )
    return table[path.suffix]


def _read_jsonl(path: Path) -> Iterable[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    yield json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise _line_error(
                    path, number, f"not UTF-8 ({error.reason})", "convert it"
                ) from error
            except json.JSONDecodeError as error:
                raise _line_error(
                    path, number, f"not JSON ({error.msg})", "write one object"
                ) from error


def _line_error(path: Path, number: int, problem: str, mend: str) -> DataError:
    return DataError(f"{path}, line {number}", "line", problem, mend)


def _read_parquet(path: Path) -> list[Row]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        problem = f"no readable parquet ({str(error).splitlines()[0]})"
        raise DataError(str(path), "file", problem, "write the file again") from error
    for row in rows:  # a key that only other rows have comes back as null
        if isinstance(row.get("extra_info"), dict):
            row["extra_info"] = {k: v for k, v in row["extra_info"].items() if v is not None}
    return rows


def _write_jsonl(file: Any, rows: list[Row], source: str) -> None:
    for row in rows:
        extra = {k: row["extra_info"][k] for k in sorted(row["extra_info"])}
        file.write(json.dumps({**row, "extra_info": extra}, ensure_ascii=False).encode() + b"\n")


def _write_parquet(file: Any, rows: list[Row], source: str) -> None:
    splits = {name: sum(row["split"] == name for row in rows) for name in _splits(rows)}
    metadata = {
        "verl_pi.schema_version": SCHEMA_VERSION,
        "verl_pi.source": source,
        "verl_pi.rows": json.dumps(splits),
    }
    table = pa.Table.from_pylist(rows, schema=arrow_schema(rows).with_metadata(metadata))
    pq.write_table(table, file, compression="zstd")


def _splits(rows: list[Row]) -> list[str]:
    return sorted({row["split"] for row in rows})


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl}
_WRITERS = {".parquet": _write_parquet, ".jsonl": _write_jsonl}
