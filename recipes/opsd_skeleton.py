"""OPSD with have-skeletons on Lean 4: online against offline, with controls and a report.

    python -m recipes.opsd_skeleton                      the default run
    python -m recipes.opsd_skeleton quick=true           the whole path in minutes
    python -m recipes.opsd_skeleton dry_run=true         validate everything, start nothing
    python -m recipes.opsd_skeleton arms=[online,sft_gold] seeds=[0,1,2] steps=40
    python -m recipes.opsd_skeleton model.path=Qwen/Qwen3-1.7B data.train=train.parquet
    python -m recipes.opsd_skeleton profile=gpu verl.trainer.nnodes=2 verl.trainer.logger=[wandb]

The report is written to outputs/opsd_skeleton/<run>/report.html.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes import command

NAME = "opsd_skeleton"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; see ``recipes.command.main``."""
    return command.main(NAME, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
