"""Plain data as bytes, between two processes that do not trust each other.

None, bool, int of any size, float, complex, str, bytes, list, tuple, dict, set, frozenset and the
few value types in `known` arrive as exactly these types, whatever class they had: an object with
an `__eq__` of its own cannot be sent. Everything else becomes a reference, a number that only its
owner can resolve. An instance of a class of the program's (or the tests') that derives from a plain
type becomes a reference too, with its value if that cannot change.
"""

from __future__ import annotations

import builtins

from . import known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # slow to import, and never needed when this runs

MAX_FRAME = 32 * 1024 * 1024
MAX_DEPTH = 300
#: What each role says first, before it touches anything of the answer's: "the sandbox has begun".
BEGUN = b"\x06"
#: The letters of the two ends.
GUEST, EXAMINER = b"g", b"e"
#: The modules in which program and tests define their classes.
OWN_MODULES = ("answer", "tests")

_SINGLE = {b"N": None, b"T": True, b"F": False}
_MANY = {list: b"l", tuple: b"t", set: b"s", frozenset: b"z"}
_MAKE = {b"l": list, b"t": tuple, b"s": set, b"z": frozenset}
_VALUES = (int, float, complex, str, bytes, tuple, frozenset)
_BASES = (*_VALUES, list, dict, set)


class WireError(ValueError):
    """These bytes, or this value, cannot be carried."""


class Ref:
    """A thing that stays where it is. owner: GUEST or EXAMINER. kind: its class's name.

    base: the name of the plain type that its class derives from, or empty. plain: its value, if it
    came along.
    """

    __slots__ = ("base", "kind", "number", "owner", "plain")

    def __init__(self, owner: bytes, number: int, kind: str, base: str = "", plain=None) -> None:
        self.owner, self.number, self.kind = owner, number, kind
        self.base, self.plain = base, plain


class Shared:
    """A list, dict or set to be carried by reference, though it is plain data."""

    __slots__ = ("value",)

    def __init__(self, value) -> None:
        self.value = value


def encode(value, refer) -> bytes:
    """Bytes of `value`; `refer(object) -> Ref` names what is not plain data."""
    out: list[bytes] = []
    _put(value, out, refer, 0)
    return b"".join(out)


def decode(data: bytes, resolve) -> Any:
    """The value in `data`; `resolve(Ref) -> object` finds what is not plain data."""
    try:
        value, end = _take(data, 0, resolve, 0)
    except (IndexError, TypeError, UnicodeError, OverflowError, KeyError) as err:
        raise WireError(f"{type(err).__name__}: {err}") from None
    if end != len(data):
        raise WireError("bytes left over")
    return value


