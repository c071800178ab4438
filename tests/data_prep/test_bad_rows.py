"""Files that are no rows of ours, given to each command that reads rows: one clear error."""

from __future__ import annotations

import json

import pytest

from data_prep.__main__ import main
from data_prep.family import make_row
from data_prep.schema import write_rows

ROWS = [
    make_row(
        data_source="own", prompt=f"q{i}", ability="math", verifier="math", ground_truth=str(i),
        split="train", index=i, privileged={}, task_id=str(i),
    )
    for i in range(3)
]  # fmt: skip
TRACE = {"task_id": "1", "reward": 1, "messages": []}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the bad files, and the good ones that commands need beside them."""
    folder = tmp_path_factory.mktemp("bad")
    for name in ("good.jsonl", "good.parquet"):
        write_rows(folder / name, ROWS, source="own")
    (folder / "traces.jsonl").write_text(json.dumps(TRACE) + "\n")
    lines, whole = (folder / "good.jsonl").read_bytes(), (folder / "good.parquet").read_bytes()
    for name, content in {
        "short.parquet": whole[:-20],
        "half.parquet": whole[: len(whole) // 2],
        "none.parquet": b"",
        "none.jsonl": b"",
        "cut.jsonl": lines + b'{"data_source": "x',
        "latin.jsonl": lines.replace(b"q1", "qü".encode("latin-1")),
        "other.jsonl": b'{"question": "Is it?"}\n',
        "type.jsonl": lines.replace(b'"q1"', b"17"),
        "twice.jsonl": lines + lines,
        "list.jsonl": b"[1]\n",
        "deep.jsonl": b"[" * 100_000 + b"\n",
        "digits.jsonl": b'{"a": ' + b"9" * 5000 + b"}\n",
        "large.jsonl": lines.replace(b'"index": 0', b'"index": ' + b"9" * 30),
        "half_pair.jsonl": lines.replace(b"q1", b"\\ud800"),
        "rows.csv": b"question\na\n",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    return folder


BAD = {
    "short.parquet": "no readable parquet",
    "half.parquet": "no readable parquet",
    "none.parquet": "no readable parquet",
    "none.jsonl": "none.jsonl, file: no rows in it",
    "cut.jsonl": "cut.jsonl, line 4, line: not JSON",
    "latin.jsonl": "latin.jsonl, line 2, line: not UTF-8",
    "other.jsonl": "row 0, column `question`: no column of ours",
    "type.jsonl": "row 1, column `prompt`: found {'role': 'user', 'content': 17}",
    "twice.jsonl": "row 3, column `uid`: the same uid",
    "list.jsonl": "row 0, row: a list, not an object",
    "deep.jsonl": "line 1, line: not JSON",
    "digits.jsonl": "line 1, line: not JSON",
    "large.jsonl": "row 0, column `extra_info.index`: found 999",
    "half_pair.jsonl": "row 1, text: half of a surrogate pair",
    "rows.csv": "no format of ours: `.csv`. To mend it: use .parquet or .jsonl",
    "folder": "it is a folder",
    "gone.parquet": "there is no such file",
}
COMMANDS = {
    "show": ["show", "FILE"],
    "pi": ["pi", "FILE", "kinds=[gold_answer,wrong_answer]", "out=OUT"],
    "frontier": ["frontier", "FILE", "model=gone", "out=OUT"],
    "leak": ["leak", "FILE", "GOOD"],
    "leak, held out": ["leak", "GOOD", "FILE"],
    "traces": ["traces", "FILE", "traces=TRACES", "out=OUT"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", BAD)
def test_one_line_says_what_and_where(files, tmp_path, capsys, command, name):
    out = tmp_path / "out.parquet"
    places = {"FILE": files / name, "GOOD": files / "good.parquet", "OUT": out,
              "TRACES": files / "traces.jsonl"}  # fmt: skip
    given = []
    for argument in COMMANDS[command]:
        for word, path in places.items():
            argument = argument.replace(word, str(path))
        given.append(argument)
    assert main(given) == 2
    error = capsys.readouterr().err
    assert BAD[name] in error and "To mend it: " in error
    assert error.count("\n") == 1 and error.startswith("data_prep: ") and len(error) < 700
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_one_line(files, capsys):
    out = files / "good.jsonl" / "x.parquet"
    assert main(["pi", str(files / "good.jsonl"), "kinds=[gold_answer]", f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert "Not a directory. To mend it: " in error or "File exists. To mend it: " in error
    assert error.count("\n") == 1
