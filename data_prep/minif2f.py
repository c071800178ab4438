"""miniF2F in Lean 4, in its three common formats.

- jsonl with one Lean file a row (`lean`): header, statement and `sorry` or a proof;
- jsonl with the parts apart (`formal_statement`, and `header`, `formal_proof`, `informal_prefix`
  where there are any);
- a folder of `.lean` files, each with one theorem or many.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Drop, Family, Record, Request, make_row
from data_prep.lean_text import CLOSING, OPENING, Token, drop_comments, tokens
from data_prep.schema import Row
from data_prep.skeleton import skeleton

SOURCE = "minif2f"
INSTRUCTION = "Prove in Lean 4 with Mathlib."
# What the publishers' files without a header are checked under.
DEFAULT_HEADER = (
    "import Mathlib\n\nset_option maxHeartbeats 400000\n\n"
    "open BigOperators Real Nat Topology Rat\n\n"
)
_KEYWORDS = ("theorem", "lemma")


@dataclass(frozen=True)
class Problem:
    """`statement` ends in `:= by`; `proof` is the tactic block, or None where there is none."""

    name: str
    split: str
    header: str
    statement: str
    proof: str | None


def load(path: str | Path) -> list[Row]:
    """Rows of a `.jsonl` file, a `.lean` file, or a folder of `.lean` files.

    `privileged` holds the proof where there is one, and its skeleton where that takes a proof
    out. Raises DataError naming file and row.
    """
    return [_row(i, problem) for i, problem in enumerate(read(path))]


def build(request: Request) -> Iterator[Row]:
    """Rows of `.lean` files, or of records in one of the two other formats."""
    path = Path(request.source or "")
    if path.suffix == ".lean" or (path.is_dir() and next(path.rglob("*.lean"), None)):
        yield from load(request.path)
    else:
        yield from request.convert(_record_row)


def problem_of(record: Record, **fields: str) -> Problem:
    """The problem of a record, `fields` before its own. Drops the row where it has none."""
    try:
        return _of_fields({**record.fields, **fields}, record.where, record.split or "all")
    except DataError as error:
        raise Drop(f"{error.what}: {error.problem}") from error


def lean_row(problem: Problem, index: int, source: str, family: str) -> Row:
    """The row of a problem; `privileged` has its proof and its skeleton where there are any."""
    privileged: dict[str, str | None] = {"skeleton": None, "gold_solution": problem.proof}
    if problem.proof is not None and (derived := skeleton(problem.proof)).replaced:
        privileged["skeleton"] = derived.text
    return make_row(
        data_source=source,
        prompt=f"{INSTRUCTION}\n```lean\n{problem.header}{problem.statement}\n```",
        ability="lean",
        verifier="lean",
        ground_truth=problem.header + problem.statement,
        split=problem.split,
        index=index,
        family=family,
        level=family,
        header=problem.header,
        name=problem.name,
        privileged=privileged,
    )


def read(path: str | Path) -> list[Problem]:
    """The problems in file order (a folder: by file name). Names occur once."""
    path = Path(path)
    problems = list(_read(path))
    if not problems:
        raise DataError(str(path), "miniF2F", "no theorem in it", "give a jsonl file or Lean files")
    seen: set[str] = set()
    for problem in problems:
        if problem.name in seen:
            raise DataError(
                str(path), problem.name, "occurs twice", "keep one theorem of each name"
            )
        seen.add(problem.name)
    return problems


def _read(path: Path) -> Iterator[Problem]:
    if path.is_dir():
        for file in sorted(path.rglob("*.lean")):
            yield from _read_lean(_text(file), str(file), _split_of(file))
    elif path.suffix == ".lean":
        yield from _read_lean(_text(path), str(path), _split_of(path))
    elif path.suffix == ".jsonl":
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if line.strip():
                yield _read_json(line, f"{path}, line {number}")
    else:
        raise DataError(str(path), "miniF2F", "no format of ours", "give .jsonl, .lean or a folder")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(str(path), "file", str(error.strerror), "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(str(path), "file", "not UTF-8", "convert it to UTF-8") from error


def _split_of(file: Path) -> str:
    """The publishers' folders and files are called Test and Valid; else `all`."""
    parts = {part.lower() for part in (*file.parts[-2:-1], file.stem)}
    return next((s for s in ("test", "valid") if s in parts), "all")


