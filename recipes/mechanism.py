"""What makes retrying work: the PI arms and the controls in one comparison, several seeds.

    python -m recipes.mechanism                          five arms, three seeds
    python -m recipes.mechanism arms=[retry_bare,double_sample,rejection,uniform] seeds=[0]
    python -m recipes.mechanism dry_run=true             validate everything, start nothing

The report is written to outputs/mechanism/<run>/report.html. docs/retry.md explains each arm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes import command

NAME = "mechanism"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; see ``recipes.command.main``."""
    return command.main(NAME, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(main())
