"""Where in a response the answer stands: shared by the verifiers of text and mathematics.

Every function is linear in the length of the text, and reads only what is after the last
``</think>``.
"""

from __future__ import annotations

import re
from typing import Any

_FINAL = re.compile(
    r"(?:final\s{1,3}answer|answer)\*{0,2}\s{0,3}(?:is|:)[ \t:]*(?!\s*(?:in)?(?:correct|right)\b)",
    re.IGNORECASE,
)
_DIGITS = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:/\d+)?"
# `5-3` ends in 3, not in -3; an exponent, an index or the 2 of H2O is no number of its own.
_SIGN = r"(?:(?<![\w)\]}])-)?"
_NUMBER = rf"(?:{_SIGN}(?<![\w^.]){_DIGITS})"
# As in Pandoc: `$5 and $6` are two sums of money, `$x$` is a formula.
_FORMULA = (
    r"(?:\$\$(?P<display>[^$]+)\$\$|\\\[(?P<bracket>.+?)\\\]|\\\((?P<inline>.+?)\\\)"
    r"|(?<!\\)\$(?!\s)(?P<dollar>(?:\\.|[^$\\\n])+)(?<!\s)\$(?!\d))"
)
_BARE = r"(?P<bare>-?\d*\\[dt]?(?:frac|sqrt)(?:\[\w+\])?(?:\{[^{}]*\}|\d){1,2})"
_LAST = re.compile(rf"{_FORMULA}|{_BARE}|(?P<number>{_NUMBER})", re.DOTALL)
_ITEM = re.compile(
    rf"(?:{_FORMULA}|(?:\\?\$|[€£¥])?\s?(?P<number>-?{_DIGITS}))(?P<percent>\s?\\?%)?", re.DOTALL
)
# What makes one more answer of what follows: `5, 6`, `$5$ and $6$`, `5. Or maybe 6`.
_MORE = re.compile(
    r"[.,;]?[ \t]*\(?\b(?:or|but|maybe|perhaps|possibly|alternatively)\b[^$\d\n\\-]{0,40}"
    r"|\.\s*(?:(?:hmm|well|wait|no|actually)\b[,.]?\s*)?(?:or|maybe|perhaps|possibly|alternatively"
    r"|(?:it|this|that)\s(?:could|might|may)(?:\salso)?\sbe|another\s(?:possibility|option)\sis"
    r"|on\ssecond\sthought)\b[^$\d\n\\-]{0,40}"
    r"|[.,;]?\s*\(?\b(?:or|and|maybe|perhaps)\b\s*|[,;]\s*|[ \t]*[/|&][ \t]*|[ \t]+(?=[$\\])",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\s+(?:[cdkm]?m|in|ft|yd|mi)(?:\s?\^\s?\{?[23]\}?|[²³])?(?![\w^])")
_NO_UNIT = re.compile(
    r"\b(?:or|point|million|billion|thousand|hundred|dozen|percent|pi|over|times|plus|minus"
    r"|squared|cubed|half|sqrt|[b-hj-z])\b|[\d$\\=+*/^<>|]",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(?<![\w)])\*\*|\*\*(?![\w(])")
_TAIL = 2000


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
    """What follows the last "final answer is", "the answer is" or "Answer:"."""
    ends = [match.end() for match in _FINAL.finditer(text)]
    return stated(text[ends[-1] :]) if ends else None


def stated(text: str, sentence: bool = True) -> str | None:
    """The answer that `text` begins with: formulas or numbers, all of them if it gives several.

    Words after a number (`18 dollars per day`) are not part of it. Anything else is taken as it
    stands, up to the line's end or, with `sentence`, to the sentence's.
    """
    text = _BOLD.sub("", text[:_TAIL].replace("−", "-")).lstrip(" \t\r\n*_:")
    items, end = _items(text)
    if items and (len(items) > 1 or not items[0][1] or _only_words(text[end:])):
        return ", ".join(item for item, _ in items)
    line = text.partition("\n")[0].strip()
    if sentence:
        line = re.split(r"\.(?:\s|$)", line, maxsplit=1)[0]
    return line.strip("* ").removesuffix(".").strip() or None


def _items(text: str) -> tuple[list[tuple[str, bool]], int]:
    """The answers in a row at the start, each with whether it is a plain number, and their end."""
    items: list[tuple[str, bool]] = []
    end, match = 0, _ITEM.match(text)
    while match:
        percent = r"\%" if match.group("percent") else ""
        plain = match.group("number") is not None
        items.append((_content(match).rstrip(".,") + percent, plain))
        end = match.end()
        more = _MORE.match(text, end)
        match = _ITEM.match(text, more.end()) if more else None
    return items, end


def _content(match: re.Match[str]) -> str:
    groups = match.groupdict()
    return next(text for name, text in groups.items() if text and name != "percent").strip()


def _only_words(rest: str) -> bool:
    """Whether the rest of a sentence adds words or a unit to a number, and no mathematics."""
    unit = _UNIT.match(rest)
    line = rest[unit.end() if unit else 0 :].partition("\n")[0]
    line = re.split(r"\.(?:\s|$)", line, maxsplit=1)[0]
    if not line.strip():
        return True
    begins = re.match(r"\s*[,;(]|\s+[^\W\d]", line)
    return bool(begins) and not _NO_UNIT.search(line)


def last_number(text: str) -> str | None:
    """The last number or formula in the last 2,000 characters: ``-3``, ``1,234.5``, ``3/4``.

    A number within a formula is not taken out of it. A formula without a number, such as ``$x$``,
    does not count.
    """
    tail = text[-_TAIL:].replace("−", "-")
    found = [_content(match) for match in _LAST.finditer(tail)]
    return next((one for one in reversed(found) if re.search(r"\d|\\pi|\\infty", one)), None)


def shown(answer: str, chars: int = 200) -> str:
    """An answer in feedback: shortened, and free of what cannot be encoded."""
    text = answer.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    return text if len(text) <= chars else text[:chars] + " …"
