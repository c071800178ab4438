"""Stand-ins for what stays on the other side, and what this side does for the other's stand-ins."""

from __future__ import annotations

import operator

from . import known, wire

#: Carried out where an operand lives. The examiner decides which of them tests may use.
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
ARITHMETIC = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
    "lshift", "rshift",
)  # fmt: skip
IN_PLACE = tuple(f"i{name}" for name in ARITHMETIC)
CONVERSIONS = ("neg", "pos", "invert", "abs", "int", "float", "round", "index")
_FUNCTIONS = {"int": int, "float": float, "round": round, "abs": abs}
CONTAINERS = (list, dict, set)
#: Others that can change, of `known`.
_KNOWN = ("bytearray", "deque", "Counter", "OrderedDict", "array")
_CLASSES = {kind.__name__: kind for kind in CONTAINERS}
_OWNERS = {wire.GUEST: "program", wire.EXAMINER: "tests"}


class Proxy:
    """Something of the other side's. Whatever is done with it is done there."""

    __slots__ = ("_verl_pi_ask", "_verl_pi_ref")

    def __init__(self, ref: wire.Ref, ask) -> None:
        """ask(what, *arguments): the values of the other side's answer."""
        object.__setattr__(self, "_verl_pi_ref", ref)
        object.__setattr__(self, "_verl_pi_ask", ask)

    def their_reference(self) -> wire.Ref:
        return object.__getattribute__(self, "_verl_pi_ref")

    @property
    def __class__(self):
        """For `isinstance`: a class that derives from list, dict or set is one."""
        return _CLASSES.get(Proxy.their_reference(self).base, type(self))

    def __call__(self, *args, **kwargs):
        result, changed, same = do(self, "call", args, kwargs)
        mine = _changeable(args, kwargs)
        _write_back(mine, changed)
        return result if same is None else mine[same]

    def __getattr__(self, name):
        return do(self, "attr", name)[0]

    def __setattr__(self, name, value):
        do(self, "setattr", name, value)

    def __delattr__(self, name):
        do(self, "delattr", name)

    def __getitem__(self, key):
        return do(self, "item", key)[0]

    def __setitem__(self, key, value):
        do(self, "setitem", key, value)

    def __delitem__(self, key):
        do(self, "delitem", key)

    def __iter__(self):
        steps = do(self, "iter")[0]
        return self if steps is None else _steps(steps)

    def __reversed__(self):
        return _steps(do(self, "reversed")[0])

    def __next__(self):
        more, value = do(self, "next")
        if not more:
            raise StopIteration
        return value

    def __len__(self):
        return do(self, "len")[0]

    def __bool__(self):
        return do(self, "bool")[0] is True

    def __str__(self):
        return str(do(self, "str")[0])

    def __repr__(self):
        return label(self)

    def __hash__(self):
        return int(do(self, "hash")[0])

    def __enter__(self):
        return do(self, "attr", "__enter__")[0]()

    def __exit__(self, kind, value, trace):
        ends = kind is not None and not issubclass(kind, Exception)
        swallowed = do(self, "attr", "__exit__")[0](*((None,) * 3 if ends else (kind, value, None)))
        # A test that failed has failed, whatever is said here.
        return not ends and kind is not AssertionError and bool(swallowed)

    def __instancecheck__(self, instance):
        return hasattr(type(instance), "their_reference") and (
            do(self, "has_instance", instance)[0] is True
        )

    def __copy__(self):
        return do(self, "copy", False)[0]

    def __deepcopy__(self, memo):
        return do(self, "copy", True)[0]

    def __reduce_ex__(self, protocol):
        raise TypeError(f"{label(self)} stays there: it cannot be pickled")


def do(proxy: Proxy, what: str, *arguments):
    """Ask the other side to do something with the object."""
    return object.__getattribute__(proxy, "_verl_pi_ask")(what, proxy, *arguments)


def label(proxy: Proxy) -> str:
    """What it is, without asking."""
    ref = Proxy.their_reference(proxy)
    return f"<{ref.kind} object {ref.number} of the {_OWNERS[ref.owner]}>"


def operate(proxy: Proxy, name: str, *operands):
    """The result of an operator, carried out there."""
    return object.__getattribute__(proxy, "_verl_pi_ask")("operate", name, *operands)[0]


def _steps(iterator):
    while True:
        more, value = do(iterator, "next")
        if not more:
            return
        yield value


