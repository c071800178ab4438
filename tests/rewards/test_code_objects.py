"""The verifier `code`: values, objects and exceptions cross between tests and program."""

from __future__ import annotations

import pytest
from code_tasks import reasons

#: Values of the standard library arrive whole, or the tests below could not see the difference.
VALUES = {
    "aware_datetime": (
        "from datetime import *\n"
        "assert now() == datetime(2024, 1, 1, 12, tzinfo=timezone.utc)\n"
        "assert now().tzinfo is not None and now().isoformat() == '2024-01-01T12:00:00+00:00'",
        "from datetime import *\n"
        "def now(): return datetime(2024, 1, 1, 14, tzinfo=timezone.utc) - timedelta(hours=2)",
    ),
    "own_time_zone": (
        "from datetime import *\nassert now() == datetime(2024, 1, 1, 12, tzinfo=timezone.utc)",
        "from datetime import *\nclass Z(tzinfo):\n"
        " def utcoffset(s, d): return timedelta(hours=2)\n"
        " def dst(s, d): return timedelta(0)\n"
        "def now(): return datetime(2024, 1, 1, 14, tzinfo=Z())",
    ),
    "time": (
        "from datetime import time\nassert noon() == time(12, 0, 1)",
        "from datetime import time\ndef noon(): return time(12, 0, 1)",
    ),
    "deque_with_maxlen": (
        "from collections import deque\nd = last(3)\nd.append(9)\n"
        "assert d.maxlen == 3 and d == deque([1, 2, 9])",
        "from collections import deque\ndef last(n): return deque(range(3), maxlen=n)",
    ),
    "uuid": (
        "import uuid\nassert parsed('0' * 31 + '1') == uuid.UUID(int=1)",
        "import uuid\ndef parsed(s): return uuid.UUID(s)",
    ),
}

