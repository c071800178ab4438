"""The connection to the judge: the library `openai`, bounded in number and in cost."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from rewards.judge.errors import JudgeError
from rewards.judge.settings import CALLS_VARIABLE, KEY_VARIABLE, TOKENS_VARIABLE, Settings

if TYPE_CHECKING:
    from openai import OpenAI

log = logging.getLogger(__name__)


class AskError(Exception):
    """This call got no reply: the server's fault, or the budget's. The row is to be dropped."""


class Budget:
    """What may still be spent, counted for this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self.calls = 0
        self.tokens = 0
        self._said = False

    def take_call(self) -> None:
        """Count one call. Raises AskError, naming the setting to raise, when none is left."""
        with self._lock:
            over = self._over()
            if not over:
                self.calls += 1
                return
            if not self._said:
                self._said = True
                log.warning("%s; answers that are not in the cache are now dropped", over)
        raise AskError(over)

    def add_tokens(self, tokens: int) -> None:
        with self._lock:
            self.tokens += max(0, tokens)

    def _over(self) -> str:
        limits = self._settings
        if self.calls >= limits.max_calls:
            spent, setting = f"{limits.max_calls} calls", CALLS_VARIABLE
        elif self.tokens >= limits.max_tokens:
            spent, setting = f"{limits.max_tokens} tokens", TOKENS_VARIABLE
        else:
            return ""
        return f"the judge's budget of {spent} is used up: raise {setting}"


class Endpoint:
    """Asks the judge. Safe for threads; after a fork it connects anew."""

    def __init__(self, settings: Settings) -> None:
        self.budget = Budget(settings)
        self._settings = settings
        self._slots = threading.BoundedSemaphore(settings.workers)
        self._lock = threading.Lock()
        self._clients: dict[int, OpenAI] = {}
        self._json_mode = True

    def ask(self, model: str, messages: list[dict[str, str]], seconds: float) -> str | None:
        """The reply's text, at temperature 0; None where the server sent none.

        Raises AskError when the server would not answer or the budget is spent, and JudgeError
        when it refuses the key, the address or the model.
        """
        import openai

        with self._slots:
            self.budget.take_call()
            try:
                reply = self._send(model, messages, seconds)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as err:
                raise JudgeError(f"{self._settings.url}: {err}. Set {KEY_VARIABLE}.") from None
            except openai.NotFoundError as err:
                raise JudgeError(
                    f"{self._settings.url} has no chat completions for {model!r}: {err}"
                ) from None
            except (openai.OpenAIError, ValueError) as err:
                raise AskError(
                    f"the judge at {self._settings.url} gave no reply: {type(err).__name__}: {err}"
                ) from None
        if getattr(reply, "usage", None) is not None:
            self.budget.add_tokens(int(reply.usage.total_tokens or 0))
        choices = getattr(reply, "choices", None)
        return choices[0].message.content if choices else None

    def _send(self, model: str, messages: list[dict[str, str]], seconds: float) -> Any:
        """Servers without JSON mode refuse it with 400 or 422: then, and from then on, without."""
        import openai

        create: Any = self._client().chat.completions.create
        request = {"model": model, "messages": messages, "temperature": 0, "timeout": seconds}
        if self._json_mode:
            try:
                return create(**request, response_format={"type": "json_object"})
            except (openai.BadRequestError, openai.UnprocessableEntityError) as err:
                if "response_format" not in str(err):
                    raise
                self._json_mode = False
        return create(**request)

    def _client(self) -> OpenAI:
        import openai

        with self._lock:
            process = os.getpid()
            if process not in self._clients:
                self._clients = {
                    process: openai.OpenAI(
                        base_url=self._settings.url,
                        api_key=self._settings.key,
                        max_retries=self._settings.retries,
                    )
                }
            return self._clients[process]


def require_openai() -> None:
    """Raises JudgeError with the command where the library is not installed."""
    if importlib.util.find_spec("openai") is None:
        raise JudgeError("the judge needs the library openai: pip install 'verl-pi[judge]'")
