"""The objectives side by side on the bundled Lean set: OPSD, pi-Distill and GRPO.

    python -m recipes.objectives                         five arms, one seed
    python -m recipes.objectives arms=[opsd,pi_distill_05] steps=40 seeds=[0,1,2]
    python -m recipes.objectives arms=[sft_gold,sft_then_grpo]   SFT, then RL
    python -m recipes.objectives model.lora_rank=16      with LoRA
    python -m recipes.objectives dry_run=true            validate everything, start nothing

The report is written to outputs/objectives/<run>/report.html. docs/algorithms.md explains each
objective.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes import command

NAME = "objectives"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; see ``recipes.command.main``."""
    return command.main(NAME, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
