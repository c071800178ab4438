"""Retry, filter and fine-tune on mathematics, with the controls at an equal budget.

    python -m recipes.retry_math                         worked arithmetic, on a laptop
    python -m recipes.retry_math arms=[retry_bare,retry_online] seeds=[0,1,2]
    python -m recipes.retry_math data.train=data/math/train.parquet \\
        data.eval=data/math500/test.parquet model.path=Qwen/Qwen3-1.7B model.lora_rank=16 \\
        steps=500 max_response_tokens=2048
    python -m recipes.retry_math dry_run=true            validate everything, start nothing

The report is written to outputs/retry_math/<run>/report.html. docs/retry.md explains each arm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes import command

NAME = "retry_math"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; see ``recipes.command.main``."""
    return command.main(NAME, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