#: Objects of the program's classes, as tests of classes use them.
_VECTOR = (
    "class Vector:\n"
    " def __init__(s, x, y): s.x, s.y = x, y\n"
    " def __eq__(s, o): return isinstance(o, Vector) and (s.x, s.y) == (o.x, o.y)\n"
    " def __hash__(s): return hash((s.x, s.y))\n"
    " def __add__(s, o): return Vector(s.x + o.x, s.y + o.y)\n"
    " def __mul__(s, k): return Vector(s.x * k, s.y * k)\n"
    " __rmul__ = __mul__\n"
    " def __abs__(s): return (s.x ** 2 + s.y ** 2) ** .5\n"
    " def __neg__(s): return Vector(-s.x, -s.y)\n"
    " def __lt__(s, o): return abs(s) < abs(o)\n"
    " def __iter__(s): return iter((s.x, s.y))\n"
    " def __str__(s): return f'({s.x}, {s.y})'\n"
)
OBJECTS = {
    "operators": (
        "a, b = Vector(1, 2), Vector(3, 4)\nassert a + b == Vector(4, 6)\nassert a != b\n"
        "assert not a == b\nassert a < b and sorted([b, a])[0] == a\nassert abs(b) == 5\n"
        "assert a * 3 == Vector(3, 6) and 3 * a == a * 3 and -a == Vector(-1, -2)\n"
        "assert str(a) == '(1, 2)' and f'{a}' == '(1, 2)' and list(a) == [1, 2]\n"
        "assert len({a, Vector(1, 2), b}) == 2 and {a: 7}[Vector(1, 2)] == 7",
        _VECTOR,
    ),
    "identity": (
        "assert Single() is Single()\nn = Node(1)\nn.next = Node(2)\n"
        "assert n.next is n.next and n.next is not n and n.itself() is n",
        "class Single:\n one = None\n def __new__(c):\n  c.one = c.one or object.__new__(c)\n"
        "  return c.one\n"
        "class Node:\n def __init__(s, v): s.v, s.next = v, None\n def itself(s): return s",
    ),
    "copies": (
        "xs = [3, 1]\nassert same(xs) is xs\nassert fresh(xs) is not xs and fresh(xs) == xs\n"
        "assert turned(xs) is xs and xs == [1, 3]",
        "def same(x): return x\ndef fresh(x): return list(x)\n"
        "def turned(x):\n x.reverse()\n return x",
    ),
    "container": (
        "t = Table()\nt['a'] = 1\nt['b'] = 2\ndel t['a']\nassert len(t) == 1 and t['b'] == 2\n"
        "assert 'b' in t and 'a' not in t and [*reversed(t)] == ['b']\n"
        "try:\n t['a']\n assert False\nexcept KeyError as e:\n assert e.args == ('a',)",
        "class Table:\n def __init__(s): s.d = {}\n def __setitem__(s, k, v): s.d[k] = v\n"
        " def __getitem__(s, k): return s.d[k]\n def __delitem__(s, k): del s.d[k]\n"
        " def __len__(s): return len(s.d)\n def __contains__(s, k): return k in s.d\n"
        " def __reversed__(s): return reversed(s.d)",
    ),
    "context": (
        "r = Resource()\nwith r as got:\n assert got is r and r.open\nassert not r.open",
        "class Resource:\n open = False\n def __enter__(s):\n  s.open = True\n  return s\n"
        " def __exit__(s, *e): s.open = False",
    ),
    "shown_and_copied": (
        "import copy\np = P('a', [1])\nassert repr(p) == \"P(name='a', xs=[1])\"\n"
        "q, r = copy.deepcopy(p), copy.copy(p)\nassert p == q and q is not p\n"
        "p.xs.append(2)\nassert r.xs == [1, 2] and q.xs == [1]\n"
        "assert p.xs is r.xs and [1, 2] == p.xs\n"
        "assert p.xs[::-1] == [2, 1] and p.xs + [3] == [1, 2, 3] and [0] + p.xs == [0, 1, 2]\n"
        "assert p.xs < [9] and isinstance(p.xs, list) and 2 in p.xs and P.__doc__ == 'A point.'\n"
        "p += P('', [7])\nassert p.xs == [1, 2, 7] and iter(p) is p and next(p) == 1",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n 'A point.'\n name: str\n"
        " xs: list\n"
        " def __iadd__(s, o):\n  s.xs = s.xs + o.xs\n  return s\n"
        " def __iter__(s): return s\n def __next__(s): return s.xs[0]",
    ),
    "changed_in_place": (
        "from collections import deque\nd, b, xs = deque([1], 3), bytearray(b'ab'), [2, 1]\n"
        "change(d, b, xs=xs)\nassert d == deque([1, 5]) and d.maxlen == 3 and b == b'ba'\n"
        "assert xs == [1, 2] and same(x=xs) is xs",
        "def change(d, b, xs):\n d.append(5)\n b.reverse()\n xs.sort()\ndef same(x): return x",
    ),
    "own_exceptions": (
        "a = Account(5)\ntry:\n a.withdraw(9)\n assert False\nexcept Overdrawn as e:\n"
        " assert e.missing == 4 and str(e) == 'too much' and isinstance(e, ValueError)\n"
        "try:\n a.withdraw(-1)\n assert False\nexcept BankError as e:\n"
        " assert type(e) is not Overdrawn",
        "class BankError(Exception): pass\n"
        "class Overdrawn(BankError, ValueError):\n"
        " def __init__(s, missing):\n  super().__init__('too much')\n  s.missing = missing\n"
        "class Account:\n def __init__(s, n): s.n = n\n"
        " def withdraw(s, n):\n  if n < 0: raise BankError\n"
        "  if n > s.n: raise Overdrawn(n - s.n)",
    ),
    "instances": (
        "assert isinstance(make(), Shape) and isinstance(make(), Circle)\n"
        "assert not isinstance(make(), Square) and not isinstance(3, Shape)",
        "class Shape: pass\nclass Circle(Shape): pass\nclass Square(Shape): pass\n"
        "def make(): return Circle()",
    ),
    "derived_containers": (
        "s = Stack()\ns.push(1)\ns.push(2)\nassert s == [1, 2] and s.peek() == 2 and len(s) == 2\n"
        "assert isinstance(s, list) and s.pop() == 2 and s[0] == 1 and s == [1] and [1] == s\n"
        "c = Cache(1)\nc.put('a', 1)\nc.put('b', 2)\nassert c == {'b': 2} and 'a' not in c",
        "from collections import OrderedDict\n"
        "class Stack(list):\n def push(s, x): s.append(x)\n def peek(s): return s[-1]\n"
        "class Cache(OrderedDict):\n def __init__(s, n):\n  super().__init__()\n  s.n = n\n"
        " def put(s, k, v):\n  s[k] = v\n  if len(s) > s.n: s.popitem(last=False)",
    ),
    "derived_values": (
        "p = middle((0, 0), (2, 4))\nassert p == (1, 2) and p.x == 1 and p.y == 2 and hash(p)\n"
        "assert [p] == [(1, 2)] and {p} == {(1, 2)} and p._replace(x=5) == (5, 2)\n"
        "assert Color.RED == 1 and Color.RED.name == 'RED' and paint(Color.RED) is True\n"
        "assert isinstance(p, tuple) and isinstance(p, Point)",
        "from collections import namedtuple\nfrom enum import IntEnum\n"
        "Point = namedtuple('Point', 'x y')\nclass Color(IntEnum): RED = 1\n"
        "def paint(c): return c is Color.RED\n"
        "def middle(a, b): return Point((a[0] + b[0]) // 2, (a[1] + b[1]) // 2)",
    ),
    "enum": (
        "assert Light.GREEN.then() is Light.RED and Light.RED != Light.GREEN\n"
        "assert Light['RED'] == Light.RED and Light.RED.value == 'r' and len(Light) == 2\n"
        "assert [l.value for l in Light] == ['r', 'g']",
        "from enum import Enum\nclass Light(Enum):\n RED = 'r'\n GREEN = 'g'\n"
        " def then(s): return Light.RED",
    ),
}

