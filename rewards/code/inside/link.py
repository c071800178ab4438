"""One end of the conversation between examiner and guest: requests, answers, and references.

Both ends are alike. While one waits for an answer it serves the requests of the other, so a
function that the tests pass to the program can be called by it.

A message is (kind, …): requests ("ask", what, …), answers ("ok", value, …) or those of `faults`.
"""

from __future__ import annotations

import os

from . import wire


class ClosedError(Exception):
    """The other end is gone."""


class Link:
    """fd: a stream socket. owner: this end's letter. handle(what, arguments): serves a request.

    adopt(ref): makes the stand-in for an object of the other end; asked once for each.
    """

    def __init__(self, fd: int, owner: bytes, handle, adopt) -> None:
        self._fd = fd
        self._owner = owner
        self._handle = handle
        self._adopt = adopt
        self._kept: list = []
        self._numbers: dict[int, int] = {}  # by id: what is kept stays alive
        self._adopted: dict[int, object] = {}

    def ask(self, what: str, *arguments):
        """Send a request; returns the answer's message, ("ok", …) or ("error", …)."""
        self._send(("ask", what, *arguments))
        return self._until_answered()

    def has_sent(self, value) -> bool:
        """Whether the other end was given a reference to this very object."""
        return id(value) in self._numbers

    def serve(self) -> None:
        """Answer requests until the other end is gone."""
        try:
            self._until_answered()
        except ClosedError:
            return

    def _until_answered(self):
        while True:
            message = self._receive()
            if message[0] != "ask":
                return message
            try:
                answer = self._handle(message[1], message[2:])
                data = self._encode(answer)
            except (wire.WireError, RecursionError) as err:
                data = self._encode(("error", ["ValueError"], "", f"not sent: {err}", None))
            self._write(data)

    def _send(self, message) -> None:
        self._write(self._encode(message))

    def _encode(self, message) -> bytes:
        data = wire.encode(message, self._refer)
        if len(data) > wire.MAX_FRAME:
            raise wire.WireError(f"more than {wire.MAX_FRAME} bytes")
        return data

    def _write(self, data: bytes) -> None:
        rest = memoryview(len(data).to_bytes(4, "little") + data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as err:
            raise ClosedError(str(err)) from None

    def _receive(self):
        size = int.from_bytes(self._exactly(4), "little")
        if size > wire.MAX_FRAME:
            raise wire.WireError(f"more than {wire.MAX_FRAME} bytes")
        message = wire.decode(self._exactly(size), self._resolve)
        if type(message) is not tuple or len(message) < 2 or type(message[0]) is not str:
            raise wire.WireError("not a message")
        return message

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.read(self._fd, min(size, 1 << 20))
            except OSError as err:
                raise ClosedError(str(err)) from None
            if not part:
                raise ClosedError("end of stream")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _refer(self, value) -> wire.Ref:
        theirs = getattr(type(value), "their_reference", None)
        if theirs is not None:
            return theirs(value)
        number = self._numbers.setdefault(id(value), len(self._kept))
        if number == len(self._kept):
            self._kept.append(value)
        return wire.Ref(self._owner, number, type(value).__name__[:80])

    def _resolve(self, ref: wire.Ref):
        if ref.owner != self._owner:
            if ref.number not in self._adopted:
                self._adopted[ref.number] = self._adopt(ref)
            return self._adopted[ref.number]
        if ref.number >= len(self._kept):
            raise wire.WireError("an unknown reference")
        return self._kept[ref.number]
