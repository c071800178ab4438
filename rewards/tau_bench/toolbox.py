"""What a tool is: a function over the episode's data, with the JSON schema that a model sees."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewards.tau_bench.arithmetic import evaluate
from rewards.tau_bench.database import EpisodeData

Schema = dict[str, Any]


class ToolError(Exception):
    """A tool refuses. The model reads "Error: " and the message; nothing is written."""


@dataclass(frozen=True)
class Tool:
    """One tool. `ends` says that an episode is over when it was called."""

    name: str
    function: Callable[..., str]
    schema: Schema
    ends: bool = False

    def call(self, data: EpisodeData, arguments: Mapping[str, Any]) -> str:
        """What the model reads. Whatever goes wrong is an error text and leaves nothing written."""
        try:
            inspect.signature(self.function).bind(data, **arguments)
            text = self.function(data, **copy.deepcopy(dict(arguments)))
        except MemoryError:
            raise
        except Exception as err:  # arguments of any type reach the tool: the model is to read it
            data.rollback()
            return f"Error: {err}"
        data.commit()
        return text


class Toolbox:
    """The tools of one domain by name, gathered by the decorator `tool`."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def tool(
        self, description: str, *, ends: bool = False, **parameters: Schema
    ) -> Callable[[Callable[..., str]], Callable[..., str]]:
        """Register a function under its name; `parameters` are the schemas of its arguments."""

        def decorate(function: Callable[..., str]) -> Callable[..., str]:
            expected = list(inspect.signature(function).parameters)[1:]
            assert expected == list(parameters), function.__name__
            schema = _schema(function.__name__, description, parameters)
            self._tools[function.__name__] = Tool(function.__name__, function, schema, ends)
            return function

        return decorate

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def names(self) -> list[str]:
        return sorted(self._tools)

    def schemas(self) -> list[Schema]:
        """The tools in OpenAI's format, as `apply_chat_template(tools=...)` takes them."""
        return [copy.deepcopy(self._tools[name].schema) for name in self.names()]


def _schema(name: str, description: str, parameters: Mapping[str, Schema]) -> Schema:
    arguments = {
        "type": "object",
        "properties": dict(parameters),
        "required": list(parameters),
    }
    function = {"name": name, "description": description, "parameters": arguments}
    return {"type": "function", "function": function}


def text(description: str, *values: str) -> Schema:
    """A parameter that is a text, perhaps one of a few values."""
    schema: Schema = {"type": "string", "description": description}
    return {**schema, "enum": list(values)} if values else schema


def integer(description: str) -> Schema:
    return {"type": "integer", "description": description}


def number(description: str) -> Schema:
    return {"type": "number", "description": description}


def texts(description: str) -> Schema:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def records(description: str, **fields: Schema) -> Schema:
    """A parameter that is a list of objects with these fields."""
    item = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "array", "items": item, "description": description}


def add_common_tools(box: Toolbox) -> None:
    """The three tools that both domains have."""

    @box.tool(
        "Work out an arithmetic expression and round the result to two decimals.",
        expression=text("Numbers, + - * /, parentheses and spaces, such as '2 * (3 + 4)'."),
    )
    def calculate(data: EpisodeData, expression: str) -> str:
        return evaluate(expression)

    @box.tool(
        "Note a thought. Nothing is looked up and nothing changes.",
        thought=text("The thought."),
    )
    def think(data: EpisodeData, thought: str) -> str:
        return ""

    @box.tool(
        "Hand the user over to a human agent, for what these tools and the policy cannot do or "
        "where the user insists on it. This ends the conversation.",
        ends=True,
        summary=text("What the user wants and what was done so far."),
    )
    def transfer_to_human_agents(data: EpisodeData, summary: str) -> str:
        return "Transfer successful"
