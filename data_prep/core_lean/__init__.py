"""Core-Lean 4 theorems (no Mathlib), written for this package and bundled with it."""

from __future__ import annotations

from importlib.resources import as_file, files

from data_prep.errors import DataError
from data_prep.schema import Row, read_rows

SPLITS = ("warmup", "train", "heldout")


def load(split: str) -> list[Row]:
    """The bundled rows of `warmup`, `train` or `heldout`; they follow `data_prep.schema`.

    Warm-up rows are of two roles (`extra_info.role`): `easy` families, and a few rows of the
    `target` families. Held-out rows of `extra_info.structure == "new"` have a form of their own.
    """
    if split not in SPLITS:
        mend = f"use one of {', '.join(SPLITS)}"
        raise DataError("core_lean", "split", f"there is no `{split}`", mend)
    with as_file(files(__name__) / f"{split}.jsonl") as path:
        return read_rows(path)
