"""Finding, building and adding algorithms."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path

import pytest

from algorithms import registry
from algorithms.base import Trajectory
from algorithms.opsd import OPSD

GUIDE = Path(__file__).parents[2] / "docs" / "algorithms-api.md"


@pytest.fixture
def clean(monkeypatch):
    """The registry as it is, whatever a test adds."""
    monkeypatch.setattr(registry, "_TARGETS", dict(registry._TARGETS))


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The guide's example as pip would leave it: the module, and the entry point's metadata."""
    (source,) = code_blocks("python")
    (project,) = code_blocks("toml")
    (tmp_path / "rejection.py").write_text(source)
    metadata = tmp_path / "rejection-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rejection\nVersion: 1.0\n")
    group, entry = project.strip().splitlines()
    assert group == '[project.entry-points."verl_pi.algorithms"]'
    name, value = entry.split(" = ")
    (metadata / "entry_points.txt").write_text(
        f"[verl_pi.algorithms]\n{name} = {value.strip(chr(34))}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("rejection", None)


def test_names_are_sorted_and_build_makes_what_they_name():
    assert registry.names() == sorted(registry.names())
    assert {"opsd", "sft"} <= set(registry.names())
    assert registry.build("opsd", distill_weight=0.5) == OPSD(distill_weight=0.5)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(registry.UnknownAlgorithm) as error:
        registry.build("opds")
    assert isinstance(error.value, KeyError)
    assert str(error.value) == (
        "no algorithm 'opds', did you mean 'opsd'?; known: grpo, opsd, pi_distill, retry_sft, sft, "
        "student_objective, teacher_objective"
    )
    with pytest.raises(
        registry.UnknownAlgorithm, match=r"^no algorithm 'zzz'; known: grpo, opsd, "
    ):
        registry.build("zzz")


def test_an_unknown_setting_lists_the_known_ones():
    with pytest.raises(registry.InvalidAlgorithmSetting) as error:
        registry.build("opsd", beta=0.5, distill_weight=1.0)
    assert "has no setting beta" in str(error.value)
    assert "distill_weight" in str(error.value)


def test_class_attributes_are_no_settings():
    with pytest.raises(registry.InvalidAlgorithmSetting, match="no setting needs_old_log_probs"):
        registry.build("sft", needs_old_log_probs=True)


def test_a_name_is_taken_once(clean):
    registry.register("mine", "my_module:Mine")
    registry.register("mine", "my_module:Mine")  # the same again is no clash
    with pytest.raises(ValueError, match="'mine' is already my_module:Mine"):
        registry.register("mine", "other:Mine")
    with pytest.raises(ValueError, match=r"'opsd' is already algorithms\.opsd:OPSD"):
        registry.register("opsd", "other:OPSD")


def test_the_guides_algorithm_is_found_by_its_entry_point_and_works(installed):
    assert "rejection" in registry.names()
    algorithm = registry.build("rejection", threshold=0.5)
    batch = [Trajectory("a", 3, score=s) for s in (1.0, 0.5, 0.2, None)]
    rows, report = algorithm.rows(batch)
    assert [(row.trajectory, row.nll, row.distill) for row in rows] == [
        (0, 1.0, 0.0),
        (1, 1.0, 0.0),
    ]
    assert report.dropped == [(2, "not_passed"), (3, "not_passed")]
    assert report.metrics == {"rejection/kept_share": 0.5}


def test_an_entry_point_may_not_take_a_name_of_ours(installed):
    points = installed / "rejection-1.0.dist-info" / "entry_points.txt"
    points.write_text("[verl_pi.algorithms]\nopsd = rejection:Rejection\n")
    with pytest.raises(
        ValueError, match=r"algorithms.opsd:OPSD and rejection:Rejection.*uninstall"
    ):
        registry.names()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "No module named 'third_party'"),
        ("", "no attribute 'Mine'"),
        ("class Mine: ...", "no dataclass"),
        ("import dataclasses\n@dataclasses.dataclass\nclass Mine: ...", "lacks something"),
    ],
)
def test_what_is_no_algorithm_is_refused_by_name(clean, tmp_path, monkeypatch, source, message):
    if source is not None:
        (tmp_path / "third_party.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    registry.register("mine", "third_party:Mine")
    try:
        with pytest.raises(registry.BrokenAlgorithm, match=message) as error:
            registry.build("mine")
        assert "'mine' is third_party:Mine" in str(error.value)
    finally:
        sys.modules.pop("third_party", None)


@pytest.mark.parametrize(
    "kind",
    [registry.UnknownAlgorithm, registry.BrokenAlgorithm, registry.InvalidAlgorithmSetting],
)
def test_errors_travel_between_processes(kind):
    copied = pickle.loads(pickle.dumps(kind("what to do")))
    assert type(copied) is kind and str(copied) == "what to do"
