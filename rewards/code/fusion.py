"""SandboxFusion: a service that runs scripts on a cluster. VERL_PI_SANDBOX_FUSION_URL names it.

It is sent one script, which holds what `inside/` has; the tests travel on its standard input.
"""

from __future__ import annotations

import functools
import math
import os
import secrets
import time
from typing import Any

import httpx

from rewards import stopping
from rewards.code import cases, examination
from rewards.code.command import INSIDE
from rewards.code.errors import SandboxUnavailableError
from rewards.code.examination import Result
from rewards.code.inside import wire
from rewards.code.sandbox import Limits
from rewards.code.truth import Asserts, Stdio

URL_VARIABLE = "VERL_PI_SANDBOX_FUSION_URL"
_TRIES = 3
_SECONDS_BETWEEN_TRIES = 1.0
#: The service queues a script behind others; its limits on the script are its own to keep.
_QUEUE_SECONDS = 600.0
_MODULES = (
    *("known", "wire", "link", "confine", "faults", "choose", "proxy", "objects"),
    *("guest", "examiner", "program", "remote"),
)
_BOOT = """
import sys
package = type(sys)("inside")
package.__path__ = []
sys.modules["inside"] = package
for name, text in SOURCES:
    module = type(sys)("inside." + name)
    module.__package__ = "inside"
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(compile(text, name + ".py", "exec"), module.__dict__)
sys.modules["inside." + ROLE].main(ARGUMENTS)
"""


class _FusionError(Exception):
    """The service cannot be used, or says that it failed."""


def examine(
    texts: list[str], truth: Asserts | Stdio, limits: Limits, total_seconds: float
) -> Result:
    """Judge one answer there. total_seconds: on the clock, of all cases of a program together.

    Raises SandboxUnavailableError if no service is named.
    """
    url = os.environ.get(URL_VARIABLE, "").rstrip("/")
    if not url:
        raise SandboxUnavailableError(
            f"a SandboxFusion service: set {URL_VARIABLE} to its address, such as "
            "http://sandbox:8080"
        )
    url = url if url.endswith("/run_code") else f"{url}/run_code"
    try:
        if isinstance(truth, Asserts):
            return _asserts(url, texts, truth, limits)

        def run(text: str, size: int, _: float):
            return _case(url, texts, text, limits, size)

        return cases.judge(truth, run, total_seconds)
    except _FusionError as err:
        return Result("verifier_error", f"SandboxFusion at {url}: {err}")


def _asserts(url: str, texts: list[str], truth: Asserts, limits: Limits) -> Result:
    nonce = secrets.token_hex(32)
    task = examination.task_of(texts, truth).hex()
    said = _run(url, script("remote", _limits(limits)), f"{nonce}\n{task}", limits)
    if said is None:
        return Result("timeout", examination.exceeded("timeout", limits))
    for line in str(said.get("stdout") or "").splitlines():
        if line.startswith(nonce + " "):
            reason, feedback = wire.decode(bytes.fromhex(line.split()[1]), None)
            return Result(reason, feedback)
    return examination.unfinished(said.get("return_code"))


def _case(
    url: str, texts: list[str], text: str, limits: Limits, expected: int
) -> tuple[Result, bytes, float]:
    """(result, output, seconds that it ran; waiting for the service does not count)."""
    given = examination.program_of(texts).decode() + text.encode("utf-8", "replace").decode()
    said = _run(url, script("program", f"0,{_limits(limits)},"), given, limits)
    if said is None:
        return Result("timeout", examination.exceeded("timeout", limits)), b"", 0.0
    seconds = float(said.get("execution_time") or 0.0)
    output = str(said.get("stdout") or "").encode("utf-8", "replace")
    if output[:1] != wire.BEGUN:
        raise _FusionError(f"the script did not start (exit status {said.get('return_code')})")
    output = output[1:]
    most = examination.most_output(expected)
    if len(output) > most:
        return Result("runtime_error", f"more than {most} bytes of output"), output, seconds
    errors = str(said.get("stderr") or "")
    result = examination.ended(int(said.get("return_code") or 0), errors, limits)
    return result, output, seconds


def _limits(limits: Limits) -> str:
    return f"{limits.memory_mb},{int(limits.seconds) + 1},32,32"


@functools.lru_cache(maxsize=64)
def script(role: str, limits: str) -> str:
    """The whole of `inside/` as one text that runs `role`."""
    sources = [(name, (INSIDE / f"{name}.py").read_text("utf-8")) for name in _MODULES]
    head = f"SOURCES = {sources!r}\nROLE = {role!r}\nARGUMENTS = [{limits!r}]\n"
    return head + _BOOT


def _run(url: str, code: str, stdin: str, limits: Limits) -> dict[str, Any] | None:
    """The result of the run, or None if it took too long."""
    stopping.check()
    seconds = math.ceil(limits.wall_seconds)
    answer = _post(
        url,
        {
            "code": code,
            "language": "python",
            "stdin": stdin,
            "compile_timeout": seconds,
            "run_timeout": seconds,
            "memory_limit_MB": limits.memory_mb,
            "files": {},
            "fetch_files": [],
        },
    )
    result = answer.get("run_result")
    if answer.get("status") == "SandboxError" or not isinstance(result, dict):
        raise _FusionError(f"{answer.get('status')}: {str(answer.get('message'))[:300]}")
    if result.get("status") == "TimeLimitExceeded":
        return None
    if result.get("status") not in ("Finished", "Error"):
        raise _FusionError(f"unknown status of a run: {result.get('status')!r}")
    return result


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    for tried in range(1, _TRIES + 1):
        try:
            response = httpx.post(url, json=body, timeout=_QUEUE_SECONDS)
            response.raise_for_status()
            answer = response.json()
        except (httpx.HTTPError, ValueError) as err:
            ours = isinstance(err, httpx.HTTPStatusError) and err.response.status_code < 500
            if tried == _TRIES or ours:
                raise _FusionError(f"{type(err).__name__}: {err}") from None
            time.sleep(_SECONDS_BETWEEN_TRIES * 2 ** (tried - 1))
            continue
        if not isinstance(answer, dict):
            raise _FusionError("the answer is no JSON object")
        return answer
    raise AssertionError("unreachable")