def _read_json(line: str, where: str) -> Problem:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(where, "line", f"not JSON ({error.msg})", "write one object") from error
    if not isinstance(record, dict):
        raise DataError(where, "line", "not an object", "write one object a line")
    return _of_fields(record, where, str(record.get("split", "all")))


def _of_fields(record: Mapping[str, Any], where: str, split: str) -> Problem:
    column = "lean" if "lean" in record else "formal_statement"
    source = _field(record, column, where)
    if column == "formal_statement":
        proof = str(record.get("formal_proof") or "")
        header = str(record.get("header") or DEFAULT_HEADER)
        source = f"{header}{source}" + (f"\n{proof}" if proof else "")
    found = list(_read_lean(source, where, split))
    if len(found) != 1:
        problem = f"{len(found)} theorems" if found or column == "lean" else "no theorem in it"
        raise DataError(where, f"`{column}`", problem, "give one `theorem ... := by` a row")
    return found[0]


def _field(record: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(record.get(name), str):
        raise DataError(where, f"`{name}`", "missing", "give `lean` or `formal_statement`")
    return record[name]


def _read_lean(source: str, where: str, split: str) -> Iterator[Problem]:
    """Every theorem of a Lean source; what precedes the first one is the header of all."""
    stream = [token for token in tokens(source) if token.kind not in ("space", "comment")]
    starts = [i for i, t in enumerate(stream) if _begins_theorem(source, t)]
    if not starts:
        return
    header = drop_comments(source[: stream[starts[0]].start])
    for place, start in enumerate(starts):
        last = place + 1 == len(starts)
        end = len(source) if last else stream[starts[place + 1]].start
        part = stream[start : None if last else starts[place + 1]]
        yield _problem(source, part, end, header, where, split)


def _begins_theorem(source: str, token: Token) -> bool:
    at_line_start = token.start == 0 or source[token.start - 1] == "\n"
    return token.kind == "word" and token.text in _KEYWORDS and at_line_start


def _problem(
    source: str, part: list[Token], end: int, header: str, where: str, split: str
) -> Problem:
    name = part[1].text if len(part) > 1 else "?"
    assign = _assignment(part)
    if assign is None:
        raise DataError(where, name, "no `:=` after the statement", "end it with `:= by`")
    statement = source[part[0].start : part[assign].start].rstrip() + " := by"
    body = part[assign + 1 :]
    tactics = bool(body) and body[0].text == "by"
    inside = body[1:] if tactics else body
    if not inside or inside[0].text == "sorry":
        return Problem(name, split, header, statement, None)
    begin = part[assign + 1].end if tactics else part[assign].end
    proof = _block(source[begin:end])
    return Problem(
        name, split, header, statement, proof if tactics else f"  exact ({proof.strip()})"
    )


def _assignment(part: list[Token]) -> int | None:
    depth = 0
    for i, token in enumerate(part):
        if token.text == ":=" and depth == 0:
            return i
        depth += (token.text in OPENING) - (token.text in CLOSING)
    return None


def _block(text: str) -> str:
    """A tactic block: its comments dropped (they tell the proof in words), its layout kept."""
    text = drop_comments(text)
    first, newline, rest = text.partition("\n")
    if first.strip() and not (newline and rest.strip()):
        return f"  {text.strip()}"
    return text.strip("\n").rstrip()


def _row(index: int, problem: Problem) -> Row:
    return lean_row(problem, index, SOURCE, problem.name.split("_")[0])


def _record_row(record: Record, request: Request) -> Row:
    column = "lean" if "lean" in record.fields else "formal_statement"
    record.text(column)
    return _row(record.number, problem_of(record))


MINIF2F = Family(
    name="minif2f",
    description="miniF2F in Lean 4: jsonl, a .lean file, or a folder of them",
    verifier="lean",
    build=build,
    licence="MIT and Apache-2.0, by publisher",
    size="244 valid, 244 test",
    kinds=("skeleton", "gold_solution"),
    id_column="name",
)
