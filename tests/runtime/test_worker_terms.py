"""The worker's loss terms against brute force, on verl's engine and FSDP2, at world sizes 1 and 2.

Every rank is a child process that runs all scenarios once (`worker_child.py`); the tests look at
what rank 0 saw. All is float32 but where a name says otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_model
import torch
from scenarios import (
    LOPSIDED,
    MIXTURE,
    SCENARIOS,
    TERMS,
    Mixed,
    double_model,
    oracle,
    sequence_kls,
)

CHILD = Path(__file__).parent / "worker_child.py"
WORLD_SIZES = (1, 2)
SECONDS = 600

# Largest absolute difference over the largest gradient of the model. float32 against float64, and
# float32 sums in another order.
AGAINST_ORACLE = 1e-5
AMONG_THEMSELVES = 5e-6

REGROUPED = {
    "padding rows": "synthetic padding rows appended",
    "a rank of padding rows": "the first rank gets no row that trains",
    "other order": "rows reversed",
    "uneven": "five rows on one rank, one on the other",
    "mini-batch": "through verl's train_mini_batch",
    "packed": "rows packed",
    "split": "several micro-batches",
    "packed and split": "both",
    "checkpointing": "activations recomputed",
    "packed, checkpointing": "rows packed, activations recomputed",
}

VARIANTS = ("packed", "split", "packed and split", "checkpointing", "packed, checkpointing")

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world_size", WORLD_SIZES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models: two students and, with other weights, their frozen teachers."""
    folder = tmp_path_factory.mktemp("worker")
    for seed, name in enumerate(("tied", "tied teacher", "untied", "untied teacher")):
        tiny_model.save_model(folder / name, tied=name.startswith("tied"), seed=seed)
    tiny_model.save_model(folder / "scaled", kind="granite", logits_scaling=3.0)
    for seed, name in enumerate(("plain path", "plain path teacher")):
        tiny_model.save_model(folder / name, tied=False, seed=seed, kind="olmo")
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path, children: list[subprocess.Popen]) -> dict[str, dict]:
    """What brute force says, computed while the children run."""
    names = ("tied", "tied teacher", "untied", "untied teacher")
    tied, tied_teacher, untied, untied_teacher = (double_model(str(folder / n)) for n in names)
    values = {f"tied/{k}": oracle(tied, tied, scenario) for k, scenario in SCENARIOS.items()}
    values["frozen tied/mixture"] = oracle(tied, tied_teacher, MIXTURE)
    values["frozen tied/lopsided"] = oracle(tied, tied_teacher, LOPSIDED)
    values["trust region/mixture"] = oracle(tied, Mixed(tied, tied_teacher, 0.5), MIXTURE)
    values["untied/mixture"] = oracle(untied, untied, MIXTURE)
    values["frozen untied/mixture"] = oracle(untied, untied_teacher, MIXTURE)
    scaled = double_model(str(folder / "scaled"))
    values["scaled/mixture"] = oracle(scaled, scaled, MIXTURE)
    plain, plain_teacher = (
        double_model(str(folder / name)) for name in ("plain path", "plain path teacher")
    )
    values["plain path/mixture"] = oracle(plain, plain, MIXTURE)
    values["frozen plain path/mixture"] = oracle(plain, plain_teacher, MIXTURE)
    mixed = Mixed(plain, plain_teacher, 0.5)
    values["trust region plain path/mixture"] = oracle(plain, mixed, MIXTURE)
    return values


