"""Where records come from: a file, a folder of files, or a data set on the Hugging Face hub.

Records are read one at a time. A file that cannot be read is one DataError; a line that cannot is
dropped and counted, so that one bad byte does not cost a data set.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError
from data_prep.family import MAX_CHARS, Drops, Hub, Record

MAX_LINE = 64 << 20  # bytes; a longer line is skipped without being held in memory
MAX_JSON = 1 << 30  # bytes of a .json file, which has to be held as a whole
BATCH = 128
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_SPLITS = {"train": "train", "test": "test", "valid": "valid", "val": "valid", "dev": "dev",
           "validation": "validation"}  # fmt: skip


@dataclass
class Reading:
    """One reading of a source: where dropped lines are counted, the split of the file at hand,
    and how many records there were."""

    drops: Drops = field(default_factory=Drops)
    max_chars: int = MAX_CHARS
    split: str | None = None
    count: int = 0

    def record(self, where: str, fields: Any) -> Record | None:
        """The record, or None (counted) where it is no object."""
        number, self.count = self.count, self.count + 1
        if not isinstance(fields, dict):
            self.drops.add(where, "not an object", f"found {type(fields).__name__}")
            return None
        own = fields.get("split")
        split = own if isinstance(own, str) and own else self.split
        return Record(where, number, fields, split, self.max_chars)


def read(source: str | None, hub: Hub | None, reading: Reading) -> Iterator[Record]:
    """The records of a file, a folder or a hub id (`owner/name`, `owner/name:config:split,split`).

    Without a source, those of `hub`. Raises DataError where there is nothing to read.
    """
    if source is not None and Path(source).exists():
        for path in files(Path(source)):
            reading.split = split_of(path, Path(source))
            yield from _read_file(path, reading)
        return
    wanted = hub if source is None else _hub_of(source, hub)
    if wanted is None:
        problem = "missing" if source is None else f"there is no file or folder {source}"
        mend = "give source=FILE, source=FOLDER or a hub id, source=OWNER/NAME"
        raise DataError("command line", "source", problem, mend)
    from data_prep.hub import read_hub  # lazy: `datasets` takes seconds to import

    yield from read_hub(wanted, reading)


def files(path: Path) -> list[Path]:
    """The file, or all files below the folder whose format is known, by name."""
    if path.is_file():
        return [path]
    found = [f for f in sorted(path.rglob("*")) if _reader_of(f) and not f.name.startswith(".")]
    if not found:
        raise DataError(str(path), "folder", "no data file in it", f"give {' '.join(_READERS)}")
    return found


def split_of(path: Path, source: Path) -> str | None:
    """The split that the file's name, or its folder's below `source`, speaks of, or None.

    `train-00000-of-00002.parquet`, `validation/part.csv`.
    """
    below = path.relative_to(source).parts if path != source else (path.name,)
    words = re.split(r"[^a-z]+", " ".join(reversed(below)).lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _hub_of(source: str, hub: Hub | None) -> Hub | None:
    name, _, rest = source.partition(":")
    if not _HUB_ID.fullmatch(name) or _reader_of(Path(name)):
        return None
    config, _, splits = rest.partition(":")
    if hub is None or hub.id != name:
        hub = Hub(name, hub.splits if hub else ("train",))
    chosen = tuple(filter(None, splits.split(","))) or hub.splits
    return Hub(name, chosen, (config,) if config else hub.configs)


def _reader_of(path: Path) -> Callable[[Path, Reading], Iterator[Record]] | None:
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix.lower()
    return None if suffix == ".parquet" and name != path.name else _READERS.get(suffix)


def _read_file(path: Path, reading: Reading) -> Iterator[Record]:
    reader = _reader_of(path)
    if reader is None:
        problem = f"no format of ours: `{path.name}`"
        raise DataError(str(path), "file", problem, f"give {' '.join(_READERS)} (or .gz of text)")
    try:
        yield from reader(path, reading)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = f"compressed data that cannot be read ({error})"
        raise DataError(str(path), "file", problem, "fetch the file again") from error
    except pa.ArrowException as error:
        problem = f"no readable parquet ({str(error).splitlines()[0].rstrip('.')})"
        raise DataError(str(path), "file", problem, "fetch the file again") from error
    except OSError as error:
        problem = error.strerror or str(error).splitlines()[0].rstrip(".")
        raise DataError(str(path), "file", problem, "check the file") from error


def _read_parquet(path: Path, reading: Reading) -> Iterator[Record]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            for place in range(batch.num_rows):
                where = f"{path}, row {number}"
                number += 1
                fields = _fields(batch, place, where, reading)
                if fields is not None and (record := reading.record(where, fields)):
                    yield record


def _fields(
    batch: pa.RecordBatch, place: int, where: str, reading: Reading
) -> dict[str, Any] | None:
    try:
        return {name: batch[name][place].as_py() for name in batch.schema.names}
    except UnicodeDecodeError:  # parquet does not check what it stores as text
        reading.drops.add(where, "not UTF-8")
        return None


def _read_jsonl(path: Path, reading: Reading) -> Iterator[Record]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        if line is None:
            reading.drops.add(where, f"longer than {MAX_LINE} bytes")
        elif line.strip():
            found = _parse(line, where, reading)
            if found is not None and (record := reading.record(where, found[0])):
                yield record


def _parse(line: bytes, where: str, reading: Reading) -> tuple[Any] | None:
    try:
        return (json.loads(line.decode("utf-8")),)
    except UnicodeDecodeError as error:
        reading.drops.add(where, "not UTF-8", error.reason)
    except (ValueError, RecursionError) as error:  # ValueError: a number of 5,000 digits too
        reading.drops.add(where, "not JSON", str(error))
    return None


def _read_json(path: Path, reading: Reading) -> Iterator[Record]:
    with _open(path) as file:
        content = file.read(MAX_JSON + 1)
    if len(content) > MAX_JSON:
        raise DataError(str(path), "file", "over 1 GiB of one JSON value", "write it as .jsonl")
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(str(path), "file", "not UTF-8", "convert it to UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError(str(path), "file", f"not JSON ({error})", "mend the file") from error
    if isinstance(value, dict):  # {"data": [...]}: the one list in it
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else [value]
    for number, fields in enumerate(value if isinstance(value, list) else [value]):
        if record := reading.record(f"{path}, item {number}", fields):
            yield record


def _read_csv(path: Path, reading: Reading) -> Iterator[Record]:
    # Bytes that are no UTF-8 pass as half surrogates, which `Record.text` then names by column.
    csv.field_size_limit(MAX_LINE)
    with _open(path) as file:
        delimiter = "\t" if ".tsv" in path.suffixes else _delimiter(file)
        text = (line.decode("utf-8", "surrogateescape") for line in file)
        table = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = next(table, [])
            _check_header(header, path)
            for values in table:
                where = f"{path}:{table.line_num}"
                if len(values) != len(header):
                    detail = f"{len(values)} of {len(header)}"
                    reading.drops.add(where, "another number of columns than the header", detail)
                elif record := reading.record(where, dict(zip(header, values, strict=True))):
                    yield record
        except csv.Error as error:
            where = f"{path}:{table.line_num}"
            mend = "quote the fields, or write .jsonl"
            raise DataError(where, "line", f"no CSV ({error})", mend) from error


def _delimiter(file: BinaryIO) -> str:
    """Spreadsheets of many countries write semicolons."""
    header: bytes = file.peek(4096).partition(b"\n")[0]  # type: ignore[attr-defined]
    return ";" if b";" in header and b"," not in header else ","


def _check_header(header: list[str], path: Path) -> None:
    if header:
        header[0] = header[0].removeprefix("\ufeff")
    twice = sorted({name for name in header if header.count(name) > 1})
    if not header or twice:
        problem = f"column `{twice[0]}` occurs twice" if twice else "it is empty"
        raise DataError(str(path), "header", problem, "name each column once in the first line")


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their numbers; None for one that is too long to hold."""
    number = 0
    with _open(path) as file:
        while line := file.readline(MAX_LINE):
            number += 1
            whole = len(line) < MAX_LINE or line.endswith(b"\n")
            while line and not line.endswith(b"\n") and not whole:
                line = file.readline(MAX_LINE)
            yield number, line.removeprefix(b"\xef\xbb\xbf") if whole else None


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
        start: bytes = file.peek(2)[:2]  # type: ignore[union-attr]
        if start in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(str(path), "file", "UTF-16", "convert it to UTF-8")
        yield cast(BinaryIO, file)


_READERS: dict[str, Callable[[Path, Reading], Iterator[Record]]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
}
