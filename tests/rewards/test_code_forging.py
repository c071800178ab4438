"""The verifier `code`: nothing that crosses is taken for a right answer, or opens the tests."""

from __future__ import annotations

import pytest
from code_tasks import reasons

_EQUAL = "class E:\n def __eq__(s, o): return True\n __ne__ = lambda s, o: True\n __hash__ = None\n"
_ZERO = (
    "class E:\n def __init__(s, *a): pass\n def __float__(s): return 0.0\n"
    " def __abs__(s): return 0.0\n def __bool__(s): return False\n"
    " def __contains__(s, x): return True\n"
    " def __lt__(s, o): return True\n __gt__ = __le__ = __ge__ = __lt__\n"
)
for _op in ("sub", "rsub", "truediv", "add", "mod", "xor"):
    _ZERO += f" def __{_op}__(s, o): return {'E()' if _op in ('sub', 'rsub') else '0'}\n"
_PLAIN_ZERO = _ZERO.replace("return E()", "return 0.0")

#: Objects that answer to operators as a right result would.
OPERATORS_FORGED = {
    "equal": ("assert f(1) == 11", _EQUAL + "def f(n): return E()"),
    "equal_in_list": ("assert [f(1)] == [11]", _EQUAL + "def f(n): return E()"),
    "in_list": ("assert f(1) in [11, 12]", _EQUAL + "def f(n): return E()"),
    "contains": ("assert 11 in f(1)", _ZERO + "def f(n): return E()"),
    "difference": ("assert abs(f(1) - 2.5) < 1e-6", _PLAIN_ZERO + "def f(n): return E()"),
    "difference_of_object": ("assert abs(f(1) - 2.5) < 1e-6", _ZERO + "def f(n): return E()"),
    "reflected": ("assert abs(2.5 - f(1)) < 1e-6", _PLAIN_ZERO + "def f(n): return E()"),
    "less": ("assert f(1) < 2.5", _ZERO + "def f(n): return E()"),
    "less_reflected": ("assert 2.5 > f(1)", _ZERO + "def f(n): return E()"),
    "not_difference": ("assert not f(1) - 2.5", _ZERO + "def f(n): return E()"),
    "class_difference": ("assert abs(Mean(1) - 2.5) < 1e-6", _ZERO + "Mean = E"),
    "class_plain_difference": ("assert abs(Mean(1) - 2.5) < 1e-6", _PLAIN_ZERO + "Mean = E"),
    "class_difference_float": (
        "import math\nassert math.fabs(Mean(1) - 2.5) < 1e-6", _ZERO + "Mean = E"
    ),
    "class_difference_bool": ("assert not (Mean(1) - 2.5)", _ZERO + "Mean = E"),
    "derived_list": (
        "assert f(1) == [11]",
        "class E(list):\n def __eq__(s, o): return True\ndef f(n): return E()"
    ),
    "derived_tuple": (
        "assert f(1) == (11,)",
        "class E(tuple):\n def __eq__(s, o): return True\ndef f(n): return E()",
    ),
    "derived_int_attribute": (
        "assert f(1) == 11",
        "class E(int):\n def __getattr__(s, n): return lambda *a: True\ndef f(n): return E()",
    ),
    "exit_swallows": (
        "with Guard():\n assert f(1) == 11",
        "class Guard:\n def __enter__(s): return s\n def __exit__(s, *e): return True\n"
        "def f(n): return 0",
    ),
    "exit_swallows_raised": (
        "with Guard() as g:\n if f(1) != 11: raise AssertionError\nassert g",
        "class Guard:\n def __enter__(s): return s\n def __exit__(s, *e): return True\n"
        "def f(n): return 0",
    ),
}  # fmt: skip

#: Programs that use what they were handed to get at the tests, or to change them.
_CHECK = (
    "class Check:\n def __init__(self): self.n = 0\n def right(self, x): return x == 11\n"
    "def g(n): return n\nc = Check()\nassert c.right(f(c, g)) and g(1) == 1"
)
HANDED_MISUSED = {
    "method_replaced": (_CHECK, "def f(c, g):\n c.right = lambda x: True\n return 0"),
    "class_replaced": (_CHECK, "def f(c, g):\n c.__class__ = int\n return 0"),
    "globals_of_function": (_CHECK, "def f(c, g): return g.__globals__['c']"),
    "globals_of_method": (_CHECK, "def f(c, g): return c.right.__func__"),
    "dict_of_object": (_CHECK, "def f(c, g):\n c.__dict__['right'] = lambda x: True\n return 0"),
    "init_again": (_CHECK, "def f(c, g):\n c.__init__()\n return c"),
    "operator_of_nothing": (
        _CHECK,
        "def f(c, g):\n ask = c.__class__._verl_pi_ask.__get__(c)\n"
        " return ask('operate', 'eval', '11')[0]",
    ),
    "attribute_of_other": (
        _CHECK,
        "def f(c, g):\n ask = type(c)._verl_pi_ask.__get__(c)\n return ask('attr', 3, 'real')[0]",
    ),
    "unknown_request": (
        _CHECK,
        "def f(c, g):\n ask = type(c)._verl_pi_ask.__get__(c)\n return ask('serve', c, ())[0]",
    ),
}


@pytest.mark.parametrize("cases", [OPERATORS_FORGED, HANDED_MISUSED], ids=["operators", "misused"])
def test_what_crosses_forges_nothing(cases) -> None:
    allowed = ("wrong_answer", "runtime_error")
    assert {name: v for name, v in reasons(cases).items() if v[0] not in allowed} == {}