@pytest.fixture(scope="module")
def children(folder: Path) -> Any:
    started = []
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "VERL_PLATFORM": "cpu",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    for world_size in WORLD_SIZES:
        port = tiny.free_port()
        for rank in range(world_size):
            arguments = [str(CHILD), str(folder), str(rank), str(world_size), port]
            with (folder / f"log_{world_size}_{rank}").open("w") as log:
                started.append(
                    subprocess.Popen(
                        [sys.executable, *arguments], stdout=log, stderr=log, env=environment
                    )
                )
    yield started
    for child in started:
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def everything(folder: Path, children: list[subprocess.Popen], expected: Any) -> dict[int, dict]:
    for child in children:
        child.wait(timeout=SECONDS)
    seen = {}
    for world_size in WORLD_SIZES:
        path = folder / f"world_{world_size}.pt"
        if not path.exists():
            logs = [p.read_text()[-3000:] for p in sorted(folder.glob(f"log_{world_size}_*"))]
            pytest.fail(f"world size {world_size} did not finish:\n" + "\n".join(logs))
        seen[world_size] = torch.load(path, weights_only=False)
    return seen


@pytest.fixture
def scenarios(everything: dict[int, dict], world_size: int) -> dict[str, Any]:
    return everything[world_size]["scenarios"]


@pytest.fixture
def lifecycle(everything: dict[int, dict], world_size: int) -> dict[str, Any]:
    return everything[world_size]["lifecycle"]


def distance(first: dict, second: dict) -> float:
    """Between two sets of gradients, relative to the largest gradient of the second."""
    assert first.keys() == second.keys()
    largest = max(float(g.abs().max()) for g in second.values())
    apart = max(float((first[n].double() - second[n].double()).abs().max()) for n in second)
    return apart / largest


def largest_gradient(seen: dict) -> float:
    return max(float(g.abs().max()) for g in seen["gradients"].values())


NOTHING_TO_LEARN = ("same_prompt", "idle", "grouped, same prompt")
TRAINING = [f"tied/{name}" for name in SCENARIOS if name not in NOTHING_TO_LEARN]
FROZEN_AND_UNTIED = [
    "frozen tied/mixture", "frozen tied/lopsided", "untied/mixture", "frozen untied/mixture",
    "trust region/mixture", "scaled/mixture", "plain path/mixture", "frozen plain path/mixture",
    "trust region plain path/mixture",
]  # fmt: skip


@pytest.mark.parametrize("name", TRAINING + FROZEN_AND_UNTIED)
def test_loss_and_gradients_are_those_of_brute_force(scenarios, expected, name):
    seen, truth = scenarios[name], expected[name]
    assert seen["loss"] == pytest.approx(truth["loss"], rel=AGAINST_ORACLE)
    assert distance(seen["gradients"], truth["gradients"]) < AGAINST_ORACLE


@pytest.mark.parametrize("name", TRAINING + FROZEN_AND_UNTIED)
def test_metrics_are_means_over_the_global_batch(scenarios, expected, name):
    seen = scenarios[name]["metrics"]
    for metric, value in expected[name]["metrics"].items():
        assert seen[metric] == pytest.approx(value, rel=AGAINST_ORACLE), metric


@pytest.mark.parametrize("name", ["tied/mixture", "tied/sequence_mean", "frozen untied/mixture"])
def test_the_loss_is_the_sum_of_its_terms(scenarios, name):
    seen = scenarios[name]
    terms = [seen["metrics"][f"{term}/loss"] for term in TERMS]
    assert all(abs(term) > 0.1 for term in terms)
    assert seen["loss"] == pytest.approx(sum(terms), rel=1e-6)


def test_the_oracle_tells_the_settings_apart(expected, world_size):
    # Otherwise the comparisons above would prove little.
    losses = {name: round(values["loss"], 3) for name, values in expected.items()}
    for name in NOTHING_TO_LEARN:
        del losses[f"tied/{name}"]
    assert len(set(losses.values())) == len(losses)


@pytest.mark.parametrize("name", ["same_prompt", "grouped, same prompt"])
@pytest.mark.parametrize("how", ["", *(f", {how}" for how in VARIANTS)])
def test_equal_prompts_give_exactly_zero(scenarios, name, how):
    seen = scenarios[f"tied/{name}{how}"]
    assert seen["loss"] == 0.0
    assert largest_gradient(seen) == 0.0
    assert seen["metrics"]["distill/kl"] == 0.0
    assert seen["metrics"]["entropy"] > 1.0


