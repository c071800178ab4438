"""A system call filter for the pool's workers: they compute and read, and change nothing outside.

Denied: new processes and programs, signals to others, sockets, and everything that makes, changes
or removes a file. What is denied fails with EPERM. The calls' numbers are those of x86-64; on
other machines `install` says so and the resource limits stand alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_DENIED = {
    "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
    "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424,
    "pidfd_open": 434, "pidfd_getfd": 438, "ptrace": 101, "process_vm_readv": 310,
    "process_vm_writev": 311, "process_madvise": 440,
    "socket": 41, "openat2": 437, "open_by_handle_at": 304, "creat": 85,
    "mkdir": 83, "mkdirat": 258, "rmdir": 84, "unlink": 87, "unlinkat": 263,
    "rename": 82, "renameat": 264, "renameat2": 316, "link": 86, "linkat": 265,
    "symlink": 88, "symlinkat": 266, "mknod": 133, "mknodat": 259, "truncate": 76,
    "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452,
    "chown": 92, "lchown": 94, "fchown": 93, "fchownat": 260,
    "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
    "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
    "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308,
    "move_mount": 429, "open_tree": 428, "fsopen": 430, "bpf": 321, "perf_event_open": 298,
    "io_uring_setup": 425, "userfaultfd": 323, "keyctl": 250, "add_key": 248, "request_key": 249,
    "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "mq_unlink": 241,
    "setpgid": 109, "setsid": 112, "setpriority": 141, "sched_setaffinity": 203,
    "reboot": 169, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175,
    "finit_module": 313, "delete_module": 176, "swapon": 167, "swapoff": 168,
    "sethostname": 170, "setdomainname": 171, "settimeofday": 164, "clock_settime": 227,
    "adjtimex": 159, "quotactl": 179, "acct": 163,
}  # fmt: skip
_OPEN, _OPENAT, _CLONE, _CLONE3, _KILL, _TGKILL, _PRLIMIT = 2, 257, 56, 435, 62, 234, 302
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD = 0x00010000
_X32_CALLS = 0x40000000

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_X86_64 = 0xC000003E
# Berkeley packet filter: load a word, jump if equal, at least or any bit set, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _DENY = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _FILTER = 22, 2


def install() -> str:
    """Filter the calls of this process from now on; an empty answer, or why it cannot be done.

    no_new_privs has to be set. Threads and processes begun later inherit the filter.
    """
    if platform.machine() != "x86_64" or struct.calcsize("P") != 8:
        return f"no system call filter for {platform.machine()}"
    code = b"".join(_program(os.getpid()))
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.c_char_p(program), 0, 0) != 0:
        return f"the system call filter is refused: {os.strerror(ctypes.get_errno())}"
    return ""


def _program(own_pid: int) -> list[bytes]:
    deny = _step(_RETURN, _DENY | errno.EPERM)
    program = [_step(_LOAD, _ARCH), _step(_EQUAL, _X86_64, 1, 0), deny, _step(_LOAD, _NUMBER)]
    program += [_step(_AT_LEAST, _X32_CALLS, 0, 1), deny]
    for number in _DENIED.values():
        program += [_step(_EQUAL, number, 0, 1), deny]
    # Without clone3 the C library falls back to clone, whose flags can be read here.
    program += [_step(_EQUAL, _CLONE3, 0, 1), _step(_RETURN, _DENY | errno.ENOSYS)]
    program += _unless(_CLONE, 0, _step(_ANY_BIT, _CLONE_THREAD, 1, 0), deny)
    program += _unless(_OPEN, 1, _step(_ANY_BIT, _WRITES, 0, 1), deny)
    program += _unless(_OPENAT, 2, _step(_ANY_BIT, _WRITES, 0, 1), deny)
    for call in (_KILL, _TGKILL):
        program += _unless(call, 0, _step(_EQUAL, own_pid, 1, 0), deny)
    program += _unless(_PRLIMIT, 0, _step(_EQUAL, 0, 1, 0), deny)
    return [*program, _step(_RETURN, _ALLOW)]


def _unless(number: int, argument: int, test: bytes, deny: bytes) -> list[bytes]:
    """For one call: deny, unless `test` of the low half of that argument jumps over it."""
    load = _step(_LOAD, _ARGUMENTS + 8 * argument)
    return [_step(_EQUAL, number, 0, 4), load, test, deny, _step(_RETURN, _ALLOW)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
