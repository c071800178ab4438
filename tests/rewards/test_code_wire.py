"""The bytes between the two sandboxes."""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards.code.inside import wire

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text()
    | st.binary() | st.just(int) | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
    | st.sets(st.integers()) | st.frozensets(st.text()),
    max_leaves=12,
)  # fmt: skip


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(_PLAIN)
def test_plain_data_arrives_as_it_was(value) -> None:
    found = wire.decode(wire.encode(value, None), None)
    assert _shape(found) == _shape(value)


def _shape(value):
    """The value with its types, so that 1, True and 1.0 differ, and NaN is like NaN."""
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return type(value), [_shape(item) for item in value]
    if isinstance(value, dict):
        return dict, [(_shape(key), _shape(item)) for key, item in value.items()]
    return type(value), repr(value)


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error_of_the_wire(data: bytes) -> None:
    with contextlib.suppress(wire.WireError, ValueError):
        wire.decode(data, lambda ref: ref)