def test_equal_prompts_give_exactly_zero_in_bf16(scenarios):
    assert scenarios["bf16/same_prompt"]["loss"] == 0.0
    assert largest_gradient(scenarios["bf16/same_prompt"]) == 0.0


def test_bf16_is_near(scenarios, expected):
    seen, truth = scenarios["bf16/mixture"], expected["tied/mixture"]
    assert seen["loss"] == pytest.approx(truth["loss"], rel=0.03)
    assert distance(seen["gradients"], truth["gradients"]) < 0.1


def test_rows_without_weight_train_nothing(scenarios):
    seen = scenarios["tied/idle"]
    assert seen["loss"] == 0.0
    assert largest_gradient(seen) == 0.0


@pytest.mark.parametrize("how", REGROUPED, ids=list(REGROUPED.values()))
def test_regrouping_the_batch_changes_nothing(scenarios, how):
    seen, plain = scenarios[f"tied/mixture, {how}"], scenarios["tied/mixture"]
    assert seen["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    assert distance(seen["gradients"], plain["gradients"]) < AMONG_THEMSELVES
    for metric, value in plain["metrics"].items():
        assert seen["metrics"][metric] == pytest.approx(value, rel=AMONG_THEMSELVES), metric


@pytest.mark.parametrize("how", ["other order", *VARIANTS])
def test_regrouping_both_views_changes_nothing(scenarios, how):
    seen, plain = scenarios[f"tied/two views, {how}"], scenarios["tied/two views"]
    assert seen["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    assert distance(seen["gradients"], plain["gradients"]) < AMONG_THEMSELVES
    assert seen["metrics"] == pytest.approx(plain["metrics"], rel=AMONG_THEMSELVES)


@pytest.mark.parametrize("how", VARIANTS)
@pytest.mark.parametrize("name", ["grouped", "grouped unevenly"])
def test_rows_that_share_their_prompt_are_as_if_each_had_its_own(scenarios, name, how):
    seen, plain = scenarios[f"tied/{name}, {how}"], scenarios[f"tied/{name}"]
    assert seen["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    assert distance(seen["gradients"], plain["gradients"]) < AMONG_THEMSELVES
    assert seen["metrics"] == pytest.approx(plain["metrics"], rel=AMONG_THEMSELVES)


def test_a_shared_prompt_is_computed_once(scenarios, world_size):
    counts = scenarios["tokens computed"]
    shared, alone = counts[: len(counts) // 2], counts[len(counts) // 2 :]
    assert len(shared) >= 2  # the teacher's pass and the update
    assert all(a < b for a, b in zip(shared, alone, strict=True))


@pytest.mark.parametrize("estimator", ["exact", "k1"])
@pytest.mark.parametrize("view", [0, 1], ids=["student", "teacher"])
def test_the_kl_of_a_response_is_that_of_the_sampled_view(
    everything, expected, folder, estimator, view, world_size
):
    truth = sequence_kls(double_model(str(folder / "tied")), SCENARIOS["distill"], estimator, view)
    seen = everything[world_size]["sequence_kl"][estimator, view].tolist()
    assert seen == pytest.approx(truth[: len(seen)], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_moving_teacher_keeps_its_share_of_itself(everything, how, world_size):
    seen = everything[world_size]["moving"]
    moved = 0
    for name, (first, student, teacher) in seen[how].items():
        assert torch.allclose(teacher, 0.75 * first + 0.25 * student, atol=1e-6), name
        moved += not torch.equal(first, teacher)
    assert moved
    for name, (_, _, teacher) in seen[how].items():
        assert torch.equal(seen[f"{how}, restored"][name], teacher)
    assert any(not torch.equal(seen[f"{how}, later"][n], t) for n, (*_, t) in seen[how].items())
    assert "written without an ema teacher" in seen[f"{how}, no file"]


def test_a_moving_average_in_bfloat16_is_refused(everything, world_size):
    assert "model_dtype=fp32" in everything[world_size]["moving"]["coarse"]


def test_with_an_adapter_the_frozen_teacher_is_the_adapter_off(everything, world_size):
    seen = everything[world_size]["lora frozen"]
    assert torch.equal(seen["frozen"], seen["start"])
    assert not torch.equal(seen["student"], seen["start"])
    assert seen["kept"]


@pytest.mark.parametrize("name", TRAINING + FROZEN_AND_UNTIED)
def test_two_ranks_see_what_one_sees(everything, world_size, name):
    seen, alone = everything[world_size]["scenarios"][name], everything[1]["scenarios"][name]
    assert seen["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert distance(seen["gradients"], alone["gradients"]) < AMONG_THEMSELVES
    assert seen["metrics"] == pytest.approx(alone["metrics"], rel=AMONG_THEMSELVES)


def test_adapters_start_at_the_full_models_loss(everything, scenarios, world_size):
    seen = everything[world_size]["lora"]
    assert seen["loss"] == pytest.approx(scenarios["tied/mixture"]["loss"], rel=1e-6)
    metrics = scenarios["tied/mixture"]["metrics"]
    assert seen["metrics"] == pytest.approx(metrics, rel=AMONG_THEMSELVES)


def test_adapters_gradients_follow_from_the_full_models(everything, expected, world_size):
    # W = W_0 + s B A with B = 0: dL/dB = s (dL/dW) A^T and dL/dA = 0.
    seen, full = everything[world_size]["lora"], expected["tied/mixture"]["gradients"]
    assert len(seen["gradients"]) == 2 * 2 * 7  # A and B of seven linear maps in two layers
    for name, gradient in seen["gradients"].items():
        if "lora_A" in name:
            assert float(gradient.abs().max()) == 0.0
            continue
        assert "lora_B" in name
        plain = name.removeprefix("base_model.model.").replace(".lora_B.default", "")
        factor = seen["parameters"][name.replace("lora_B", "lora_A")].double()
        truth = seen["scale"] * full[plain] @ factor.T
        assert float((gradient.double() - truth).abs().max() / truth.abs().max()) < AGAINST_ORACLE


def test_loading_weights_restores_the_model_exactly(lifecycle):
    assert not torch.equal(lifecycle["hidden first"], lifecycle["hidden trained"])
    assert torch.equal(lifecycle["hidden first"], lifecycle["hidden loaded"])


def test_a_stage_starts_with_a_fresh_optimiser_and_schedule(lifecycle):
    assert lifecycle["optimiser trained"] > 0
    assert lifecycle["optimiser loaded"] == lifecycle["schedule loaded"] == 0
    # The same steps from the same weights, bit by bit: nothing of the earlier stage is left.
    assert torch.equal(lifecycle["hidden trained"], lifecycle["hidden again"])


def test_a_stages_settings_end_with_it(lifecycle):
    assert lifecycle["rates, stage"] == [5e-2]
    assert lifecycle["rates, unset"] == [1e-2]


def test_rotation_spares_the_weights_of_other_stages(lifecycle):
    assert lifecycle["folders"] == {"base": True, "stage": True, "next": False, "last": True}


def test_a_frozen_teacher_is_its_own_weights_and_stays(lifecycle):
    assert torch.equal(lifecycle["hidden frozen"], lifecycle["hidden first"])
    assert lifecycle["head frozen"].shape == (tiny_model.VOCAB, 32)
    assert lifecycle["moved"] == [False, True]
    assert torch.equal(lifecycle["hidden frozen"], lifecycle["hidden frozen, later"])


def test_a_stage_chooses_the_teacher(lifecycle):
    seen = lifecycle["begin_stage"]
    assert seen["frozen"] and seen["live"]
    assert seen["missing"].startswith("RuntimeError: a frozen teacher needs the reference model")


def test_what_cannot_run_is_refused_by_name(everything, world_size):
    seen = everything[1]["refusals"]
    assert "log-probs taken at sampling time" in seen["old log-probs"]
    assert "ulysses_sequence_parallel_size=1" in seen["ulysses"]
