"""Messages between the pool and its processes: JSON with a length before it, on a Unix socket.

JSON and not pickle: text that a model wrote, and whatever a worker makes of it, is only ever read
as strings and numbers. Lone surrogates, NUL bytes and long strings pass unchanged.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct("!I")
_READ_BYTES = 1 << 18
MAX_BYTES = 1 << 28


class WireError(ValueError):
    """Something came that is no message, or is too long to be one."""


def encode(message: Any) -> bytes:
    """One message as bytes. Numpy scalars and arrays become numbers and lists.

    Raises TypeError or ValueError for what JSON cannot carry, WireError above MAX_BYTES.
    """
    body = json.dumps(message, default=_plain).encode("ascii")
    if len(body) > MAX_BYTES:
        raise WireError(f"{len(body)} bytes are more than a message's {MAX_BYTES}")
    return _LENGTH.pack(len(body)) + body


class Channel:
    """One end of a stream socket. Not for several threads at once."""

    def __init__(self, end: socket.socket, max_bytes: int = MAX_BYTES) -> None:
        self._socket = end
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        #: Descriptors that came with messages; taken out by who expects them.
        self.descriptors: list[int] = []

    def send(self, message: Any) -> None:
        self.send_bytes(encode(message))

    def send_bytes(self, data: bytes, seconds: float | None = None) -> None:
        """Raises OSError if the other end is gone, TimeoutError if it does not read."""
        self._socket.settimeout(seconds)
        self._socket.sendall(data)

    def send_with(self, message: Any, descriptor: int) -> None:
        """A short message and an open descriptor."""
        socket.send_fds(self._socket, [encode(message)], [descriptor])

    def receive(self, deadline: float | None = None) -> Any:
        """The next message; `deadline` is on the clock of time.monotonic.

        Raises EOFError if the other end is gone, TimeoutError, and WireError for rubbish.
        """
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size, deadline))
        if length > self._max_bytes:
            raise WireError(f"a message of {length} bytes is announced")
        try:
            return json.loads(self._take(length, deadline))
        except ValueError as err:
            raise WireError(f"a message is no JSON: {err}") from err

    def close(self) -> None:
        """Let go of this end; copies of it in other processes stay open."""
        self._socket.close()

    def hang_up(self) -> None:
        """Close the connection, whoever holds this end or waits at it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _take(self, size: int, deadline: float | None) -> bytes:
        while len(self._buffer) < size:
            self._socket.settimeout(_left(deadline))
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, _READ_BYTES, 1)
            except ConnectionError:
                data, descriptors = b"", []
            self.descriptors += descriptors
            if not data:
                raise EOFError("the other end is gone")
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain data")
