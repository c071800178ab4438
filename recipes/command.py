"""What every recipe's command does: help, settings, dry run, the run and its report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from recipes import config as recipe_config
from recipes.config import ConfigError

if TYPE_CHECKING:
    from recipes.prepare import Job

CONF = package_files("recipes") / "conf"
Finish = Callable[[Path, "Job"], None]


def main(
    name: str,
    description: str,
    argv: Sequence[str] | None = None,
    *,
    finish: Finish | None = None,
) -> int:
    """Run the recipe ``name``; the exit status is 0 done, 1 failed, 2 bad input, 3 collapsed.

    ``finish`` is called with the folder and the job of a run that has ended well, before its report
    is written.
    """
    arguments = _parser(name, description).parse_args(argv)
    try:
        config = recipe_config.load(name, _with_quick(name, arguments.overrides))
        return _run(config, finish)
    except ConfigError as error:
        return fail(error, 2)
    except KeyboardInterrupt:
        print("\nstopped; the same command resumes the run", file=sys.stderr)
        return 130


def fail(error: Exception, status: int) -> int:
    """Print the error as every command does; returns ``status``."""
    print(f"error: {error}", file=sys.stderr)
    return status


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    settings = "\n".join((CONF / f"{part}.yaml").read_text() for part in _parts(name))
    profiles = "\n".join((CONF / "profile" / f"{name}.yaml").read_text() for name in ("cpu", "gpu"))
    parser = argparse.ArgumentParser(
        prog=f"python -m recipes.{name}",
        description=description,
        epilog=f"settings and their defaults\n\n{settings}\nprofiles (profile=cpu|gpu; by default "
        f"gpu where CUDA is there)\n\n{profiles}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, as in Hydra")
    return parser


def _parts(name: str) -> list[str]:
    """The recipe's own file and those that it builds on."""
    defaults = OmegaConf.load(str(CONF / f"{name}.yaml")).get("defaults")  # type: ignore[union-attr]
    below = [d for d in defaults or () if isinstance(d, str) and d != "_self_"]
    return [name, *(part for base in below for part in _parts(base))]


def _with_quick(name: str, overrides: Sequence[str]) -> list[str]:
    if not any(o.replace(" ", "").lower() == "quick=true" for o in overrides):
        return list(overrides)
    preset = OmegaConf.load(str(CONF / f"quick_{name}.yaml"))
    given = {o.split("=")[0] for o in overrides}
    items = OmegaConf.to_container(preset)
    assert isinstance(items, dict)
    quick = [f"{k}={_hydra(v)}" for k, v in items.items() if k not in given]
    return [*quick, *overrides]


def _hydra(value: Any) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _run(config: Any, finish: Finish | None = None) -> int:
    from recipes.prepare import prepare

    job = prepare(config)
    if config.dry_run:
        job.print_plan()
        return 0
    from recipes.run_folder import claimed

    folder = job.open()
    with claimed(folder):
        return _run_in(folder, job, finish)


def _run_in(folder: Path, job: Job, finish: Finish | None = None) -> int:
    from recipes.report import write_report
    from recipes.run_folder import FINISHED, write_json
    from recipes.supervise import RunFailed, run_verl

    job.write(folder)
    print(f"run folder: {folder}", flush=True)
    status: int = 0
    try:
        run_verl(folder, job.config.profile_name)
    except RunFailed as failure:
        status = fail(failure, 1)
    else:
        write_json(folder / FINISHED, {"arms": [arm.name for arm in job.plan.arms]})
        if finish is not None:
            finish(folder, job)
    report = write_report(folder)
    print(f"report: {Path(report)}")
    return status or job.collapsed_status(folder)