#: What the tests hand to the program, and what comes back out of it.
_TREE = (
    "class Tree:\n def __init__(self, v, left=None, right=None):\n"
    "  self.v, self.left, self.right = v, left, right\n"
    " def __eq__(self, o): return isinstance(o, Tree) and "
    "(self.v, self.left, self.right) == (o.v, o.left, o.right)\n"
)
HANDED = {
    "tree": (
        _TREE + "t = mirrored(Tree(1, Tree(2), Tree(3)))\n"
        "assert t.left.v == 3 and t == Tree(1, Tree(3), Tree(2)) and depth(t) == 2",
        "def mirrored(t):\n if t is None: return None\n"
        " t.left, t.right = mirrored(t.right), mirrored(t.left)\n return t\n"
        "def depth(t): return 1 + max(depth(t.left), depth(t.right)) if t else 0",
    ),
    "children": (
        "class Node:\n def __init__(self, v): self.v, self.children = v, []\n"
        "n = Node(1)\nfor v in (2, 3): grow(n, Node(v))\n"
        "assert [c.v for c in n.children] == [2, 3] and total(n) == 6\n"
        "drop(n)\nassert [c.v for c in n.children] == [3]\n"
        "m = twin(n)\nassert m is not n and m.children[0].v == 3",
        "import copy\ndef grow(n, c): n.children.append(c)\ndef drop(n): del n.children[0]\n"
        "def total(n): return n.v + sum(map(total, n.children))\n"
        "def twin(n): return copy.deepcopy(n)",
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\n"
        "assert area(P(2, 3)) == 6 and summed([P(1, 2)]) == 3",
        "def area(p): return p.x * p.y\ndef summed(ps): return sum(x + y for x, y in ps)",
    ),
    "iterators": (
        "import itertools\nassert first(itertools.count(4)) == 4\n"
        "assert total(x for x in [1, 2]) == 3\n"
        "g = iter('abc')\nassert first(g) == 'a' and next(g) == 'b'\n"
        "assert total(map(int, '12')) == 3 and total(range(4)) == 6 and total({1: 2}.keys()) == 1",
        "def first(it): return next(iter(it))\ndef total(it): return sum(it)",
    ),
    "exceptions_of_callbacks": (
        "class Own(Exception):\n def __init__(self, n):\n  super().__init__(n)\n  self.n = n\n"
        "def fails(n):\n if n == 0: raise ValueError('zero')\n raise Own(n)\n"
        "assert guarded(fails, 0) == 'zero'\n"
        "try:\n guarded(fails, 7)\n assert False\nexcept Own as e:\n assert e.n == 7",
        "def guarded(f, n):\n try: return f(n)\n except ValueError as e: return str(e)",
    ),
    "in_place_by_callbacks": (
        "def grow(xs): xs.append(1)\nassert grown(grow) == [0, 1]",
        "def grown(f):\n xs = [0]\n f(xs)\n return xs",
    ),
    "decorator": (
        "calls = []\n@cached\ndef square(n):\n calls.append(n)\n return n * n\n"
        "assert square(3) == 9 and square(3) == 9 and calls == [3]",
        "def cached(f):\n known = {}\n def g(n):\n  if n not in known: known[n] = f(n)\n"
        "  return known[n]\n return g",
    ),
    "sorted_by_key": (
        "class Item:\n def __init__(self, n): self.n = n\n"
        " def __lt__(self, o): return self.n < o.n\n"
        "a, b = Item(1), Item(2)\nxs = [b, a]\nassert ordered(xs)[0] is a and smallest(xs) is a\n"
        "assert by(xs, lambda i: -i.n) == [b, a]",
        "def ordered(xs): return sorted(xs, key=lambda i: i.n)\ndef smallest(xs): return min(xs)\n"
        "def by(xs, f): return sorted(xs, key=f)",
    ),
}


@pytest.mark.parametrize("cases", [VALUES, OBJECTS, HANDED], ids=["values", "objects", "handed"])
def test_what_crosses_arrives(cases) -> None:
    assert reasons(cases) == dict.fromkeys(cases, ("ok", ""))
