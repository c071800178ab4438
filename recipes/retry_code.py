"""Retry, filter and fine-tune on programs, with the controls at an equal budget.

    python -m recipes.retry_code                         small programs, on a laptop
    python -m recipes.retry_code data.train=data/mbpp/train.parquet \\
        data.eval=data/mbpp/test.parquet model.path=Qwen/Qwen2.5-Coder-1.5B-Instruct \\
        arms=[retry_bare,double_sample]
    python -m recipes.retry_code dry_run=true            validate everything, start nothing

The report is written to outputs/retry_code/<run>/report.html. docs/retry.md explains each arm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes import command

NAME = "retry_code"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; see ``recipes.command.main``."""
    return command.main(NAME, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
