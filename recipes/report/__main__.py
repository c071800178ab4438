"""`python -m recipes.report RUN_DIR`: write the report of a run, finished or not."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recipes.report.render import write_report


def main(argv: list[str] | None = None) -> int:
    """Write the report and print its path; 2 when RUN_DIR is no folder."""
    parser = argparse.ArgumentParser(prog="python -m recipes.report", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="a run folder, outputs/<recipe>/<run>")
    run_dir = parser.parse_args(argv).run_dir
    try:
        print(write_report(run_dir))
    except NotADirectoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
