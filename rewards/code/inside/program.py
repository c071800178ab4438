"""Runs a program that reads standard input and writes standard output.

Standard input begins with the program itself: 12 digits, the length of what follows; then the
texts of the response, encoded; then the program's input. It is read without a buffer, so that the
program finds its own input and nothing else.
"""

from __future__ import annotations

import builtins
import os
import sys

from . import choose, confine, wire

#: Exit codes for what happened before or instead of the program's own end.
COMPILE_ERROR, MEMORY, EXCEPTION = 65, 66, 1


def main(arguments: list[str]) -> None:
    """arguments: the limits."""
    size = int(_exactly(12))
    texts = wire.decode(bytes.fromhex(_exactly(size).decode()), None)
    os.closerange(3, 256)
    sys.argv[:] = ["program.py"]
    builtins.exit = builtins.quit = sys.exit  # type: ignore[attr-defined]  # as `site` has them
    confine.confine(arguments[0])
    os.write(1, wire.BEGUN)
    try:
        code = choose.choose(texts, "", "", [])
    except choose.NoProgramError as err:
        _end(COMPILE_ERROR, str(err))
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    module.__dict__["__builtins__"] = builtins
    try:
        exec(code, module.__dict__)
    except MemoryError:
        _end(MEMORY, "MemoryError")
    except Exception as err:
        _end(EXCEPTION, f"{choose.where(err)}: {choose.message(err)}")


def _exactly(size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = os.read(0, size - len(parts))
        if not part:
            raise EOFError("the program is not there")
        parts += part
    return parts


def _end(status: int, text: str) -> None:
    try:
        sys.stdout.flush()
        os.write(2, text[:2000].encode("utf-8", "replace"))
    finally:
        os._exit(status)