def _changeable(args, kwargs) -> dict:
    """The arguments that a function may change in place, by place or name."""
    given = {**dict(enumerate(args)), **kwargs}
    return {at: a for at, a in given.items() if type(a) in CONTAINERS or _name(a) in _KNOWN}


def _name(value) -> str | None:
    """The name by which `known` has its type."""
    return known.name_of(type(value))


def _write_back(mine: dict, changed) -> None:
    """What the other side changed in place changes here too."""
    for at, value in changed.items():
        here = mine[at]
        if type(here) is not type(value):
            raise wire.WireError("the protocol is broken")
        if hasattr(here, "update"):  # of dict and set
            here.clear()
            here.update(value)
        elif _name(here) == "deque":
            here.clear()
            here.extend(value)
        else:
            here[:] = value


class Desk:
    """What this side does with its own objects when the other side's stand-ins are used."""

    def serve(self, what: str, arguments):
        """The values of the answer. Raises what the object raises."""
        return getattr(self, f"do_{what}")(*arguments)

    def do_call(self, function, args, kwargs):
        mine = _changeable(args, kwargs)
        before = {at: repr(a) for at, a in mine.items()}
        result = function(*args, **kwargs)
        changed = {at: a for at, a in mine.items() if repr(a) != before[at]}
        same = next((at for at, a in mine.items() if a is result), None)
        return (None if same is not None else result), changed, same

    def do_attr(self, thing, name):
        return (_shared(getattr(thing, name)),)

    def do_setattr(self, thing, name, value):
        setattr(thing, name, value)
        return (None,)

    def do_delattr(self, thing, name):
        delattr(thing, name)
        return (None,)

    def do_item(self, thing, key):
        return (_shared(thing[key]) if type(thing) in CONTAINERS else thing[key],)

    def do_setitem(self, thing, key, value):
        thing[key] = value
        return (None,)

    def do_delitem(self, thing, key):
        del thing[key]
        return (None,)

    def do_iter(self, thing):
        steps = iter(thing)
        return (None if steps is thing else Steps(steps),)

    def do_copy(self, thing, deep):
        import copy  # seldom needed

        return (_shared(copy.deepcopy(thing) if deep else copy.copy(thing)),)

    def do_reversed(self, thing):
        return (Steps(reversed(thing)),)

    def do_next(self, thing):
        for value in thing.iterator if type(thing) is Steps else thing:
            return True, value
        return False, None

    def do_len(self, thing):
        return (len(thing),)

    def do_bool(self, thing):
        return (bool(thing),)

    def do_str(self, thing):
        return (str(thing),)

    def do_repr(self, thing):
        return (repr(thing),)

    def do_hash(self, thing):
        return (hash(thing),)

    def do_contains(self, thing, value):
        return (value in thing,)

    def do_has_instance(self, kind, thing):
        return (isinstance(thing, kind),)

    def do_plain(self, thing):
        """The content of an instance of a class that derives from a plain type."""
        for base in CONTAINERS:
            if isinstance(thing, base):
                return (known.plain(base, thing),)
        raise TypeError("not plain data")

    def do_operate(self, name, *operands):
        if name not in (*COMPARISONS, *ARITHMETIC, *IN_PLACE, *CONVERSIONS):
            raise TypeError(f"unknown operator {name!r}")
        return (function_of(name)(*operands),)


def function_of(name: str):
    """The function for an operator's name."""
    named = {"and": "and_", "or": "or_"}.get(name, name)
    return _FUNCTIONS.get(name) or getattr(operator, named)


def _shared(value):
    """A container that both sides are to see change."""
    return wire.Shared(value) if type(value) in CONTAINERS else value


class Steps:
    """An iterator that stays here; never plain data, whatever it iterates over."""

    def __init__(self, iterator) -> None:
        self.iterator = iterator


def valued(plain, proxy: Proxy):
    """`plain`, as an instance of a class of the other side's that derives from its type.

    Compared by the plain type's own methods; other attributes are the object's.
    """
    value = _kind_for(type(plain))(plain)
    value._verl_pi_proxy = proxy
    return value


def _kind_for(base: type, found={}) -> type:  # noqa: B006 - one class for each base
    if base not in found:
        found[base] = type(base.__name__, (base,), {
            "__getattr__": _attribute,
            "their_reference": lambda self: self._verl_pi_proxy.their_reference(),
        })  # fmt: skip
    return found[base]


def _attribute(value, name):
    if name.startswith("__") or name == "_verl_pi_proxy":
        raise AttributeError(name)
    return getattr(value._verl_pi_proxy, name)
