"""The benchmark's tables, loaded once per process, and one episode's view of them.

An episode copies a record when it first writes to it, so that a fresh database costs nothing: a
deep copy of the retail tables takes a tenth of a second.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewards.data_folder import data_files

VARIABLE = "VERL_PI_TAU_BENCH"
SOURCE = "github.com/sierra-research/tau-bench, tau_bench/envs/<domain>/data"
#: The tables of each domain: the names of its files without ".json".
TABLES = {
    "retail": ("orders", "products", "users"),
    "airline": ("flights", "reservations", "users"),
}

Record = dict[str, Any]
Tables = dict[str, dict[str, Record]]
Key = tuple[str, str]


class EpisodeData:
    """One episode's database: the shared tables, never written to, and the records it changed.

    Writes of a call are kept apart until `commit`, so that a call that fails half-way leaves
    nothing behind.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._changed: dict[Key, Record] = {}
        self._draft: dict[Key, Record] = {}

    def find(self, table: str, key: Any) -> Record | None:
        """The record, to be read only; None if there is none or the key is no text."""
        if not isinstance(key, str):
            return None
        for changes in (self._draft, self._changed):
            if (table, key) in changes:
                return changes[(table, key)]
        return self._tables[table].get(key)

    def edit(self, table: str, key: str) -> Record:
        """The episode's own copy of a record, to be written to."""
        if (table, key) not in self._draft:
            record = self.find(table, key)
            if record is None:
                raise KeyError(key)
            self._draft[(table, key)] = copy.deepcopy(record)
        return self._draft[(table, key)]

    def add(self, table: str, key: str, record: Record) -> None:
        self._draft[(table, key)] = copy.deepcopy(record)

    def rows(self, table: str) -> Iterator[tuple[str, Record]]:
        """All records of a table with their keys, in the file's order, added ones last."""
        known = self._tables[table]
        for key in known:
            record = self.find(table, key)
            if record is not None:
                yield key, record
        for held, record in self._changed.items():
            if held[0] == table and held[1] not in known:
                yield held[1], record

    def changed(self, table: str, key: str) -> bool:
        """Whether the record is another than at the episode's start."""
        return hashable(self.find(table, key)) != hashable(self._tables[table].get(key))

    def commit(self) -> None:
        self._changed.update(self._draft)
        self._draft.clear()

    def rollback(self) -> None:
        self._draft.clear()

    def differences(self, other: EpisodeData) -> list[Key]:
        """Sorted keys of the records in which two episodes over the same tables differ.

        Empty exactly when `hash` gives the same for both, at the cost of the changed records.
        """
        keys = sorted({*self._changed, *other._changed})
        return [key for key in keys if hashable(self.find(*key)) != hashable(other.find(*key))]

    def hash(self) -> str:
        """The benchmark's hash of the whole database (`get_data_hash` in its envs/base.py)."""
        return hashlib.sha256(hashable(self._whole()).encode()).hexdigest()

    def _whole(self) -> Tables:
        return {table: dict(self.rows(table)) for table in self._tables}


def hashable(value: Any) -> str:
    """The text that the benchmark hashes: order of keys is nothing, order in lists and types are.

    So 1, 1.0 and "1" differ, as they do there.
    """
    return str(_frozen(value))


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _frozen(inner)) for key, inner in sorted(value.items()))
    if isinstance(value, list):
        return tuple(_frozen(inner) for inner in value)
    return value


def open_database(domain: str, named: str | None = None) -> EpisodeData:
    """A fresh database. `named` or VERL_PI_TAU_BENCH: the domain's folder, or the one above it.

    Raises DataMissingError.
    """
    files = [(f"{table}.json", f"{domain}/{table}.json") for table in TABLES[domain]]
    return EpisodeData(_load(domain, *data_files(named, VARIABLE, files, SOURCE)))


@functools.lru_cache(maxsize=4)
def _load(domain: str, *files: Path) -> Tables:
    texts = (file.read_text(encoding="utf-8") for file in files)
    return {table: json.loads(text) for table, text in zip(TABLES[domain], texts, strict=True)}
