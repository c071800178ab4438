"""What can go wrong around Lean itself. A proof that does not hold is a verdict, not an error."""

from __future__ import annotations


class LeanError(RuntimeError):
    """Base of the errors of the Lean verifier."""


class LeanInstallError(LeanError):
    """The embedded Lean, or the Node that runs it, could not be put in place."""


class LeanUnavailableError(LeanError):
    """No backend can check a proof here. The message has the commands that provide one."""


class LeanCrashError(LeanError):
    """The Lean process ended, hung or answered something unreadable while it was needed."""