def _size(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _put(value, out: list[bytes], refer, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise WireError(f"nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if value is None or kind is bool:
        out.append(b"N" if value is None else b"T" if value else b"F")
    elif kind is int:
        _text(b"i", value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True), out)
    elif kind is float:
        _text(b"f", value.hex().encode(), out)
    elif kind is complex:
        _text(b"c", f"{value.real.hex()} {value.imag.hex()}".encode(), out)
    elif kind is str:
        _text(b"u", value.encode("utf-8", "surrogatepass"), out)
    elif kind is bytes:
        _text(b"b", value, out)
    elif kind in _MANY:
        out.append(_MANY[kind] + _size(len(value)))
        for item in value:
            _put(item, out, refer, depth + 1)
    elif kind is dict:
        out.append(b"d" + _size(len(value)))
        for key, item in value.items():
            _put(key, out, refer, depth + 1)
            _put(item, out, refer, depth + 1)
    else:
        _put_other(value, out, refer, depth)


def _put_other(value, out: list[bytes], refer, depth: int) -> None:
    kind = type(value)
    if isinstance(value, type) and getattr(builtins, value.__name__, None) is value:
        _text(b"y", value.__name__.encode(), out)
        return
    name = known.name_of(kind)
    if name is not None:
        _text(b"k", name.encode(), out)
        _put(known.parts_of(name, value), out, refer, depth + 1)
        return
    if kind is Shared:
        _put_reference(b"r", refer(value.value), type(value.value).__name__, out, depth)
        return
    base = None if hasattr(kind, "their_reference") else _base_of(kind)
    if base is not None and (refer is None or kind.__module__ not in OWN_MODULES):
        _put(known.plain(base, value), out, refer, depth)
        return
    tag, name = (b"v" if base in _VALUES else b"r"), (base.__name__ if base else "")
    _put_reference(tag, refer(value), name, out, depth)
    if base in _VALUES:
        _put(known.plain(base, value), out, refer, depth + 1)


def _put_reference(tag: bytes, ref: Ref, base: str, out: list[bytes], depth: int) -> None:
    out.append(tag + ref.owner + _size(ref.number))
    _put((ref.kind, base), out, None, depth + 1)


def _base_of(kind: type) -> type | None:
    """The plain type that the class derives from."""
    return next((base for base in _BASES if issubclass(kind, base)), None)


def _text(tag: bytes, raw: bytes, out: list[bytes]) -> None:
    out.append(tag + _size(len(raw)))
    out.append(raw)


def _take(data: bytes, at: int, resolve, depth: int):
    if depth > MAX_DEPTH + 2:
        raise WireError(f"nested more than {MAX_DEPTH} deep")
    tag = data[at : at + 1]
    at += 1
    if tag in _SINGLE:
        return _SINGLE[tag], at
    if tag in (b"r", b"v"):
        return _take_reference(tag, data, at, resolve, depth)
    size = int.from_bytes(data[at : at + 4], "little")
    at += 4
    if size > len(data) - at:
        raise WireError("a size beyond the end")
    if tag in _MAKE:
        items = []
        for _ in range(size):
            item, at = _take(data, at, resolve, depth + 1)
            items.append(item)
        return (items if tag == b"l" else _MAKE[tag](items)), at
    if tag == b"d":
        return _take_dict(data, at, size, resolve, depth)
    return _take_text(tag, data, at, at + size, resolve, depth)


def _take_reference(tag: bytes, data: bytes, at: int, resolve, depth: int):
    number = int.from_bytes(data[at + 1 : at + 5], "little")
    named, end = _take(data, at + 5, resolve, depth + 1)
    if type(named) is not tuple or len(named) != 2:
        raise WireError("a reference without its kind")
    plain = None
    if tag == b"v":
        plain, end = _take(data, end, resolve, depth + 1)
        if type(plain) not in _VALUES:
            raise WireError("a value of no plain type")
    return resolve(Ref(data[at : at + 1], number, str(named[0]), str(named[1]), plain)), end


def _take_dict(data: bytes, at: int, size: int, resolve, depth: int):
    found = {}
    for _ in range(size):
        key, at = _take(data, at, resolve, depth + 1)
        found[key], at = _take(data, at, resolve, depth + 1)
    return found, at


def _take_text(tag: bytes, data: bytes, at: int, end: int, resolve, depth: int):
    raw = data[at:end]
    if tag == b"i":
        return int.from_bytes(raw, "little", signed=True), end
    if tag == b"f":
        return float.fromhex(raw.decode()), end
    if tag == b"c":
        real, imag = raw.decode().split()
        return complex(float.fromhex(real), float.fromhex(imag)), end
    if tag == b"u":
        return raw.decode("utf-8", "surrogatepass"), end
    if tag == b"b":
        return raw, end
    if tag == b"y":
        found = getattr(builtins, raw.decode(), None)
        if not isinstance(found, type):
            raise WireError("not a built-in type")
        return found, end
    if tag == b"k":
        parts, at = _take(data, end, resolve, depth + 1)
        return known.make(raw.decode(), parts), at
    raise WireError(f"unknown tag {tag!r}")
