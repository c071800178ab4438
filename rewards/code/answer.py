"""The texts in a response that may be its program.

Text up to the last `</think>` is ignored; one within a line of a fence is the program's own text.
Of the code fences in the rest those marked as Python count; where none is marked so, those without
a mark. A response without fences is one text. A fence may be indented or stand in a list.
Which of several is the program is decided where it is compiled (`inside/choose.py`): the last one
that is a program and defines what the tests call. A response is hostile, so nothing here parses it.
"""

from __future__ import annotations

import re

_PYTHON = {"python", "python3", "py", "py3", "python2", "ipython"}
_MAX_FENCES = 64


_THOUGHT = "</think>"
#: Indentation and a list's bullet or number, the fence, what stands behind it.
_OPENING = re.compile(r"(\s*(?:(?:[-*+]|\d{1,9}[.)])\s+)?)(`{3,}|~{3,})([^`]*)$")
#: `python` in "python", "{.python .numberLines}", "python:solution.py", "Python title=x".
_MARK = re.compile(r"\W*([\w+#-]*)")


def programs_of(response: str) -> list[str]:
    """Candidate texts in the response's order, empty if there is none."""
    fences, text = _fences(response.lstrip("\ufeff"))
    fences = fences[-_MAX_FENCES:]
    marked = [body for mark, body in fences if mark in _PYTHON]
    bare = [body for mark, body in fences if not mark]
    found = marked or bare or ([] if fences else [text])
    return [body for body in found if body.strip()]


def _fences(text: str) -> tuple[list[tuple[str, str]], str]:
    """(mark, body) of each fence after the thoughts, and all text after them.

    A fence that is never closed runs to the end.
    """
    found: list[tuple[str, list[str], int]] = []
    rest: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        if _THOUGHT in line and (not fence or line.lstrip(" \t`~").startswith(_THOUGHT)):
            line = line.rpartition(_THOUGHT)[2].lstrip("\ufeff")
            found, rest, fence = [], [], ""
        rest.append(line)
        if fence:
            bare = line.strip()
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
            else:
                found[-1][1].append(line)
        elif opening := _OPENING.match(line.rstrip()):
            before, fence, info = opening.groups()
            found.append((_MARK.match(info.lower())[1], [], len(before)))  # type: ignore[index]
    return [(mark, _dedented(body, depth)) for mark, body, depth in found], "".join(rest)


def _dedented(body: list[str], depth: int) -> str:
    """The body of a fence that is itself indented by `depth`, by as much if all of it is."""
    depths = [len(line) - len(line.lstrip()) for line in body if line.strip()]
    depth = min([depth, *depths])
    return "".join(line[depth:] if line.strip() else line for line in body)
