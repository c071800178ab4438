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

import argparse
import sys
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from recipes import config as recipe_config
from recipes.config import ConfigError

if TYPE_CHECKING:
    from recipes.prepare import Job

NAME = "opsd_skeleton"
CONF = package_files("recipes") / "conf"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit status (0 done, 1 failed, 2 bad input, 3 collapsed)."""
    arguments = _parser().parse_args(argv)
    try:
        config = recipe_config.load(NAME, _with_quick(arguments.overrides))
        return _run(config)
    except ConfigError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        print("\nstopped; the same command resumes the run", file=sys.stderr)
        return 130


def _fail(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    settings = (CONF / f"{NAME}.yaml").read_text()
    profiles = "\n".join((CONF / "profile" / f"{name}.yaml").read_text() for name in ("cpu", "gpu"))
    parser = argparse.ArgumentParser(
        prog=f"python -m recipes.{NAME}",
        description=__doc__,
        epilog=f"settings and their defaults\n\n{settings}\nprofiles (profile=cpu|gpu; by default "
        f"gpu where CUDA is there)\n\n{profiles}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, as in Hydra")
    return parser


def _with_quick(overrides: Sequence[str]) -> list[str]:
    if not any(o.replace(" ", "").lower() == "quick=true" for o in overrides):
        return list(overrides)
    preset = OmegaConf.load(str(CONF / f"quick_{NAME}.yaml"))
    given = {o.split("=")[0] for o in overrides}
    items = OmegaConf.to_container(preset)
    assert isinstance(items, dict)
    quick = [f"{k}={_hydra(v)}" for k, v in items.items() if k not in given]
    return [*quick, *overrides]


def _hydra(value: Any) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _run(config: Any) -> int:
    from recipes.prepare import prepare

    job = prepare(config)
    if config.dry_run:
        job.print_plan()
        return 0
    from recipes.run_folder import claimed

    folder = job.open()
    with claimed(folder):
        return _run_in(folder, job)


def _run_in(folder: Path, job: Job) -> int:
    from recipes.report import write_report
    from recipes.run_folder import FINISHED, write_json
    from recipes.supervise import RunFailed, run_verl

    job.write(folder)
    print(f"run folder: {folder}", flush=True)
    status: int = 0
    try:
        run_verl(folder, job.config.profile_name)
    except RunFailed as failure:
        status = _fail(failure, 1)
    else:
        write_json(folder / FINISHED, {"arms": [arm.name for arm in job.plan.arms]})
    report = write_report(folder)
    print(f"report: {Path(report)}")
    return status or job.collapsed_status(folder)


if __name__ == "__main__":
    sys.exit(main())
