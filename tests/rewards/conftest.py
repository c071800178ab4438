"""Real Lean for the tests marked `lean`: asked for, it has to be there."""

from __future__ import annotations

import os

import pytest

from rewards.lean import install, wasm


@pytest.fixture(scope="session")
def lean_backend():
    """The embedded Lean. Not installed is a failure, not a skip, unless VERL_PI_NO_LEAN=1."""
    if os.environ.get("VERL_PI_NO_LEAN") == "1":
        pytest.skip("VERL_PI_NO_LEAN=1")
    lack = wasm.missing()
    if lack:
        pytest.fail(f"Lean is {lack}  (or set VERL_PI_NO_LEAN=1) [{install.INSTALL_COMMAND}]")
    backend = wasm.WasmBackend()
    yield backend
    backend.close()
