"""The texts in a response that may be its program.

Text up to the last `</think>` is ignored. Of the code fences in the rest those marked as Python
count; where none is marked so, those without a mark. A response without fences is one text.
Which of several is the program is decided where it is compiled (`inside/choose.py`): the last one
that is a program and defines what the tests call. A response is hostile, so nothing here parses it.
"""

from __future__ import annotations

_PYTHON = {"python", "python3", "py", "py3", "python2", "ipython"}
_MAX_FENCES = 64


def programs_of(response: str) -> list[str]:
    """Candidate texts in the response's order, empty if there is none."""
    text = response.rpartition("</think>")[2].lstrip("\ufeff")
    fences = _fences(text)[-_MAX_FENCES:]
    marked = [body for mark, body in fences if mark in _PYTHON]
    bare = [body for mark, body in fences if not mark]
    found = marked or bare or ([] if fences else [text])
    return [body for body in found if body.strip()]


def _fences(text: str) -> list[tuple[str, str]]:
    """(mark, body) of each fence; one that is never closed runs to the end."""
    found: list[tuple[str, str]] = []
    mark, body, fence = "", [], ""
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if not fence:
            fence = bare[:3] if bare[:3] in ("```", "~~~") else ""
            mark, body = bare.strip("`~").strip().lower(), []
        elif bare == fence:
            found.append((mark, "".join(body)))
            fence = ""
        else:
            body.append(line)
    if fence:
        found.append((mark, "".join(body)))
    return [((m.split() or [""])[0].strip("{}."), body) for m, body in found]
