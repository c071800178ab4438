"""Which of the texts in a response is the program, compiled."""

from __future__ import annotations

from .faults import NAME

_ONLY_AST = 0x400


class NoProgramError(Exception):
    """None of the texts is a program; the message is the compiler's."""


def choose(texts: list[str], prompt: str, entry_point: str, wanted: list[str]):
    """Compile the last text that is a program and defines what the tests call.

    One that imports the name counts if none defines it. Where the tests call nothing, because the
    program reads standard input, a text of values alone is an example of output.

    If none does: with a prompt (HumanEval) the last that continues it, at the indentation the
    model gave it or one step in; otherwise the last that compiles. Raises NoProgramError.
    """
    wanted = [entry_point] if entry_point else wanted
    parsed = [(text, *_parse(text)) for text in reversed(texts)]
    for names_in in (_defined, _imported):
        for text, tree, _ in parsed:
            if tree is not None and _serves(tree, names_in(tree), wanted):
                return _compiled(_whole(prompt, text))
    for text, tree, _ in parsed:
        for program in _continuations(prompt, text):
            if _continues(program, prompt, entry_point):
                return _compiled(program)
        if not prompt and tree is not None:
            return _compiled(text)
    errors = [error for _, _, error in parsed if error]
    raise NoProgramError(errors[0] if errors else "it neither defines nor continues the function")


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


def _serves(tree, names: set[str], wanted: list[str]) -> bool:
    if not wanted:
        return not all(map(_is_value, tree.body))
    return any(name in names for name in wanted)


def _is_value(node) -> bool:
    """Whether it does nothing when it runs: `42`, `YES`, `-1`, `3, 4`."""
    kind = type(node).__name__
    if kind in ("List", "Tuple", "Set"):
        return all(map(_is_value, node.elts))
    if kind in ("Expr", "UnaryOp"):
        return _is_value(node.value if kind == "Expr" else node.operand)
    return kind in ("Constant", "Name")


def _defined(tree) -> set[str]:
    names = set()
    for node in tree.body:
        kind = type(node).__name__
        if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
            names.add(node.name)
        elif kind == "Assign":
            names.update(getattr(target, "id", "") for target in node.targets)
    return names


def _imported(tree) -> set[str]:
    found = [node for node in tree.body if type(node).__name__ in ("Import", "ImportFrom")]
    return {alias.asname or alias.name for node in found for alias in node.names}


def _continues(program: str, prompt: str, entry_point: str) -> bool:
    """Whether it compiles with more in the function than the prompt has: an example of use after
    the prompt would compile too."""
    try:
        compile(program, NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return _statements(program, entry_point) > _statements(prompt, entry_point)


def _statements(text: str, function: str) -> int:
    """How many statements the last function of that name has; 0 if it does not compile."""
    body = getattr(_parse(text)[0], "body", [])
    found = [node for node in body if getattr(node, "name", "") == function]
    return len(found[-1].body) if found else 0


def _whole(prompt: str, text: str) -> str:
    """The prompt's imports and helpers, then the text, which defines the function again."""
    if not prompt:
        return text
    for filled in (prompt, prompt.rstrip() + "\n    pass\n"):
        if _parse(filled)[0] is not None:
            future, rest = _without_future(text)
            return f"{future}{filled}\n\n{rest}"
    return text


def _without_future(text: str) -> tuple[str, str]:
    """(a line of its imports from `__future__`, which must come first; the text without them)."""
    lines, names = text.splitlines(keepends=True), []
    for node in getattr(_parse(text)[0], "body", []):
        if getattr(node, "module", "") == "__future__":
            names += [alias.name for alias in node.names]
            lines[node.lineno - 1 : node.end_lineno] = ["\n"] * (node.end_lineno - node.lineno + 1)
    return (f"from __future__ import {', '.join(names)}\n" if names else ""), "".join(lines)


def _continuations(prompt: str, text: str) -> list[str]:
    if not prompt:
        return []
    head = prompt if prompt.endswith("\n") else prompt + "\n"
    indented = "".join("    " + line for line in text.splitlines(keepends=True))
    return [prompt + text, head + text, head + indented]
