"""Seeds of single requests."""

from __future__ import annotations

import hashlib
from typing import Any


def request_seed(*parts: Any) -> int:
    """A 31-bit seed from what identifies a request: the same run samples the same tokens."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
