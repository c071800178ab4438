"""The verifiers `exact` and `regex`: the answer as text."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping
from typing import Any

from rewards.answers import after_marker, after_thinking, choice, last_boxed, shown
from rewards.verdict import Verdict

_MAX_CHARS = 1_000_000


class ExactVerifier:
    r"""Whether the answer is this very text.

    Options of a call: extract ("all": the whole response after ``</think>``; "boxed": what is in
    the last ``\boxed{}``; "line": its last line that is not empty), prefix (such as "####": what
    follows it in its last line of the response; goes before extract), case_sensitive (True),
    strip (True), normalise (True: Unicode's NFKC, and white space of any length is one blank),
    max_chars (1,000,000), show_answer (False: whether feedback may say the right one).
    """

    OPTIONS = frozenset(
        {"extract", "prefix", "case_sensitive", "strip", "normalise", "max_chars", "show_answer"}
    )
    ISOLATION = "process"
    SECONDS = 10.0
    MEMORY_MB = 1024
    CACHEABLE = True

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        begun = time.perf_counter()
        how = choice("exact", "extract", extra.get("extract", "all"), ("all", "boxed", "line"))
        if len(response) > int(extra.get("max_chars", _MAX_CHARS)):
            return Verdict.failed("malformed", "the response is too long")
        wanted = _normal(ground_truth, extra)
        if not wanted:
            return Verdict.failed("verifier_error", "the ground truth is empty")
        found = _extract(response, how, str(extra.get("prefix", "")))
        answer = _normal(found, extra) if found is not None else ""
        if not answer:
            return Verdict.failed("no_answer", _missing(how, str(extra.get("prefix", ""))))
        if answer == wanted:
            return Verdict.ok(time.perf_counter() - begun)
        said = f"the answer {shown(answer)} is not right"
        if extra.get("show_answer", False):
            said += f"; it is {ground_truth}"
        return Verdict.failed("wrong_answer", said, time.perf_counter() - begun)


class RegexVerifier:
    """Whether the answer matches a pattern of Python's `re`: the ground truth.

    Options of a call: match ("fullmatch", or "search" for a match anywhere), prefix and extract
    as for `exact`, ignore_case (False), max_chars (1,000,000), seconds (10). A pattern that
    backtracks without end is ended with its process: a `timeout`.
    """

    OPTIONS = frozenset({"match", "extract", "prefix", "ignore_case", "max_chars", "seconds"})
    ISOLATION = "process"
    SECONDS = 10.0
    MEMORY_MB = 1024
    CACHEABLE = True

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        begun = time.perf_counter()
        how = choice("regex", "extract", extra.get("extract", "all"), ("all", "boxed", "line"))
        match = choice("regex", "match", extra.get("match", "fullmatch"), ("fullmatch", "search"))
        if len(response) > int(extra.get("max_chars", _MAX_CHARS)):
            return Verdict.failed("malformed", "the response is too long")
        try:
            pattern = re.compile(ground_truth, re.IGNORECASE if extra.get("ignore_case") else 0)
        except (re.error, OverflowError, RecursionError) as err:
            return Verdict.failed("verifier_error", f"the pattern cannot be read: {err}")
        if not ground_truth:
            return Verdict.failed("verifier_error", "the pattern is empty")
        if match == "search" and pattern.search(""):
            return Verdict.failed("verifier_error", "the pattern is found in every text")
        found = _extract(response, how, str(extra.get("prefix", "")))
        if found is None or not found.strip():
            return Verdict.failed("no_answer", _missing(how, str(extra.get("prefix", ""))))
        right = getattr(pattern, match)(found.strip())
        seconds = time.perf_counter() - begun
        if right:
            return Verdict.ok(seconds)
        return Verdict.failed("wrong_answer", "the answer has not the form asked for", seconds)


def _extract(response: str, how: str, prefix: str) -> str | None:
    text = after_thinking(response)
    if prefix:
        return after_marker(text, prefix)
    if how == "boxed":
        return last_boxed(text)
    if how == "line":
        return text.rstrip().rpartition("\n")[2]
    return text


def _normal(text: str, options: Mapping[str, Any]) -> str:
    if options.get("normalise", True):
        text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text))
    if options.get("strip", True):
        text = text.strip()
    return text if options.get("case_sensitive", True) else text.casefold()


def _missing(how: str, prefix: str) -> str:
    if prefix:
        return f"no answer was found: write {prefix} and the answer after it"
    if how == "boxed":
        return r"no answer was found: put the final answer in \boxed{}"
    return "the response is empty"
