"""Guest and examiner in one script, for a service that runs one script and returns its output.

The guest is forked off before the tests are read, so they are not in its memory; where this runs
as root it becomes another user. The verdict is printed after a nonce that stood on standard input.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from . import confine, examiner, guest, wire

_NOBODY = "65534"


def main(arguments: list[str]) -> None:
    """arguments: limits without a user. Standard input: the nonce, a line; the task, in hex."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        os.setsid()
        ours.close()
        user = _NOBODY if os.geteuid() == 0 else "0"
        guest.serve(theirs.fileno(), f"{user},{arguments[0]},k")
    theirs.close()
    confine.confine(f"0,{arguments[0]},d")
    nonce, _, text = sys.stdin.read().partition("\n")
    task = wire.decode(bytes.fromhex(text), None)
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the tests print
    verdict = examiner.Examiner(ours.fileno(), lambda message: None).judge(task)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.write(out, f"\n{nonce} {wire.encode(verdict, None).hex()}\n".encode())
    os._exit(0)
