"""What was generated is kept, whatever happens to the process."""

from __future__ import annotations

import subprocess
import sys

from algorithms.runtime.journal import Journal, key_of, opened


def test_an_entry_is_found_again_by_another_process(tmp_path):
    Journal(tmp_path).put(key_of("answer", [1, 2], {"seed": 3}), {"text": "é\u2028\ud800"})
    again = Journal(tmp_path)
    assert again.get(key_of("answer", [1, 2], {"seed": 3})) == {"text": "é\u2028\ud800"}
    assert again.get(key_of("answer", [1, 2], {"seed": 4})) is None
    assert (again.found, again.added, len(again)) == (1, 0, 1)


def test_the_order_of_a_dictionary_is_no_part_of_the_key():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1})


def test_files_of_several_processes_are_read_together(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"host-{name}.jsonl").write_text(f'{{"key": "{name}", "value": 1}}\n')
    assert {name: Journal(tmp_path).get(name) for name in ("one", "two")} == {"one": 1, "two": 1}


def test_a_line_cut_short_loses_nothing_else(tmp_path):
    journal = Journal(tmp_path)
    journal.put("a", 1)
    with journal._file.open("ab") as file:
        file.write(b'{"key": "b", "val')
    Journal(tmp_path).put("c", 3)  # same process number: the same file
    whole = Journal(tmp_path)
    assert (whole.get("a"), whole.get("b"), whole.get("c")) == (1, None, 3)


def test_what_was_put_survives_a_kill(tmp_path):
    code = (
        "import os, signal, sys; from algorithms.runtime.journal import Journal\n"
        f"j = Journal({str(tmp_path)!r})\n"
        "for i in range(5): j.put(str(i), i)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [Journal(tmp_path).get(str(i)) for i in range(5)] == list(range(5))


def test_a_stage_reads_what_the_one_before_added(tmp_path):
    first = opened(str(tmp_path), "one")
    assert opened(str(tmp_path), "one") is first
    (tmp_path / "elsewhere.jsonl").write_text('{"key": "x", "value": 7}\n')
    assert first.get("x") is None and opened(str(tmp_path), "two").get("x") == 7
