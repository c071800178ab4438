"""Where a verifier finds published files that are not part of the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rewards.errors import RewardsError


class DataMissingError(RewardsError, FileNotFoundError):
    """A verifier's data folder is not named or lacks a file. The message says how to mend it."""

    def __str__(self) -> str:  # an OSError would show its errno
        return str(self.args[0])


def data_folder(named: str | None, variable: str, files: Iterable[str], source: str) -> Path:
    """The folder that the option `data` or the environment variable names, with its files.

    Raises DataMissingError, which names the variable, the file and where it is published.
    """
    place = named or os.environ.get(variable)
    if not place:
        raise DataMissingError(
            f"no data folder: give the option data=FOLDER or set {variable}; it holds "
            f"{', '.join(files)} of {source}"
        )
    folder = Path(place).expanduser()
    lacking = [file for file in files if not (folder / file).is_file()]
    if lacking:
        raise DataMissingError(
            f"{folder} has no {', '.join(lacking)}: copy it from {source}, or name another "
            f"folder by the option data or by {variable}"
        )
    return folder
