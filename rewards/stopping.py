"""Ending work that nobody waits for any more.

Whoever starts judging in a thread names an event; what runs in that thread, and in threads it
starts, looks at it and ends with StoppedError once it is set.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_here = threading.local()


class StoppedError(Exception):
    """The work was called off; there is no verdict."""


def current() -> threading.Event | None:
    """The event that ends what this thread does, if one was named."""
    return getattr(_here, "event", None)


@contextlib.contextmanager
def stoppable(event: threading.Event) -> Iterator[threading.Event]:
    """Name the event for this thread, until the block ends."""
    before = current()
    _here.event = event
    try:
        yield event
    finally:
        _here.event = before


def check() -> None:
    """Raise StoppedError if this thread's work has been called off."""
    event = current()
    if event is not None and event.is_set():
        raise StoppedError
