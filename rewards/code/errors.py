"""Errors of the code verifier that are not about one answer."""

from __future__ import annotations

from rewards.errors import RewardsError


class SandboxUnavailableError(RewardsError, RuntimeError):
    """The sandbox that was asked for cannot be used here; the message says what to install."""
