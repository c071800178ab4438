"""The worker tests' child process: one rank that runs every scenario on real verl workers.

``python worker_child.py FOLDER RANK WORLD_SIZE PORT``; rank 0 writes ``FOLDER/world_<size>.pt``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch
from scenarios import GROUPED, MIXTURE, SCENARIOS, TWO_VIEWS, Scenario, padding_row

from algorithms.runtime.teacher import TeacherSettings, parameters_of
from algorithms.runtime.view_rows import trained_views

# With a learning rate of 0 the weights stay, and one worker serves many scenarios.
STILL = {"optimizer": "SGD", "lr": 0.0}
# The smallest micro-batch budget that the longest row fits in.
SMALL = 40


def gradients_before_step(worker: Any) -> dict[str, torch.Tensor]:
    """A dictionary that every optimiser step fills with the whole gradients, by parameter name."""
    captured: dict[str, torch.Tensor] = {}

    def hook(*_: Any) -> None:
        captured.clear()
        for name, parameter in worker.engine.module.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"no gradient reached {name}"
                captured[name] = parameter.grad.full_tensor().clone()

    worker.engine.optimizer.register_step_pre_hook(hook)
    return captured


class Trainee:
    """A worker that shows the loss, the gradients and the metrics of a step and learns nothing."""

    def __init__(self, model: str, rank: int, world_size: int, **settings: Any) -> None:
        self.worker = tiny.make_worker(model, optimiser=STILL, **settings)
        self.captured = gradients_before_step(self.worker)
        self.rank, self.world_size = rank, world_size

    def step(
        self, scenario: Scenario, deal: Callable[[list, int, int], list] | None = None
    ) -> dict:
        rows = (deal or in_order)(scenario.rows, self.rank, self.world_size)
        batch = tiny.make_batch(rows, temperature=scenario.temperature, **scenario.settings)
        return self._seen(self.worker.train_batch(batch)["metrics"])

    def mini_batch(self, scenario: Scenario) -> dict:
        """The same step the way verl's actor update takes it."""
        from verl.utils import tensordict_utils as tu

        rows = in_order(scenario.rows, self.rank, self.world_size)
        batch = tiny.make_batch(rows, temperature=scenario.temperature, **scenario.settings)
        tu.assign_non_tensor(batch, mini_batch_size=len(scenario.rows), epochs=1)
        # Each value is a list with an entry a mini-batch: one.
        returned = self.worker.train_mini_batch(batch)["metrics"]
        metrics = {name: float(values[0]) for name, values in returned.items()}
        return {**self._seen({}), "loss": metrics["loss"], "metrics": metrics}

    def _seen(self, metrics: dict) -> dict:
        from verl.utils.metric import Metric

        named = {
            key: float(Metric.aggregate_dp(value if isinstance(value, list) else [value]))
            for key, value in metrics.items()
            if isinstance(value if not isinstance(value, list) else value[0], Metric)
        }
        return {"loss": metrics.get("loss"), "gradients": dict(self.captured), "metrics": named}


def in_order(rows: list, rank: int, world_size: int) -> list:
    """The first rows to the first rank, as many to each."""
    share = len(rows) // world_size
    return rows[rank * share : (rank + 1) * share]


def uneven(rows: list, rank: int, world_size: int) -> list:
    """The last row to the last rank, all others to the first."""
    return rows if world_size == 1 else (rows[:-1], rows[-1:])[rank]


