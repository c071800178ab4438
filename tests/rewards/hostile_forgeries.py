"""Programs that want to pass without being right.

Answers to TASK (`f(n)` is 3n³ + 7n + 1, which none computes) or, those that end in `_io`, to
PROGRAM. None may pass.
"""

from __future__ import annotations

from hostile_tasks import HONEST

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
