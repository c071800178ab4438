"""The competence gate: a model's pass rate on a set, and which mode of training fits it.

    python -m recipes.baseline model.path=Qwen/Qwen3-1.7B data.eval=math.parquet
    python -m recipes.baseline data.eval=math.parquet evaluation.samples=8 data.eval_rows=200
    python -m recipes.baseline warmup.enabled=true    the demonstration model after its warm-up
    python -m recipes.baseline dry_run=true           validate everything, start nothing
    python -m recipes.baseline from=RUN_FOLDER        the baseline that a run has evaluated already

Writes baseline.json and the report to outputs/baseline/<run>/; with from= baseline.json alone, into
that run's folder. docs/baseline.md says where the recommendation comes from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from recipes import command
from recipes.report.words import percent, percent_range

NAME = "baseline"
FILE = "baseline.json"
IsCut = Callable[[str], bool]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; see ``recipes.command.main``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument.startswith("from=") for argument in arguments):
        return _from_run(arguments)
    return command.main(NAME, __doc__ or "", arguments, finish=_finish)


def write(folder: Path, is_cut: IsCut | None) -> dict[str, Any]:
    """Measure the baseline of a run folder and write ``baseline.json`` there.

    ``is_cut`` tells whether an answer was ended by the limit on its length; None: nobody can tell.

    Raises:
        NotADirectoryError: no such folder.
        LookupError: the run has not evaluated its baseline.
    """
    from recipes.report.collect import is_lean
    from recipes.report.competence import competence, limited
    from recipes.report.evaluations import Evaluations
    from recipes.report.reader import RunFolder
    from recipes.run_folder import write_json

    run = RunFolder(folder)
    found = competence(
        Evaluations.read(run.rows("evaluations.jsonl")), lean=is_lean(run.document("plan.json"))
    )
    if found is None:
        raise LookupError(
            f"{folder} has no evaluation of its baseline in the student's view: finish the run, or "
            f"measure anew with python -m recipes.{NAME}"
        )
    if is_cut is not None:
        found = limited(found, *_cut_shares(run.rows("evaluations.jsonl"), is_cut))
    write_json(folder / FILE, found)
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """What the command prints."""
    told = found["recommendation"]
    rows = [("all", found), *((f"level {e['level']}", e) for e in found["levels"])]
    width = max(len(name) for name, _ in rows)
    text = [
        f"{found['n']} rows, {found['samples']} sample{'s' * (found['samples'] > 1)} each",
        "",
        *(
            f"{name:<{width}}  {percent(e['pass_rate']):>7} {percent_range(e['ci95']):<14} "
            f"n = {e['n']}"
            for name, e in rows
        ),
        "",
    ]
    if found["samples"] > 1:
        shown = ", ".join(f"@{e['k']} {percent(e['value'])}" for e in found["pass_at"])
        text += [f"pass{shown}", f"two samples of a row are the same: {percent(found['repeated'])}"]
    text += [
        f"distinct answers {found['distinct']} of {found['answers']}, empty "
        f"{percent(found['empty_share'])}, cut {percent(found['cut_share'])}",
        "",
        *([f"WARNING: {told['mode']}"] if told["warns"] else [f"mode: {told['mode']}"]),
        told["position"],
        told["certainty"],
        *told["advice"],
    ]
    if told["expected"]:
        text.append("Reported by others, not measured here:")
        text += [f"  {entry['sentence']}" for entry in told["expected"]]
    return text


def _finish(folder: Path, job: Any) -> None:
    found = write(folder, _cutter(job.tokenizer, job.config.max_response_tokens))
    print("\n".join(["", *lines(found), "", f"figures: {folder / FILE}"]))


def _cutter(tokenizer: Any, limit: int) -> IsCut:
    """An answer without an end has as many tokens as were allowed."""
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False)) >= limit


def _cut_shares(
    rows: Iterable[dict[str, Any]], is_cut: IsCut
) -> tuple[float, float] | tuple[None, None]:
    """Of all answers, those that were cut, and those that were cut and did not pass."""
    from recipes.report.evaluations import BASELINE, key_of
    from recipes.report.reader import int_of, text_of

    cut: dict[tuple[str, int], tuple[bool, bool]] = {}
    for row in rows:
        key = key_of(row)
        if (key.arm, key.view) == (BASELINE, "student"):
            where = text_of(row, "uid"), int_of(row, "sample")
            ended = is_cut(text_of(row, "response"))
            cut[where] = ended, ended and row.get("passed") is not True
    if not cut:
        return None, None
    every, failed = (sum(column) / len(cut) for column in zip(*cut.values(), strict=True))
    return every, failed


def _from_run(arguments: list[str]) -> int:
    if len(arguments) > 1:
        return command.fail(ValueError("from=RUN_FOLDER reads a run as it is: give it alone"), 2)
    folder = Path(arguments[0].removeprefix("from=")).expanduser()
    try:
        found = write(folder, _cutter_of(folder))
    except (NotADirectoryError, LookupError) as error:
        return command.fail(error, 2)
    print("\n".join([*lines(found), "", f"figures: {folder / FILE}"]))
    return 0


def _cutter_of(folder: Path) -> IsCut | None:
    """From the run's own settings; None where its model is not on this machine any more."""
    settings = folder / "verl.yaml"
    if not settings.is_file():
        return None
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer

    config = OmegaConf.load(settings)
    path = OmegaConf.select(config, "actor_rollout_ref.model.path")
    limit = OmegaConf.select(config, "data.max_response_length")
    if not (path and limit):
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError):
        return None
    return _cutter(tokenizer, int(limit))


if __name__ == "__main__":
    sys.exit(main())