def run_scenarios(models: dict[str, str], rank: int, world_size: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    where = (rank, world_size)
    student = Trainee(models["tied"], *where)
    for name, scenario in SCENARIOS.items():
        results[f"tied/{name}"] = student.step(scenario)
    padded = MIXTURE.with_rows([*MIXTURE.rows, padding_row(), padding_row()])
    results["tied/mixture, padding rows"] = student.step(padded)
    first_are_padding = MIXTURE.with_rows([padding_row()] * 6 + MIXTURE.rows)
    results["tied/mixture, a rank of padding rows"] = student.step(first_are_padding)
    results["tied/mixture, other order"] = student.step(MIXTURE.with_rows(MIXTURE.rows[::-1]))
    results["tied/mixture, uneven"] = student.step(MIXTURE, uneven)
    results["tied/two views, other order"] = student.step(TWO_VIEWS.with_rows(TWO_VIEWS.rows[::-1]))
    results["tied/mixture, mini-batch"] = student.mini_batch(MIXTURE)

    teacher = tiny.make_worker(models["tied teacher"], forward_only=True)
    student.worker.teacher, student.worker.reference = TeacherSettings("frozen"), teacher
    results["frozen tied/mixture"] = student.step(MIXTURE)
    results["frozen tied/lopsided"] = student.step(SCENARIOS["lopsided"])
    results["trust region/mixture"] = _with_trust_region(student)
    student.worker.teacher, student.worker.reference = TeacherSettings(), None

    untied = Trainee(models["untied"], *where)
    results["untied/mixture"] = untied.step(MIXTURE)
    untied.worker.teacher = TeacherSettings("frozen")
    untied.worker.reference = tiny.make_worker(models["untied teacher"], forward_only=True)
    results["frozen untied/mixture"] = untied.step(MIXTURE)
    results["scaled/mixture"] = Trainee(models["scaled"], *where).step(MIXTURE)
    plain = Trainee(models["plain path"], *where)
    results["plain path/mixture"] = plain.step(MIXTURE)
    teacher = tiny.make_worker(models["plain path teacher"], forward_only=True)
    plain.worker.teacher, plain.worker.reference = TeacherSettings("frozen"), teacher
    results["frozen plain path/mixture"] = plain.step(MIXTURE)
    results["trust region plain path/mixture"] = _with_trust_region(plain)

    variants: dict[str, dict[str, Any]] = {
        "packed": {"remove_padding": True},
        "split": {"max_token_len_per_gpu": SMALL},
        "packed and split": {"remove_padding": True, "max_token_len_per_gpu": SMALL},
        "checkpointing": {"checkpointing": True},
        "packed, checkpointing": {"remove_padding": True, "checkpointing": True},
    }
    for name, settings in variants.items():
        variant = Trainee(models["tied"], *where, **settings)
        results[f"tied/mixture, {name}"] = variant.step(MIXTURE)
        results[f"tied/same_prompt, {name}"] = variant.step(SCENARIOS["same_prompt"])
        results[f"tied/two views, {name}"] = variant.step(TWO_VIEWS)
        for scenario in ("grouped", "grouped unevenly", "grouped, same prompt"):
            results[f"tied/{scenario}, {name}"] = variant.step(SCENARIOS[scenario])
        if name == "packed":
            results["tokens computed"] = tokens_computed(variant, GROUPED)
    bf16 = Trainee(models["tied"], *where, precision="bf16")
    results["bf16/mixture"] = bf16.step(MIXTURE)
    results["bf16/same_prompt"] = bf16.step(SCENARIOS["same_prompt"])
    return results


def tokens_computed(trainee: Trainee, scenario: Scenario) -> list[int]:
    """Of each of a step's calls of the model, with the prompts shared and not."""
    counts = []
    module = trainee.worker.engine.module
    hook = module.register_forward_pre_hook(
        lambda _, __, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    trainee.step(scenario)
    trainee.worker.engine.attends_shared_prompts = False
    trainee.step(scenario)
    trainee.worker.engine.attends_shared_prompts = True
    hook.remove()
    return counts


def _with_trust_region(student: Trainee) -> dict:
    """The student's teacher half-way between its frozen weights and the current ones."""
    student.worker.teacher = TeacherSettings("trust_region", trust_region_mix=0.5)
    return student.step(MIXTURE)


def run_moving_teachers(
    models: dict[str, str], folder: Path, rank: int, world_size: int
) -> dict[str, Any]:
    """A teacher that follows the student: with a reference model, and as a copied adapter."""
    rows = in_order(SCENARIOS["distill"].rows, rank, world_size)
    seen: dict[str, Any] = {}
    for name, rank_of_adapter in (("full", 0), ("lora", 4)):
        worker = tiny.make_worker(models["tied"], lora_rank=rank_of_adapter, optimiser={"lr": 1e-2})
        reference = None if rank_of_adapter else tiny.make_worker(models["tied"], forward_only=True)
        worker.set_teacher(TeacherSettings("ema", ema_decay=0.75), reference, None)
        first = whole(worker._teacher_weights(), worker)
        worker.train_batch(tiny.make_batch(rows))
        student = whole(parameters_of(worker.engine.module), worker)
        teacher = whole(worker._teacher_weights(), worker)
        seen[name] = {k: (first[k], student[k], teacher[k]) for k in first}
        place = folder / f"moving_{name}_{world_size}"
        place.mkdir(exist_ok=True)
        worker.save_teacher(str(place))
        worker.train_batch(tiny.make_batch(rows))
        seen[f"{name}, later"] = whole(worker._teacher_weights(), worker)
        worker.load_teacher(str(place))
        seen[f"{name}, restored"] = whole(worker._teacher_weights(), worker)
        seen[f"{name}, no file"] = refusal(worker.load_teacher, str(folder))
    coarse = tiny.make_worker(models["tied"], forward_only=True, model_dtype="bf16")
    seen["coarse"] = refusal(worker.set_teacher, TeacherSettings("ema"), coarse, None)
    return seen


def refusal(call: Callable[..., Any], *arguments: Any) -> str:
    """What the call was refused with."""
    try:
        call(*arguments)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def whole(weights: dict[str, torch.Tensor], worker: Any) -> dict[str, torch.Tensor]:
    """Weights of all ranks put together, [ranks, local size] flattened."""
    import torch.distributed as dist

    gathered = {}
    for name, tensor in weights.items():
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, tensor.detach().clone())
        gathered[name] = torch.cat([part.flatten() for part in parts])
    return gathered


def run_lora_frozen(models: dict[str, str], rank: int, world_size: int) -> dict[str, Any]:
    """A LoRA student that has moved, pulled toward its own start: the adapter off."""
    rows = in_order(SCENARIOS["distill"].rows, rank, world_size)
    worker = tiny.make_worker(models["tied"], lora_rank=4, optimiser={"lr": 3e-2})
    group = worker.engine.get_data_parallel_group()

    def hidden() -> torch.Tensor:
        return worker._reference_pass(trained_views(tiny.make_batch(rows), group))[0].values()

    start = hidden()
    worker.set_teacher(TeacherSettings("frozen"), None, None)
    worker.train_batch(tiny.make_batch(rows))
    frozen = hidden()
    own = {k: v.clone() for k, v in parameters_of(worker.engine.module).items()}
    hidden()
    kept = all(torch.equal(own[k], v) for k, v in parameters_of(worker.engine.module).items())
    worker.set_teacher(TeacherSettings(), None, None)
    return {"start": start, "frozen": frozen, "student": hidden(), "kept": kept}


def run_sequence_kl(models: dict[str, str], rank: int, world_size: int) -> dict[str, Any]:
    """KL of each response, as it goes into the reward."""
    from verl.utils import tensordict_utils as tu

    worker = tiny.make_worker(models["tied"])
    seen = {}
    for estimator in ("exact", "k1"):
        for view in (0, 1):
            rows = [{**row, "sampled_view": view} for row in SCENARIOS["distill"].rows]
            batch = tiny.make_batch(in_order(rows, rank, world_size))
            tu.assign_non_tensor(batch, kl_estimator=estimator)
            seen[estimator, view] = worker.sequence_kl(batch)["sequence_kl"]
    return seen


def run_lora(models: dict[str, str], rank: int, world_size: int) -> dict[str, Any]:
    adapted = Trainee(models["tied"], rank, world_size, lora_rank=4)
    result = adapted.step(MIXTURE)
    parameters = {
        name: parameter.full_tensor().detach().clone()
        for name, parameter in adapted.worker.engine.module.named_parameters()
        if parameter.requires_grad
    }
    adapter = adapted.worker.engine.module.peft_config["default"]
    return {**result, "parameters": parameters, "scale": adapter.lora_alpha / adapter.r}


def run_lifecycle(
    models: dict[str, str], folder: Path, rank: int, world_size: int
) -> dict[str, Any]:
    """Weights saved and loaded, stages begun, a frozen teacher beside a student that learns."""
    worker = tiny.make_worker(models["tied"])
    scenario = SCENARIOS["distill"]

    def batch() -> Any:
        return tiny.make_batch(in_order(scenario.rows, rank, world_size))

    def hidden() -> torch.Tensor:
        return reference(worker)[0].values()

    def reference(of: Any) -> tuple[torch.Tensor, Any]:
        return of._reference_pass(trained_views(batch(), of.engine.get_data_parallel_group()))

    def train(steps: int) -> None:
        for _ in range(steps):
            worker.train_batch(batch())

    def rates() -> list[float]:
        return [group["lr"] for group in worker.engine.optimizer.param_groups]

    def weights(of: Any) -> list[torch.Tensor]:
        return [p.full_tensor().detach().clone() for p in of.engine.module.parameters()]

    seen: dict[str, Any] = {"hidden first": hidden()}
    base = folder / f"base_{world_size}"
    worker.save_weights(str(base))
    worker.begin_stage({"lr": 5e-2, "total_training_steps": 7})
    seen["rates, stage"] = rates()
    train(2)
    worker.engine.lr_scheduler_step()
    seen["hidden trained"] = hidden()
    seen["optimiser trained"] = len(worker.engine.optimizer.state)
    stage = folder / f"stage_{world_size}"
    worker.save_checkpoint(str(stage), None, 2, 1)
    worker.load_weights(str(base))
    worker.begin_stage({"lr": 5e-2, "total_training_steps": 7})
    seen["hidden loaded"] = hidden()
    seen["optimiser loaded"] = len(worker.engine.optimizer.state)
    seen["schedule loaded"] = worker.engine.lr_scheduler.last_epoch
    train(2)
    seen["hidden again"] = hidden()

    worker.begin_stage({})
    seen["rates, unset"] = rates()
    train(1)
    worker.save_checkpoint(str(folder / f"next_{world_size}"), None, 1, 1)
    worker.save_checkpoint(str(folder / f"last_{world_size}"), None, 2, 1)
    seen["folders"] = {
        name: bool(list((folder / f"{name}_{world_size}").glob("model_*")))
        for name in ("base", "stage", "next", "last")
    }

    teacher = tiny.make_worker(models["tied teacher"], forward_only=True)
    worker.set_teacher(TeacherSettings("frozen"), teacher, str(base))
    seen["hidden frozen"], seen["head frozen"] = hidden(), reference(worker)[1]
    before = weights(teacher), weights(worker)
    train(2)
    after = weights(teacher), weights(worker)
    seen["hidden frozen, later"] = hidden()
    seen["moved"] = [
        not all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
        for old, new in zip(before, after, strict=True)
    ]
    seen["begin_stage"] = _hybrid_stages(worker, teacher, str(base))
    return seen


def _hybrid_stages(actor: Any, reference: Any, weights: str) -> dict[str, Any]:
    """`begin_stage` of the hybrid worker; its rollout, which needs Ray, takes no part in it."""
    from algorithms.runtime.worker import PrivilegedActorRolloutRefWorker

    hybrid = object.__new__(PrivilegedActorRolloutRefWorker)
    hybrid.actor, hybrid.ref = actor, reference
    frozen, live = {"kind": "frozen"}, {"kind": "live"}
    hybrid.begin_stage(weights, frozen, weights, {"lr": 1e-3})
    seen: dict[str, Any] = {"frozen": actor.reference is reference}
    hybrid.begin_stage(weights, live, None, {"lr": 1e-3})
    seen["live"] = actor.reference is None
    hybrid.ref = None
    seen["missing"] = error_of(lambda: hybrid.begin_stage(None, frozen, weights, {}))
    return seen


def run_refusals(models: dict[str, str], rank: int, world_size: int) -> dict[str, str]:
    trainee = Trainee(models["tied"], rank, world_size)
    rows = in_order(SCENARIOS["policy_gradient"].rows, rank, world_size)
    without = tiny.make_batch(rows)
    del without["old_log_probs"]
    seen = {"old log-probs": error_of(lambda: trainee.worker.train_batch(without))}
    trainee.worker.engine.use_ulysses_sp = True
    seen["ulysses"] = error_of(lambda: trainee.worker.train_batch(tiny.make_batch(rows)))
    return seen


def error_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def main() -> None:
    folder, rank, world_size, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    tiny.rank_environment(rank, world_size, port)
    models = {place.name: str(place) for place in Path(folder).iterdir() if place.is_dir()}
    where = (rank, world_size)
    results = {
        "scenarios": run_scenarios(models, *where),
        "lora": run_lora(models, *where),
        "lifecycle": run_lifecycle(models, Path(folder), *where),
        "moving": run_moving_teachers(models, Path(folder), *where),
        "lora frozen": run_lora_frozen(models, *where),
        "sequence_kl": run_sequence_kl(models, *where),
    }
    if world_size == 1:
        results["refusals"] = run_refusals(models, *where)
    if rank == 0:
        torch.save(results, Path(folder) / f"world_{world_size}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
