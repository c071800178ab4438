"""Progress of a batch while it is sampled: verl's loop is silent until the last answer is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 5.0


@contextmanager
def watched(buffer: Any, tell: Callable[[int], None], seconds: float = SECONDS) -> Iterator[None]:
    """Call ``tell`` every few seconds with the number of prompts of verl's replay buffer that are
    through, as long as the block runs."""
    ended = threading.Event()

    def watch() -> None:
        through = 0
        while not ended.wait(seconds):
            # The buffer forgets its keys for a moment while it asks for them anew.
            now = len(buffer.finished_keys["train"]) + len(buffer.failure_keys["train"])
            through = max(through, now)
            tell(through)

    thread = threading.Thread(target=watch, name="verl-pi-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
