"""GEM (arXiv 2510.01051): environments with a reset and steps; a row is one episode's start.

The verifier plays the row's environment again from its seed and gives the environment's own reward.
The prompt is the first observation, which the environment (`gem-llm`) gives; the ground truth has
it too, so that an environment which begins otherwise there is noticed. An environment that is not
installed, or needs a hub, is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Family, Option, Request, Row, json_object, make_row
from data_prep.options import names, positive
from rewards.gem import INSTALL_COMMAND, GemMissingError, load_gem


def build(request: Request) -> Iterator[Row]:
    """`count` rows of each environment, with seeds from `first_seed` on."""
    for env_id in request["envs"]:
        env = _environment(env_id, request["kwargs"])
        for number in range(request["count"]):
            seed = request["first_seed"] + number
            yield _row(env_id, seed, request["kwargs"], _first_observation(env, env_id, seed))


def _row(env_id: str, seed: int, kwargs: dict[str, Any], observation: str) -> Row:
    return make_row(
        data_source="gem",
        prompt=observation,
        ability=env_id.partition(":")[0],
        verifier="gem",
        ground_truth={
            "env_id": env_id, "seed": seed, "kwargs": kwargs, "observation": observation,
        },
        split="train",
        index=seed,
        family=env_id,
        privileged={},
    )  # fmt: skip


def _environment(env_id: str, kwargs: dict[str, Any]) -> Any:
    try:
        gem = load_gem()
    except GemMissingError as error:
        problem = str(error).removesuffix(f": {INSTALL_COMMAND}")
        raise DataError("gem", f"environment {env_id}", problem, INSTALL_COMMAND) from error
    try:
        return gem.make(env_id, **kwargs)
    except Exception as error:  # an environment's own, from whatever it is built on
        problem = f"cannot be made: {type(error).__name__}: {str(error)[:200]}"
        mend = "check envs= and kwargs=, and what it needs (a package, data of a hub)"
        raise DataError("gem", f"environment {env_id}", problem, mend) from error


def _first_observation(env: Any, env_id: str, seed: int) -> str:
    try:
        observation, _ = env.reset(seed=seed)
    except Exception as error:
        problem = f"no start from seed {seed}: {type(error).__name__}: {str(error)[:200]}"
        raise DataError("gem", f"environment {env_id}", problem, "choose another seed") from error
    return str(observation)


GEM = Family(
    name="gem",
    description="starts of episodes of GEM's environments",
    verifier="gem",
    build=build,
    reads="nothing",
    licence="Apache-2.0",
    size="any",
    options=(
        Option("envs", names, ["rg:arc_1d"], "environments, such as [game:Sudoku-v0-easy]"),
        Option("count", positive, 100, "rows of each environment"),
        Option("first_seed", int, 0, "seeds are this and the next ones"),
        Option("kwargs", json_object, {}, "for every environment, as a JSON object"),
    ),
)
