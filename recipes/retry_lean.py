"""Retry, filter and fine-tune on Lean proofs, with the controls at an equal budget.

    python -m recipes.retry_lean                         the bundled core-Lean set, on a laptop
    python -m recipes.retry_lean arms=[retry_bare,retry_skeleton] retry.rounds=1
    python -m recipes.retry_lean data.train=data/minif2f/valid.parquet \\
        data.eval=data/minif2f/test.parquet
    python -m recipes.retry_lean dry_run=true            validate everything, start nothing

The report is written to outputs/retry_lean/<run>/report.html. docs/retry.md explains each arm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes import command

NAME = "retry_lean"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; see ``recipes.command.main``."""
    return command.main(NAME, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
