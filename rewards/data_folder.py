"""Where a verifier finds published files that are not part of the package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rewards.errors import RewardsError


class DataMissingError(RewardsError, FileNotFoundError):
    """A verifier's data folder is not named or lacks a file. The message says how to mend it."""

    def __str__(self) -> str:  # an OSError would show its errno
        return str(self.args[0])


def data_files(
    named: str | None, variable: str, files: Sequence[Sequence[str]], source: str
) -> list[Path]:
    """Paths of the files in the folder that the option `data` or the environment names.

    files: for each file the places where it may lie in the folder; the first that is there counts.
    source: where the files are published. Raises DataMissingError.
    """
    place = named or os.environ.get(variable)
    names = ", ".join(places[0] for places in files)
    if not place:
        raise DataMissingError(
            f"no data folder: give the option data=FOLDER or set {variable}; it holds {names} "
            f"of {source}"
        )
    folder = Path(place).expanduser().resolve()
    found = [_first(folder, places) for places in files]
    lacking = [places[0] for places, path in zip(files, found, strict=True) if path is None]
    if lacking:
        raise DataMissingError(
            f"{folder} has no {', '.join(lacking)}: copy it from {source}, or name another "
            f"folder by the option data or by {variable}"
        )
    return [path for path in found if path is not None]


def _first(folder: Path, places: Sequence[str]) -> Path | None:
    return next((folder / place for place in places if (folder / place).is_file()), None)
