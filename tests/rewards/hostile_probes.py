"""Programs that look for a hole in the sandbox and print "held" if there is none."""

from __future__ import annotations

from hostile_tasks import MARK

_TRY = "try:\n    {0}\n    print('broken')\nexcept {1}:\n    print('held')"
_CANNOT_WRITE = ("/", "/usr", "/usr/lib", "/opt", "/opt/inside", "/dev", "/proc", "/etc", "/root")

#: What holds only as root. Otherwise the sandbox's first process is of the program's user: it has
#: the same descriptors and nothing else to show, and ignores its signals.
AS_ROOT = ("first_process_files", "other_uids_killed")

#: Programs that look for a hole and print "held" if there is none.
PROBES = {
    "memory_of_no_process": _TRY.format("import os; os.memfd_create('x')", "OSError"),
    "shared_memory_of_no_process": (
        "import ctypes\nmade = ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600)\n"
        "print('held' if made == -1 else 'broken')"
    ),
    "shadow": _TRY.format("open('/etc/shadow')", "OSError"),
    "passwd": _TRY.format("open('/etc/passwd')", "OSError"),
    "home": _TRY.format("open('/home/x', 'w')", "OSError"),
    "homes_listed": "import os\nprint('broken' if os.path.exists('/home') else 'held')",
    "root_listed": (
        "import os, sys\nseen = set(os.listdir('/root')) if os.path.exists('/root') else set()\n"
        "print('broken' if seen - set(sys.prefix.split('/')) else 'held')"
    ),
    "not_root": "import os\nprint('held' if os.getuid() and os.geteuid() else 'broken')",
    "setuid": _TRY.format("import os; os.setuid(0)", "OSError"),
    "setgroups": _TRY.format("import os; os.setgroups([0])", "OSError"),
    "chroot": _TRY.format("import os; os.chroot('/tmp')", "OSError"),
    "mknod": _TRY.format("import os; os.mknod('/tmp/x', 0o60600, os.makedev(8, 0))", "OSError"),
    "chown": _TRY.format("import os; open('/tmp/x', 'w'); os.chown('/tmp/x', 0, 0)", "OSError"),
    "capabilities": (
        "t = open('/proc/self/status').read()\nnone = 'CapEff:\\t0000000000000000'\n"
        "print('held' if none in t and 'NoNewPrivs:\\t1' in t else 'broken')"
    ),
    "few_processes": (
        "import os\nn = sum(p.isdigit() for p in os.listdir('/proc'))\n"
        "print('held' if n < 5 else 'broken')"
    ),
    "first_process_files": (
        "import os\ntry:\n    os.listdir('/proc/1/fd'); print('broken')\nexcept OSError:\n"
        "    print('held')"
    ),
    "first_process_memory": _TRY.format("open('/proc/1/mem', 'rb').read(1)", "OSError"),
    "environment": (
        "import os\nprint('held' if set(os.environ) <= {'PATH', 'HOME', 'LANG', 'PYTHONHASHSEED',"
        " 'PYTHONINTMAXSTRDIGITS', 'PWD', 'LC_CTYPE'} else 'broken')"
    ),
    "network": _TRY.format(
        "import socket; socket.create_connection(('127.0.0.1', 22), 1)", "OSError"
    ),
    "interfaces": (
        "import socket\nprint('held' if [n for _, n in socket.if_nameindex()] == ['lo'] else"
        " 'broken')"
    ),
    "raw_socket": _TRY.format("import socket; socket.socket(socket.AF_PACKET, 3)", "OSError"),
    "no_descriptors": (
        "import os\nn = len(os.listdir('/proc/self/fd'))\nprint('held' if n <= 4 else 'broken')"
    ),
    "limits_fixed": _TRY.format(
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "(OSError, ValueError)"
    ),
    "no_core": (
        "import resource\nprint('held' if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else"
        " 'broken')"
    ),
    "tmp_is_small": (
        "import os\ns = os.statvfs('/tmp')\n"
        "print('held' if s.f_blocks * s.f_frsize <= 1 << 27 else 'broken')"
    ),
    "shm_is_small": (
        "import os\ns = os.statvfs('/dev/shm')\n"
        "print('held' if s.f_blocks * s.f_frsize <= 1 << 27 else 'broken')"
    ),
    "tmp_is_empty": (
        "import os, sys\nseen = set(os.listdir('/tmp')) - set(sys.base_prefix.split('/'))\n"
        "print('broken' if seen else 'held')"
    ),
    "no_tests_in_sight": (
        "import os\nprint('broken' if any(os.path.exists(p) for p in ('/work', '/srv', '/mnt',"
        " '/run/user', '/var/lib')) else 'held')"
    ),
    "device_nodes": (
        "import os\nseen = set(os.listdir('/dev'))\n"
        "print('broken' if {'kmsg', 'mem', 'sda', 'vda', 'kvm'} & seen else 'held')"
    ),
    "no_sys": "import os\nprint('broken' if os.path.exists('/sys/kernel') else 'held')",
    "sysctl": _TRY.format("open('/proc/sys/kernel/core_pattern', 'w')", "OSError"),
    "other_uids_killed": _TRY.format("import os; os.kill(1, 9)", "OSError"),
    "terminal": _TRY.format("open('/dev/tty')", "OSError"),
    "mount": (
        "import ctypes\nr = ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None)\n"
        "print('held' if r else 'broken')"
    ),
    **{
        f"write_{path.strip('/').replace('/', '_') or 'top'}": _TRY.format(
            f"open('{path}/{MARK}', 'w')", "OSError"
        )
        for path in _CANNOT_WRITE
    },
}
