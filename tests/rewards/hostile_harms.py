"""Programs that want to hang, to fill, to kill, or to leave something behind.

Answers to TASK or, those that end in `_io`, to PROGRAM. None is right.
"""

from __future__ import annotations

from hostile_tasks import MARK

HARMS = {
    "loop_at_load": "while True: pass",
    "loop_in_call": "def f(n):\n while True: pass",
    "sleep": "import time\ndef f(n): time.sleep(1000)",
    "input_waits": "def f(n): return input()",
    "deadlock": "import threading\nl = threading.Lock()\ndef f(n): l.acquire(); l.acquire()",
    "regex_backtracking": "import re\ndef f(n): return re.match('(a+)+$', 'a' * 64 + 'b')",
    "power_tower": "def f(n): return 9 ** 9 ** 9 ** 9",
    "power_tower_constant": "x = 9 ** 9 ** 9 ** 9\ndef f(n): return x",
    "huge_shift": "def f(n): return 1 << (1 << 40)",
    "huge_factorial": "import math\ndef f(n): return math.factorial(10 ** 8)",
    "huge_int_result": "def f(n): return 1 << (1 << 28)",
    "huge_string_result": "def f(n): return 'x' * (200 << 20)",
    "huge_list_result": "def f(n): return [0] * (16 << 20)",
    "deep_result": "def f(n):\n x = []\n for _ in range(10 ** 5): x = [x]\n return x",
    "cyclic_result": "def f(n):\n x = []\n x.append(x)\n return x",
    "wide_result": "def f(n):\n x = [0]\n for _ in range(64): x = [x, x]\n return x",
    "colliding_set": "def f(n): return {i * ((1 << 61) - 1) for i in range(40000)}",
    "endless_iterator": (
        "class E:\n def __iter__(s): return s\n def __next__(s): return 0\ndef f(n): return E()"
    ),
    "slow_repr_argument": "def f(n):\n while 1: repr([0] * 10 ** 6)",
    "ten_gigabytes": "x = bytearray(10 * 1024 ** 3)\ndef f(n): return 0",
    "growing_list": "def f(n):\n x = []\n while 1: x.append('y' * 100000)",
    "growing_dict": "def f(n):\n x = {}\n while 1: x[len(x)] = bytes(10000)",
    "decompression_bomb": (
        "import zlib\ndef f(n):\n d = zlib.compress(bytes(10 ** 8))\n"
        " return b''.join(zlib.decompress(d) for _ in range(100))"
    ),
    "memfd_fill": (
        "import os\nfor _ in range(60):\n fd = os.memfd_create('x')\n"
        " try:\n  while True: os.write(fd, bytes(1 << 20))\n except OSError: pass"
    ),
    "shared_memory": (
        "import mmap\nk = []\nwhile True:\n k.append(mmap.mmap(-1, 1 << 25))\n k[-1][:] = "
        "bytes(1 << 25)"
    ),
    "shm_fill": (
        "import os\ni = 0\nwhile True:\n i += 1\n"
        f" with open(f'/dev/shm/{MARK}{{i}}', 'wb') as s: s.write(bytes(1 << 20))"
    ),
    "tmp_fill": (
        "i = 0\nwhile True:\n i += 1\n"
        f" with open(f'/tmp/{MARK}{{i}}', 'wb') as s: s.write(bytes(1 << 20))"
    ),
    "tmp_inodes": f"i = 0\nwhile True:\n i += 1\n open(f'/tmp/{MARK}{{i}}', 'w').close()",
    "big_file": f"s = open('/tmp/{MARK}', 'wb')\nwhile True: s.write(bytes(1 << 20))",
    "sparse_file": f"s = open('/tmp/{MARK}', 'wb')\ns.truncate(1 << 40)\ndef f(n): return 0",
    "write_everywhere": (
        "for d in ('/', '/usr', '/usr/bin', '/opt', '/opt/inside', '/root', '/home', '/etc',"
        f" '/var/tmp', '/dev', '/proc', '/tmp', '/dev/shm', '.'):\n"
        f" try: open(d + '/{MARK}', 'w').write('x')\n except OSError: pass\ndef f(n): return 0"
    ),
    "delete_everything": (
        "import shutil\nfor d in ('/tmp', '/home', '/root', '/opt', '/usr/local', '/var'):\n"
        " shutil.rmtree(d, ignore_errors=True)\ndef f(n): return 0"
    ),
    "overwrite_scripts": (
        "import glob\nfor p in glob.glob('/opt/inside/*.py'):\n try: open(p, 'w').write('')\n"
        " except OSError: pass\ndef f(n): return 0"
    ),
    "symlink_out": (
        f"import os\nos.symlink('/etc/shadow', '/tmp/{MARK}')\ndef f(n): return open('/tmp/{MARK}')"
    ),
    "fork_bomb": "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "fork_bomb_in_call": (
        "import os\ndef f(n):\n while True:\n  try: os.fork()\n  except OSError: pass"
    ),
    "fork_bomb_setsid": (
        "import os\nwhile True:\n try:\n  if os.fork() == 0: os.setsid()\n except OSError: pass"
    ),
    "vfork_exec_bomb": (
        "import subprocess, sys\nwhile True:\n try: subprocess.Popen([sys.executable, '-S', '-c',"
        " 'import time; time.sleep(999)'])\n except OSError: pass"
    ),
    "thread_bomb": (
        "import threading, time\nwhile True:\n"
        " try: threading.Thread(target=time.sleep, args=(999,)).start()\n except RuntimeError: 0"
    ),
    "endless_thread": (
        "import threading\ndef t():\n while True: pass\nthreading.Thread(target=t).start()\n"
        "def f(n): return 0"
    ),
    "daemon_double_fork": (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(1000)\n"
        " os._exit(0)\ndef f(n): return 0"
    ),
    "daemon_then_exit": (
        "import os, time\nif os.fork():\n os._exit(0)\nos.setsid()\ntime.sleep(1000)"
    ),
    "zombies": (
        "import os\nfor _ in range(10):\n if os.fork() == 0: os._exit(0)\ndef f(n): return 0"
    ),
    "pool_left": (
        "import multiprocessing as m, time\ntry: p = [m.Process(target=time.sleep, args=(999,))"
        " for _ in range(4)]; [x.start() for x in p]\nexcept OSError: pass\ndef f(n): return 0"
    ),
    "ignores_signals": (
        "import signal\nfor s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n"
        " except (OSError, ValueError): pass\ndef f(n):\n while True: pass"
    ),
    "blocks_signals": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "def f(n):\n while True: pass"
    ),
    "handler_swallows": (
        "import signal\nsignal.signal(signal.SIGXCPU, lambda *a: None)\nsignal.alarm(0)\n"
        "def f(n):\n while True:\n  try:\n   while True: pass\n  except BaseException: pass"
    ),
    "stops_itself": "import os, signal\ndef f(n): os.kill(os.getpid(), signal.SIGSTOP)",
    "kill_parent": "import os\nos.kill(os.getppid(), 9)\ndef f(n): return 0",
    "kill_all": "import os\ndef f(n):\n os.kill(-1, 9)",
    "kill_every_pid": (
        "import os\nfor p in range(1, 40000):\n if p != os.getpid():\n"
        "  try: os.kill(p, 9)\n  except OSError: pass\ndef f(n): return 0"
    ),
    "kill_group": "import os\ndef f(n): os.killpg(0, 9)",
    "ptrace_all": (
        "import ctypes, os\nl = ctypes.CDLL(None)\nfor p in range(1, 100):\n"
        " if p != os.getpid(): l.ptrace(16, p, 0, 0)\ndef f(n): return 0"
    ),
    "raise_limits": (
        "import resource\nfor k in range(16):\n try: resource.setrlimit(k, (-1, -1))\n"
        " except (OSError, ValueError): pass\nx = bytearray(10 << 30)\ndef f(n): return 0"
    ),
    "user_namespace_bomb": (
        "import ctypes, os\nctypes.CDLL(None).unshare(0x10000000)\nwhile True:\n"
        " try: os.fork()\n except OSError: pass"
    ),
    "nice_and_affinity": (
        "import os\ntry: os.nice(-20)\nexcept OSError: pass\nos.sched_setaffinity(0, {0})\n"
        "def f(n):\n while True: pass"
    ),
    "socket_listen": (
        "import socket\ns = socket.socket()\ns.bind(('0.0.0.0', 0))\ns.listen()\ndef f(n):\n"
        " return s.accept()"
    ),
    "socket_connect": (
        "import socket\ndef f(n): return socket.create_connection(('192.0.2.1', 80))"
    ),
    "resolve_name": "import socket\ndef f(n): return socket.gethostbyname('example.org')",
    "abstract_socket": (
        f"import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0{MARK}')\ndef f(n): return 0"
    ),
    "pipe_flood": "import os\ndef f(n):\n while True: os.write(os.dup(os.pipe()[1]), bytes(4096))",
    "link_flood": (
        "import os\nwhile True:\n for fd in range(3, 64):\n"
        "  try: os.write(fd, bytes(1 << 16))\n  except OSError: pass"
    ),
    "link_silent": "import os, time\ndef f(n):\n os.closerange(0, 2)\n time.sleep(1000)",
    "recursive_import": "import sys\nwhile True:\n sys.modules.clear()\n import os",
    "exec_loop": "def f(n):\n while True: exec('x = 1')",
    "compile_bomb": "exec('a=' * 100000 + '1')\ndef f(n): return 0",
    "gc_off_cycles": (
        "import gc\ngc.disable()\ndef f(n):\n while 1:\n  a = [0] * 10000\n  a.append(a)"
    ),
    "huge_output_io": "while True: print('x' * 10000)",
    "output_then_hang_io": "print(3071, flush=True)\nwhile True: pass",
    "output_and_daemon_io": (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n time.sleep(1000)\nprint(0)"
    ),
    "holds_stdout_io": (
        "import os, time\nprint(0, flush=True)\nif os.fork() == 0: time.sleep(1000)\nos._exit(0)"
    ),
    "stderr_flood_io": "import sys\nwhile True: sys.stderr.write('x' * 100000)",
    "fork_bomb_io": "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "ten_gigabytes_io": "x = bytearray(10 * 1024 ** 3)",
    "reads_forever_io": "import sys\nwhile True: sys.stdin.read(1)",
}
