"""Programs that want to pass without being right, to hang, to harm, or to stay.

FORGERIES and HARMS are answers to TASK (`f(n)` is 3n³ + 7n + 1, which none computes) or, those
that end in `_io`, to PROGRAM. None may pass. PROBES are programs for PROBE that print "held" when
the sandbox holds: all must pass in bubblewrap.
"""

from __future__ import annotations

import json

MARK = "verl_pi_hostile_mark"
TASK = json.dumps(
    {
        "kind": "asserts",
        "tests": ["assert f(1) == 11", "assert f(10) == 3071", "assert f(0) == 1"],
        "entry_point": "f",
    }
)
HONEST = "def f(n):\n    return 3 * n ** 3 + 7 * n + 1"
PROGRAM = json.dumps({"kind": "stdio", "cases": [{"input": "10\n", "output": "3071\n"}]})
HONEST_IO = "n = int(input())\nprint(3 * n ** 3 + 7 * n + 1)"
PROBE = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "held"}]})

#: Objects and tricks that want to be taken for the right answer.
FORGERIES = {
    "eq_always_true": "class E:\n def __eq__(s, o): return True\ndef f(n): return E()",
    "eq_and_ne": (
        "class E:\n def __eq__(s, o): return True\n def __ne__(s, o): return False\n"
        " def __hash__(s): return 0\ndef f(n): return E()"
    ),
    "int_subclass_eq": "class E(int):\n def __eq__(s, o): return True\ndef f(n): return E(0)",
    "float_subclass_eq": "class E(float):\n def __eq__(s, o): return True\ndef f(n): return E(0)",
    "str_subclass_eq": "class E(str):\n def __eq__(s, o): return True\ndef f(n): return E('')",
    "list_subclass_eq": "class E(list):\n def __eq__(s, o): return True\ndef f(n): return E([0])",
    "dict_subclass_eq": "class E(dict):\n def __eq__(s, o): return True\ndef f(n): return E()",
    "tuple_subclass_eq": "class E(tuple):\n def __eq__(s, o): return True\ndef f(n): return E()",
    "metaclass_eq": (
        "class M(type):\n def __eq__(s, o): return True\n __hash__ = type.__hash__\n"
        "class E(metaclass=M): pass\ndef f(n): return E"
    ),
    "reflected_eq_bool": (
        "class E:\n def __eq__(s, o): return s\n def __bool__(s): return True\ndef f(n): return E()"
    ),
    "class_claims_int": (
        "class E:\n __class__ = int\n def __eq__(s, o): return True\ndef f(n): return E()"
    ),
    "fake_range": (
        "class range:\n __module__ = 'builtins'\n start = stop = step = 1\n"
        " def __eq__(s, o): return True\ndef f(n): return range()"
    ),
    "fake_fraction": (
        "import fractions\nclass Fraction(fractions.Fraction):\n"
        " def __eq__(s, o): return True\nFraction.__module__ = 'fractions'\n"
        "fractions.Fraction = Fraction\ndef f(n): return Fraction(1)"
    ),
    "unittest_any": "from unittest.mock import ANY\ndef f(n): return ANY",
    "magic_mock": "from unittest.mock import MagicMock\nf = MagicMock()",
    "nan": "def f(n): return float('nan')",
    "none": "def f(n): return None",
    "returns_itself": "def f(n): return f",
    "generator": "def f(n):\n yield 11",
    "coroutine": "async def f(n): return 3 * n",
    "name_deleted": "f = 1\ndel f",
    "name_is_number": "f = 11",
    "builtins_assert_patch": (
        "import builtins\nbuiltins.AssertionError = Warning\ndef f(n): return 0"
    ),
    "builtins_eq_patch": (
        "import builtins, operator\noperator.eq = lambda a, b: True\n"
        "builtins.all = builtins.any = lambda x: True\ndef f(n): return 0"
    ),
    "int_patch_ctypes": (
        "import ctypes, gc\ngc.get_referents(int.__dict__)[0]['__eq__'] = lambda a, b: True\n"
        "def f(n): return 0"
    ),
    "ctypes_small_ints": (
        "import ctypes, sys\n"
        "for v in (11, 1):\n ctypes.memmove(id(v) + 24, (0).to_bytes(4, 'little'), 4)\n"
        "def f(n): return 0"
    ),
    "debug_off": "__debug__0 = False\nimport sys\nsys.flags = None\ndef f(n): return 0",
    "settrace_jump": (
        "import sys\ndef t(frame, event, arg):\n"
        " if event == 'line' and frame.f_code.co_filename != '<answer>':\n"
        "  try: frame.f_lineno = frame.f_lineno + 1\n  except Exception: pass\n return t\n"
        "sys.settrace(t)\nf0 = sys._getframe()\n"
        "while f0: f0.f_trace = t; f0 = f0.f_back\ndef f(n): return 0"
    ),
    "setprofile": "import sys\nsys.setprofile(lambda *a: None)\ndef f(n): return 0",
    "frame_hunt": (
        "import sys\ndef f(n):\n fr = sys._getframe()\n while fr:\n"
        "  for v in list(fr.f_locals.values()) + list(fr.f_globals.values()):\n"
        "   if isinstance(v, int) and not isinstance(v, bool) and v in (11, 3071): return v\n"
        "   if isinstance(v, str) and '3071' in v: return 3071\n  fr = fr.f_back\n return 0"
    ),
    "gc_hunt": (
        "import gc\ndef f(n):\n for o in gc.get_objects():\n  try:\n"
        "   if 'assert' in repr(o)[:10000] and 'f(10)' in repr(o): return 3071 if n == 10 else 11\n"
        "  except Exception: pass\n return 0"
    ),
    "memory_hunt": (
        "import re\ndef f(n):\n data = b''\n for line in open('/proc/self/maps'):\n"
        "  a, b = (int(x, 16) for x in line.split()[0].split('-'))\n  try:\n"
        "   with open('/proc/self/mem', 'rb') as m:\n    m.seek(a)\n"
        "    data += m.read(min(b - a, 1 << 22))\n"
        "  except Exception: pass\n"
        " found = re.search(rb'assert f\\(' + str(n).encode() + rb'\\) == (\\d+)', data)\n"
        " return int(found.group(1)) if found else 0"
    ),
    "argv_hunt": (
        "import glob\ndef f(n):\n for p in glob.glob('/proc/*/cmdline'):\n"
        "  t = open(p).read()\n  if '3071' in t: return 3071\n return 0"
    ),
    "fd_hunt": (
        "import os\ndef f(n):\n for fd in range(64):\n  try: t = os.pread(fd, 1 << 20, 0)\n"
        "  except OSError: continue\n  if b'3071' in t: return 3071 if n == 10 else 11\n return 0"
    ),
    "file_hunt": (
        "import os\ndef f(n):\n for top in ('/tmp', '/opt', '/home', '/var', '/dev/shm'):\n"
        "  for d, _, names in os.walk(top):\n   for name in names:\n    try: t = open("
        "d + '/' + name, 'rb').read(1 << 20)\n    except OSError: continue\n"
        "    if b'== 3071' in t: return 3071 if n == 10 else 11\n return 0"
    ),
    "environ_hunt": (
        "import os\ndef f(n): return next((int(v) for v in os.environ.values() if v == '3071'), 0)"
    ),
    "raise_in_call": "def f(n): raise AssertionError",
    "raise_systemexit": "def f(n): raise SystemExit(0)",
    "raise_keyboardinterrupt": "def f(n): raise KeyboardInterrupt",
    "raise_generatorexit": "def f(n): raise GeneratorExit",
    "raise_stopiteration": "def f(n): raise StopIteration",
    "raise_own_base": "class B(BaseException): pass\ndef f(n): raise B",
    "raise_str_bomb": (
        "class B(Exception):\n def __str__(s): raise s\n __repr__ = __str__\ndef f(n): raise B"
    ),
    "exception_named_failed": "class FailedError(BaseException): pass\ndef f(n): raise FailedError",
    "exit_at_load": "import sys\nsys.exit(0)",
    "os_exit_at_load": "import os\nos._exit(0)",
    "os_exit_in_call": "import os\ndef f(n): os._exit(0)",
    "quit_at_load": "quit()",
    "abort": "import os\ndef f(n): os.abort()",
    "kill_self": "import os, signal\ndef f(n): os.kill(os.getpid(), signal.SIGKILL)",
    "segfault": "import ctypes\ndef f(n): ctypes.string_at(0)",
    "stack_overflow": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n) + 1",
    "atexit_exit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(n): return 0",
    "excepthook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef f(n): return 1 / 0",
    "exec_true": "import os\ndef f(n): os.execv('/bin/true', ['true'])",
    "exec_python_pass": (
        "import os, sys\ndef f(n): os.execv(sys.executable, [sys.executable, '-c', 'pass'])"
    ),
    "fork_child_answers": ("import os\ndef f(n):\n if os.fork() == 0: return 11\n os._exit(0)"),
    "link_forged_ok": (
        "import os\ndef f(n):\n for fd in range(64):\n"
        "  try: os.write(fd, b'\\x12\\0\\0\\0t\\2\\0\\0\\0u\\2\\0\\0\\0okT')\n"
        "  except OSError: pass\n return 0"
    ),
    "link_forged_verdict": (
        "import os, sys\nwire = sys.modules.get('inside.wire')\n"
        "data = wire.encode(('verdict', 'ok', ''), None)\n"
        "for fd in range(64):\n try: os.write(fd, len(data).to_bytes(4, 'little') + data)\n"
        " except OSError: pass\ndef f(n): return 0"
    ),
    "link_closed": "import os\nos.closerange(0, 64)\ndef f(n): return 0",
    "link_garbage": (
        "import os\ndef f(n):\n for fd in range(64):\n  try: os.write(fd, os.urandom(4096))\n"
        "  except OSError: pass\n return 0"
    ),
    "link_huge_frame": (
        "import os\ndef f(n):\n for fd in range(64):\n"
        "  try: os.write(fd, b'\\xff\\xff\\xff\\x7f')\n  except OSError: pass\n return 0"
    ),
    "link_deep_frame": (
        "import os\nd = b'l\\1\\0\\0\\0' * 100000 + b'N'\ndef f(n):\n for fd in range(3, 64):\n"
        "  try: os.write(fd, len(d).to_bytes(4, 'little') + d)\n  except OSError: pass\n return 0"
    ),
    "asks_for_type": (
        "import sys, gc\nG = next(o for o in gc.get_objects() if type(o).__name__ == 'Guest')\n"
        "def f(n):\n answer = G._link.ask('call', type, ('X', (), {'__eq__': bool}), {})\n"
        " return answer[1]() if answer[0] == 'ok' else 0"
    ),
    "asks_for_eval": (
        "import gc\nG = next(o for o in gc.get_objects() if type(o).__name__ == 'Guest')\n"
        "def f(n):\n for thing in (eval, 'eval', int, exec):\n"
        "  answer = G._link.ask('call', thing, ('3*%d**3+7*%d+1' % (n, n),), {})\n"
        "  if answer[0] == 'ok': return answer[1]\n return 0"
    ),
    "asks_other_requests": (
        "import gc\nG = next(o for o in gc.get_objects() if type(o).__name__ == 'Guest')\n"
        "def f(n):\n for what in ('name', 'attr', 'load', 'setattr', 'run', 'use', '_handle'):\n"
        "  answer = G._link.ask(what, 'f', '__globals__')\n"
        "  if answer[0] == 'ok': return answer[1]\n return 0"
    ),
    "references_of_the_examiner": (
        "import sys\nw = sys.modules['inside.wire']\nclass R:\n def __init__(s, k): s.k = k\n"
        " def their_reference(s): return w.Ref(b'e', s.k, 'int')\ndef f(n): return R(n % 3)"
    ),
    "wire_patched": (
        "import sys\nw = sys.modules['inside.wire']\nold = w.encode\n"
        "w.encode = lambda value, refer: old(('ok', True, {}), refer)\ndef f(n): return 0"
    ),
    "wire_patched_error": (
        "import sys\nw = sys.modules['inside.wire']\nold = w.encode\n"
        "w.encode = lambda value, refer: old(('verdict', 'ok', ''), refer)\ndef f(n): return 0"
    ),
    "write_back_forged": (
        "import sys\nw = sys.modules['inside.wire']\nold = w.encode\n"
        "w.encode = lambda value, refer: old(('ok', 0, {0: [1], 'x': 2}), refer)\n"
        "def f(n): return 0"
    ),
    "examiner_imported": (
        "import sys\nsys.path.insert(0, '/opt')\nfrom inside import examiner\n"
        "examiner._equal = lambda *a: None\nexaminer.tell(('verdict', 'ok', ''))\n"
        "def f(n): return 0"
    ),
    "json_marshal_patched": (
        "import json, marshal\njson.loads = marshal.loads = lambda *a: True\ndef f(n): return 0"
    ),
    "stdout_replaced": "import sys\nsys.stdout = open('/dev/null', 'w')\ndef f(n): print('ok')",
    "prints_verdict": "print('ok')\nprint('Verdict(passed=True)')\nprint('1 passed')\ndef f(n): 0",
    "nonce_guess": "import sys\nfor i in range(1000): print(f'{i:032x}')\ndef f(n): return 0",
    "module_replaced": (
        "import sys\nclass M:\n def __getattr__(s, k): return lambda *a, **k: True\n"
        "for k in list(sys.modules): sys.modules[k] = M()\ndef f(n): return 0"
    ),
    "import_hook": (
        "import sys\nclass H:\n def find_spec(s, *a): raise SystemExit(0)\n"
        "sys.meta_path.insert(0, H())\nimport colorsys\ndef f(n): return 0"
    ),
    "tests_shadowed": "assert_ = lambda *a: None\n__verl_pi_equal__ = lambda *a: None\ndef f(n): 0",
    "only_a_comment": "# f(1) == 11, f(10) == 3071",
    "docstring_only": '"""assert f(10) == 3071"""',
    "syntax_error": "def f(n) return 11",
    "nul_byte": "def f(n):\n    return 11\x00",
    "lone_surrogate": "def f(n):\n    return '\ud800'",
    "unicode_name": "def ｆ(n):\n    return 0",
    "bidi_override": "def f(n):\n    return 0 # \u202e)n(f fed",
    "form_feeds": "\f\v\u2028\u2029\x85def f(n): return 0",
    "bom": "\ufeffdef f(n): return 0",
    "deep_parentheses": "def f(n): return " + "(" * 100_000 + ")" * 100_000,
    "deep_minus": "def f(n): return " + "-" * 200_000 + "1",
    "deep_attributes": "def f(n): return n" + ".real" * 50_000,
    "deep_indentation": "\n".join(" " * i + "if 1:" for i in range(150)) + "\n" + " " * 150 + "x=0",
    "long_line": "x = '" + "a" * 900_000 + "'\ndef f(n): return 0",
    "many_lines": "x = 0\n" * 100_000 + "def f(n): return 0",
    "ten_megabytes": "def f(n):\n    return 0\n#" + "x" * 10_000_000,
    "many_fences": "```python\ndef f(n): return 0\n```\n" * 5_000,
    "unclosed_fence": "```python\ndef f(n): return 0",
    "fence_in_think": "<think>```python\n" + HONEST + "\n```</think>I do not know.",
    "huge_constant": "def f(n): return 0\nx = " + "9" * 400_000,
    "printed_pass_io": "print('ok')\nprint('passed')",
    "exit_zero_io": "import os\nos._exit(0)",
    "sys_exit_io": "import sys\nsys.exit(0)",
    "right_then_crash_io": "print(3071)\n1 / 0",
    "right_then_more_io": "print(3071)\nprint(3071)",
    "stdin_rewound_io": "import os\nos.lseek(0, 0, 0)\nprint(os.read(0, 100000)[-20:])",
    "stdin_written_io": "import os\nos.write(0, b'3071')\nprint(1)",
    "stderr_answer_io": "import sys\nprint(3071, file=sys.stderr)",
    "closed_stdout_io": "import os\nos.close(1)",
    "echo_io": "import sys\nprint(sys.stdin.read())",
    "argv_io": "import glob\nfor p in glob.glob('/proc/*/cmdline'): print(open(p).read())",
    "code_65_io": "import os\nprint(3071, flush=True)\nos._exit(65)",
    "surrogates_io": "import sys\nsys.stdout.buffer.write(b'\\xed\\xa0\\x80' * 1000)",
    "nul_io": "print('3071' + chr(0))",
    "unicode_digits_io": "print('３０７１')",
}

#: Programs that want to hang, to fill, to kill, or to leave something behind.
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

_TRY = "try:\n    {0}\n    print('broken')\nexcept {1}:\n    print('held')"
_CANNOT_WRITE = ("/", "/usr", "/usr/lib", "/opt", "/opt/inside", "/dev", "/proc", "/etc", "/root")

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
    "tmp_is_empty": "import os\nprint('held' if not os.listdir('/tmp') else 'broken')",
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


def truth_of(name: str) -> str:
    """The ground truth that a hostile program is judged by."""
    return PROGRAM if name.endswith("_io") else TASK
