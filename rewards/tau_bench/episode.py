"""One episode over the tools, without a user: `step` makes a call and returns what the model reads.

A rollout gives the model `schemas(domain)`, sends its calls here, its replies to a user (a person,
a model or a script), and judges the record with the verifier `tool_use`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewards.tau_bench import airline, retail
from rewards.tau_bench.database import EpisodeData, open_database
from rewards.tau_bench.toolbox import Toolbox
from rewards.tau_bench.transcript import Action

TOOLBOXES: dict[str, Toolbox] = {"retail": retail.TOOLS, "airline": airline.TOOLS}


@dataclass(frozen=True)
class Observation:
    """What a call returned. `done`: it ended the episode."""

    text: str
    done: bool = False


class Episode:
    """A fresh database and the tools of a domain ("retail" or "airline").

    `data` names the folder with the tables, by default VERL_PI_TAU_BENCH does. Raises
    DataMissingError. The tables are read once per process; an episode costs what it changes.
    """

    def __init__(self, domain: str = "retail", data: str | None = None) -> None:
        self.tools = TOOLBOXES[domain]
        self.data: EpisodeData = open_database(domain, data)

    def step(self, name: str, arguments: dict[str, Any]) -> Observation:
        """Make one call. Errors are texts, as the model of the benchmark reads them."""
        tool = self.tools.get(name)
        if tool is None:
            return Observation(f"Unknown action {name}")
        return Observation(tool.call(self.data, arguments), tool.ends)

    def play(self, action: Action) -> Observation:
        """The same for an action read from a record."""
        if action.fault:
            return Observation(f"Error: {action.fault}")
        return self.step(action.name, action.kwargs)


def schemas(domain: str = "retail") -> list[dict[str, Any]]:
    """The domain's tools in OpenAI's format."""
    return TOOLBOXES[domain].schemas()
