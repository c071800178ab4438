"""Which room may import which, read from the source: nothing is imported here.

recipes -> algorithms, rewards, data_prep; algorithms/runtime -> algorithms, rewards; algorithms
outside runtime -> nothing of ours; rewards -> nothing of ours; data_prep -> rewards at most, but
for the preview, which shows both views by the code that makes them in training.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("algorithms", "algorithms.runtime", "rewards", "data_prep", "recipes", "scripts")
OURS = {room.split(".")[0] for room in ROOMS} | {"tests"}
MAY_IMPORT = {
    "algorithms": {"algorithms"},
    "algorithms.runtime": {"algorithms", "algorithms.runtime", "rewards"},
    "rewards": {"rewards"},
    "data_prep": {"data_prep", "rewards"},
    "recipes": {"recipes", "algorithms", "algorithms.runtime", "rewards", "data_prep"},
    "scripts": set(ROOMS),
}
ALSO = {"data_prep/preview.py": {"algorithms.views"}}
# The mathematics can be read and tested with torch alone; views render chat templates.
LIBRARIES_OF_ALGORITHMS = {"torch"}
LIBRARIES_OF_VIEWS = {"torch", "transformers", "jinja2"}
# Outside the runtime: the process that starts verl, and the comparison with verl's own scorer.
VERL_OUTSIDE_RUNTIME = {
    "recipes/launch.py",
    "scripts/bench/_divergence_peers.py",
    "scripts/bench/_step_workers.py",
    "scripts/bench/verifiers.py",
}


def sources() -> list[Path]:
    tops = {room.split(".")[0] for room in ROOMS}
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(module: str) -> str:
    """The innermost room of a dotted module name."""
    inside = [room for room in ROOMS if module == room or module.startswith(room + ".")]
    return max(inside, key=len)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of everything that a file imports, at any depth of nesting, and the line.

    Of `from a import b` both `a` and `a.b` are given where `a.b` is a module or a package.
    """
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = module.rpartition(".")[0]  # of pkg/__init__.py too: "pkg.__init__" is in "pkg"
    for node in ast.walk(ast.parse(path.read_text(), name_of(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *filter(None, [node.module])]) if node.level else node.module
            assert base
            yield base, node.lineno
            for alias in node.names:
                inner = ROOT.joinpath(*base.split("."), alias.name)
                if inner.with_suffix(".py").exists() or inner.is_dir():
                    yield f"{base}.{alias.name}", node.lineno


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_rooms_import_only_what_they_may(path):
    room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for name, line in imports(path)
        if name.split(".")[0] in OURS
        and (name.split(".")[0] == "tests" or room_of(name) not in MAY_IMPORT[room])
        and not any(f"{name}.".startswith(f"{other}.") for other in ALSO.get(name_of(path), ()))
    ]
    assert not wrong, f"{room} may import {sorted(MAY_IMPORT[room])}"


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_verl_is_imported_by_the_runtime_alone(path):
    if room_of(".".join(path.relative_to(ROOT).parts)) == "algorithms.runtime":
        return
    found = [name for name, _ in imports(path) if name.split(".")[0] in ("verl", "transfer_queue")]
    assert not found or name_of(path) in VERL_OUTSIDE_RUNTIME


@pytest.mark.parametrize(
    "path", sorted((ROOT / "algorithms").glob("*.py")), ids=lambda path: path.stem
)
def test_the_mathematics_needs_torch_alone(path):
    views = path.stem in ("views", "view_check")
    allowed = LIBRARIES_OF_VIEWS if views else LIBRARIES_OF_ALGORITHMS
    libraries = {name.split(".")[0] for name, _ in imports(path)} - set(sys.stdlib_module_names)
    assert libraries <= allowed | {"algorithms"}


def test_only_the_plugin_registers():
    calls = ("Registry.register(", "ROLLOUT_REGISTRY[", "register_with_verl(")
    users = {
        name_of(path)
        for path in (ROOT / "algorithms" / "runtime").rglob("*.py")
        if any(call in path.read_text() for call in calls)
    }
    # The plugin calls the CPU engine's own registration where verl asks for an `external_lib`.
    assert users <= {"algorithms/runtime/plugin.py", "algorithms/runtime/cpu/engine.py"}


def test_the_walk_sees_imports_inside_functions():
    launch = ROOT / "recipes" / "launch.py"
    assert "verl.trainer.main_ppo" in {name for name, _ in imports(launch)}
