"""Where in a response the answer stands: shared by the verifiers of text and mathematics.

Every function is linear in the length of the text, and reads only what is after the last
``</think>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_FINAL = re.compile(r"(?:final\s{1,3}answer|answer)\s{0,3}(?:is|:)[ \t:]*", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")
_TAIL = 2000


def check_options(name: str, options: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise ValueError if `options` has a key that the verifier `name` does not know."""
    unknown = set(options) - known
    if unknown:
        raise ValueError(
            f"the {name} verifier has no option {sorted(unknown)}; it has {sorted(known)}"
        )


def choice(name: str, option: str, value: Any, known: tuple[str, ...]) -> str:
    """`value` if it is one of `known`; a ValueError that names the option otherwise."""
    if value not in known:
        raise ValueError(f"the {name} verifier: {option}={value!r} is none of {', '.join(known)}")
    return value


def after_thinking(response: str) -> str:
    """What comes after the last ``</think>``; everything if there is none."""
    return response.rpartition("</think>")[2]


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` (or ``\fbox{...}``, or ``\boxed 5``).

    None without one, and where the last is not closed: an earlier box is then not the answer,
    since the text broke off while it gave a later one.
    """
    command = max(("\\boxed", "\\fbox"), key=text.rfind)
    start = text.rfind(command)
    if start < 0:
        return None
    start += len(command)
    rest = text[start : start + 1]
    if rest == " " and not text[start:].lstrip(" ").startswith("{"):
        word = re.match(r" +([^\s$]+)", text[start:])
        return word.group(1) if word else None
    opening = text.find("{", start)
    if opening < 0 or text[start:opening].strip():
        return None
    return _braced(text, opening)


def _braced(text: str, opening: int) -> str | None:
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[opening + 1 : match.start()]
    return None


def after_marker(text: str, marker: str) -> str | None:
    """The rest of the line after the last `marker`; None if it does not occur."""
    _, found, after = text.rpartition(marker)
    if not found:
        return None
    return after.strip("\n\r").partition("\n")[0].strip()


def said_answer(text: str) -> str | None:
    """What follows the last "final answer is", "the answer is" or "Answer:", up to the line's end.

    One closing full stop is not part of it; dollars and bold marks around it neither.
    """
    ends = [match.end() for match in _FINAL.finditer(text)]
    if not ends:
        return None
    line = text[ends[-1] : ends[-1] + _TAIL].lstrip().partition("\n")[0]
    dollars = re.match(r"\**\s*\$+([^$]+)\$+\s*(\\?%)?", line)
    if dollars:
        return dollars.group(1).strip() + (dollars.group(2) or "")
    sentence = re.split(r"\.(?:\s|\**$)", line.strip(), maxsplit=1)[0]
    return sentence.strip().strip("*").strip() or None


def last_number(text: str) -> str | None:
    """The last number in the last 2,000 characters, such as ``-3``, ``1,234.5`` or ``3/4``."""
    found = _NUMBER.findall(text[-_TAIL:])
    return found[-1] if found else None


def shown(answer: str, chars: int = 200) -> str:
    """An answer in feedback: shortened, and free of what cannot be encoded."""
    text = answer.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    return text if len(text) <= chars else text[:chars] + " …"
