"""System calls that make memory of no process, denied by a filter that bubblewrap installs.

SysV shared memory and files of memfd_create count for no process, so `memory_mb` would not bound
them. They fail with EPERM. The calls' numbers are those of x86-64; elsewhere there is no filter.
"""

from __future__ import annotations

import errno
import os
import platform
import struct

_DENIED = {"shmget": 29, "memfd_create": 319, "memfd_secret": 447}
_X86_64 = 0xC000003E
#: The same calls once more, numbered for programs with short pointers.
_X32_CALLS = 0x40000000
# struct seccomp_data: int nr; u32 arch; …
_NUMBER, _ARCH = 0, 4
# Berkeley packet filter: load a word, jump if equal or at least, return.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _DENY = 0x7FFF0000, 0x00050000


def filter_file() -> int:
    """A descriptor to read the filter from, for `bwrap --seccomp`; -1 where there is none."""
    if platform.machine() != "x86_64" or struct.calcsize("P") != 8:
        return -1
    fd = os.memfd_create("filter", os.MFD_CLOEXEC)
    os.write(fd, _program())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _program() -> bytes:
    deny = _step(_RETURN, _DENY | errno.EPERM)
    program = [_step(_LOAD, _ARCH), _step(_EQUAL, _X86_64, 1, 0), deny, _step(_LOAD, _NUMBER)]
    program += [_step(_AT_LEAST, _X32_CALLS, 0, 1), deny]
    for number in _DENIED.values():
        program += [_step(_EQUAL, number, 0, 1), deny]
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
