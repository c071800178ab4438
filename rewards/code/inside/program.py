"""Runs a program that reads standard input and writes standard output.

The program itself is 12 digits, the length of what follows, and the texts of the response, encoded.
It stands on a descriptor of its own, so that standard input is the program's input and nothing else
however often it is opened; or, for a service that has only standard input, before the input there,
which is read without a buffer.
"""

from __future__ import annotations

import builtins
import os
import sys

from . import choose, confine, faults, wire

#: Exit codes for what happened before or instead of the program's own end.
COMPILE_ERROR, MEMORY, EXCEPTION = 65, 66, 1


def main(arguments: list[str]) -> None:
    """arguments: the limits; the program's descriptor, if it is not standard input."""
    fd = int(arguments[1]) if len(arguments) > 1 else 0
    size = int(_exactly(fd, 12))
    texts = wire.decode(bytes.fromhex(_exactly(fd, size).decode()), None)
    os.closerange(3, 256)
    sys.argv[:] = ["program.py"]
    builtins.exit = builtins.quit = sys.exit  # type: ignore[attr-defined]  # as `site` has them
    confine.confine(arguments[0])
    confine.openable()
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
        _end(EXCEPTION, f"{faults.where(err)}: {faults.message(err)}")


def _exactly(fd: int, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = os.read(fd, size - len(parts))
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
