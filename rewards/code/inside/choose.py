"""Which of the texts in a response is the program, compiled."""

from __future__ import annotations

import builtins

_ONLY_AST = 0x400
NAME = "<answer>"


class NoProgramError(Exception):
    """None of the texts is a program; the message is the compiler's."""


def choose(texts: list[str], prompt: str, entry_point: str, wanted: list[str]):
    """Compile the last text that is a program and defines what the tests call.

    With a prompt (HumanEval) a text may also be the continuation of the prompt, at the indentation
    the model gave it or one step in. Where no text defines what is wanted, the last one that
    compiles counts. Raises NoProgramError.
    """
    wanted = [entry_point] if entry_point else wanted
    spare, first_error = None, ""
    for text in reversed(texts):
        tree, error = _parse(text)
        first_error = first_error or error
        if tree is not None and _defines(tree, wanted):
            return _compiled(_whole(prompt, text))
        for program in _continuations(prompt, text):
            tree, error = _parse(program)
            if tree is not None:
                return _compiled(program)
        if not prompt and tree is not None:
            spare = spare or text
    if spare is None:
        raise NoProgramError(first_error or "there is no program")
    return _compiled(spare)


def _parse(text: str):
    try:
        return compile(text, NAME, "exec", _ONLY_AST), ""
    except (SyntaxError, ValueError) as err:
        return None, describe(err)
    except (RecursionError, MemoryError):
        return None, "the program is nested too deeply to be compiled"


def _compiled(text: str):
    try:
        return compile(text, NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as err:
        raise NoProgramError(describe(err)) from None
    except (RecursionError, MemoryError):
        raise NoProgramError("the program is nested too deeply to be compiled") from None


def describe(err: Exception) -> str:
    """A compiler's error in one line."""
    line = f"line {err.lineno}: " if isinstance(err, SyntaxError) and err.lineno else ""
    said = err.msg if isinstance(err, SyntaxError) else str(err)
    return f"{line}{type(err).__name__}: {said}"


def _defines(tree, wanted: list[str]) -> bool:
    names = set()
    for node in tree.body:
        kind = type(node).__name__
        if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
            names.add(node.name)
        elif kind == "Assign":
            names.update(getattr(target, "id", "") for target in node.targets)
        elif kind in ("Import", "ImportFrom"):
            names.update(alias.asname or alias.name for alias in node.names)
    return not wanted or any(name in names for name in wanted)


def _whole(prompt: str, text: str) -> str:
    """The prompt's imports and helpers, then the text, which defines the function again."""
    if not prompt:
        return text
    for filled in (prompt, prompt.rstrip() + "\n    pass\n"):
        if _parse(filled)[0] is not None:
            return f"{filled}\n\n{text}"
    return text


def _continuations(prompt: str, text: str) -> list[str]:
    if not prompt:
        return []
    head = prompt if prompt.endswith("\n") else prompt + "\n"
    indented = "".join("    " + line for line in text.splitlines(keepends=True))
    return [prompt + text, head + text, head + indented]


def names_of(err: BaseException) -> list[str]:
    """The built-in classes of an exception, the nearest first."""
    return [k.__name__ for k in type(err).__mro__ if getattr(builtins, k.__name__, None) is k]


def where(err: BaseException) -> str:
    """`line 3, in f: `, the innermost line of the program itself; empty if there is none."""
    place, trace = "", err.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == NAME:
            place = f"line {trace.tb_lineno}, in {code.co_name}: "
        trace = trace.tb_next
    return f"{place}{type(err).__name__}"[:200]


def message(err: BaseException) -> str:
    """What the exception says, whatever its `__str__` does."""
    try:
        return str(err)[:1000]
    except BaseException as second:
        return f"<{type(second).__name__} in its __str__>"
