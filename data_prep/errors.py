"""The one error of the data room: what is wrong, where, and how to mend it."""

from __future__ import annotations


class DataError(ValueError):
    """Bad input. `where` names file and row, `what` the column; picklable (Ray carries it)."""

    def __init__(self, where: str, what: str, problem: str, mend: str) -> None:
        super().__init__(where, what, problem, mend)
        self.where = where
        self.what = what
        self.problem = problem
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.where}, {self.what}: {self.problem}. To mend it: {self.mend}."


def no_rows(path: object) -> DataError:
    """The error of a command for a file without a row."""
    return DataError(str(path), "file", "no rows in it", "give a file that has rows")
