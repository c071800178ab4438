"""verl's custom reward function, answered by the registry.

For a run with verl's own reward managers::

    reward.custom_reward_function.path=pkg://rewards.verl_score
    reward.custom_reward_function.name=acompute_score

`acompute_score` is awaited by the reward loop: the answers of a batch are judged at once.
`compute_score` is the same for callers that do not await, such as verl.trainer.main_eval; in the
reward loop it occupies a thread for each answer in work.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from rewards.dispatch import averify_batch, verify_batch
from rewards.registry import describe_verifier
from rewards.sources import row_verifier
from rewards.verdict import Verdict


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Judge one answer; {"score", "acc", "reason", "feedback", "verify_seconds"}.

    The verifier is that of the data source, or the one named in
    `reward.custom_reward_function.reward_kwargs.verifier`. What `extra_info` and the other
    reward_kwargs hold under the names of its OPTIONS goes to it.
    Raises UnknownDataSourceError, UnknownVerifierError.
    """
    item = _item(data_source, solution_str, ground_truth, extra_info, kwargs)
    return _score(verify_batch([item])[0])


async def acompute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """`compute_score` without blocking the event loop."""
    item = _item(data_source, solution_str, ground_truth, extra_info, kwargs)
    return _score((await averify_batch([item]))[0])


def options_of(verifier: str, *given: Mapping[str, Any]) -> dict[str, Any]:
    """What goes to the verifier: its OPTIONS, or everything if it names none; no empty values.

    Of several mappings the later ones go before the earlier ones.
    """
    known = describe_verifier(verifier).options
    merged = {key: value for mapping in given for key, value in mapping.items()}
    return {
        key: value
        for key, value in merged.items()
        if value is not None and (known is None or key in known)
    }


def near_options(verifier: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ``given`` that are no option of the verifier, each with the option it looks like.

    A row's `extra_info` may hold keys of other purposes, so `options_of` passes over them: this is
    for telling somebody who misspelt one.
    """
    known = [*(describe_verifier(verifier).options or ())]
    near = {key: get_close_matches(key, known, 1, 0.8) for key in given if key not in known}
    return {key: found[0] for key, found in near.items() if found}


def _item(
    data_source: str,
    response: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None,
    kwargs: Mapping[str, Any],
) -> tuple[str, str, str, dict[str, Any]]:
    settings = dict(kwargs)
    verifier = row_verifier(settings.pop("verifier", None), data_source)
    return verifier, response, ground_truth, options_of(verifier, extra_info or {}, settings)


def _score(verdict: Verdict) -> dict[str, Any]:
    return {
        "score": verdict.score,
        "acc": float(verdict.passed),
        "reason": verdict.reason,
        "feedback": verdict.feedback,
        "verify_seconds": verdict.seconds,
    }
