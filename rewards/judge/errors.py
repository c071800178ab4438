"""Errors of the judge that no other answer would avoid. They pickle."""

from __future__ import annotations

from rewards.errors import RewardsError


class JudgeError(RewardsError, RuntimeError):
    """The judge cannot be used as it is set up. The message says what to set."""
