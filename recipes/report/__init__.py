"""The report of a run: report.json, report.md and report.html."""

from __future__ import annotations

from pathlib import Path


def write_report(run_dir: Path | str) -> Path:
    """Write the reports of a run, finished or cut short; returns report.html's path.

    Raises:
        NotADirectoryError: run_dir is no folder.
    """
    # here, so that recipes.progress reads this package's words and rows without SciPy
    from recipes.report.render import write_report as write

    return write(run_dir)


__all__ = ["write_report"]
