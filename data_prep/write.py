"""Files that are written whole or not at all, row by row, in bounded memory.

Rows here are canonical already (`data_prep.schema` checks them).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError

GROUP_ROWS = 8192
GROUP_CHARS = 32_000_000
Row = dict[str, Any]


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path` that takes its place when the block ends well.

    Until then, and after an error or a signal, what was at `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:  # an interrupt too leaves no half-written file
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_file(
    path: Path, rows: Iterable[Row], schema: pa.Schema, metadata: Mapping[str, str]
) -> None:
    """Write rows to `.parquet` (with `metadata`) or `.jsonl` (which has no place for it)."""
    write = writer_for(path)
    with replacing(path) as file:
        write(file, rows, schema.with_metadata(dict(metadata)))


def writer_for(path: Path) -> Callable[[BinaryIO, Iterable[Row], pa.Schema], None]:
    """The writer of the path's suffix. Raises DataError for another suffix."""
    if path.suffix not in _WRITERS:
        problem = f"no format of ours: `{path.suffix}`"
        raise DataError(str(path), "file", problem, f"use {' or '.join(_WRITERS)}")
    return _WRITERS[path.suffix]


def encode(row: Row) -> bytes:
    """The row as a line of JSON, the keys of `extra_info` in order.

    Raises DataError for text that is no Unicode (half of a surrogate pair).
    """
    extra = {k: row["extra_info"][k] for k in sorted(row["extra_info"])}
    text = json.dumps({**row, "extra_info": extra}, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        problem = f"half of a surrogate pair ({error.object[error.start]!r})"
        mend = "write the character in full"
        raise DataError(f"row {row['uid']}", "text", problem, mend) from error


class Spool:
    """Rows on disk, compressed, in the order they came: written once, then read again and again.

    The file has no name: it is gone when the process ends, however that ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        self._sink: Any = pa.CompressedOutputStream(pa.PythonFile(self._again("wb"), "w"), "zstd")
        self._length = 0

    def append(self, row: Row) -> None:
        self._sink.write(encode(row))
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Row]:
        return map(json.loads, self.lines())

    def lines(self) -> Iterator[bytes]:
        """All rows as JSON. One loop at a time: each starts again from the first row."""
        self._sink.close()
        self._file.seek(0)
        with self._again("rb") as file:
            stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
            rest = b""
            while block := stream.read(1 << 20):
                *lines, rest = (rest + block).split(b"\n")
                yield from lines

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()
        self._file.close()

    def _again(self, mode: str) -> Any:
        """The same file once more: arrow's streams close what they are given."""
        return os.fdopen(os.dup(self._file.fileno()), mode)


def _write_jsonl(file: BinaryIO, rows: Iterable[Row], schema: pa.Schema) -> None:
    for row in rows:
        file.write(encode(row))


def _write_parquet(file: BinaryIO, rows: Iterable[Row], schema: pa.Schema) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in groups, of so many rows or so many characters at most (one row at least)."""
    group: list[Row] = []
    chars = 0
    for row in rows:
        group.append(row)
        chars += sum(len(part["content"]) for part in (*row["prompt"], *row["privileged"]))
        chars += len(row["reward_model"]["ground_truth"])
        if len(group) >= GROUP_ROWS or chars >= GROUP_CHARS:
            yield group
            group, chars = [], 0
    if group:
        yield group


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_WRITERS = {".parquet": _write_parquet, ".jsonl": _write_jsonl}
