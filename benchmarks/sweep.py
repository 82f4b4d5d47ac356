"""The sweep over prompts x vectors x alphas, ours and the peers', and its share of the machine's floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.floor import Shape, full_operations, operations, product_work
from benchmarks.models import embedded_pair
from benchmarks.peers import Found, Work, single_tokens
from benchmarks.record import Line, Settings, ratio, same, seconds
from benchmarks.timing import Timing, interleaved
from lrt_bench.data.suites import find_suite
from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.mappings.moments import spread
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import last_states
from lrt_bench.steering.sweep import Sweep, unit

ROWS = 128  # sequences in one forward, as the default evaluation has it
LIMIT = 1e-4  # greatest difference between our propensities and a peer's, float32, in logits
PRODUCT_ROWS = 2048
NAMES = {
    "one by one": "one by one, as steering-bench does",
    "batched": "batched full forwards",
    "last only": "batched full forwards, the last position's logits",
    "lm-eval": "lm-eval on the steered model",
}


@dataclass(frozen=True)
class Plan:
    """What is compared on one model: the goals by peer, and each peer's share of the work (`Work.part`)."""

    part: str
    title: str
    goals: dict[str, float]
    parts: dict[str, tuple[int, int, int, int]]
    rounds: int
    budget: float
    floor: float | None = 0.7


def ours(work: Work) -> Found:
    """The sweep as `evaluate` runs it: one `Sweep` a task, lower layers and all."""
    propensities = {}
    for name, prompts in work.tasks.items():
        sweep = Sweep(work.site, prompts, work.alphas, work.spread, ROWS)
        propensities[name] = sweep.run(work.vectors)
        assert len(sweep.encoded) == len(prompts), f"{name}: prompts that a sweep leaves out"
    return propensities


def common(propensities: Found, work: Work, part: Work) -> list[float]:
    """Our propensities on the cells of a part of the work, in the order of a peer's."""
    alphas = [work.alphas.index(alpha) for alpha in part.alphas]
    return flat({
        name: propensities[name][: len(part.vectors), : len(rows)][..., alphas]
        for name, rows in part.tasks.items()
    })  # fmt: skip


def flat(propensities: Found) -> list[float]:
    return torch.cat([values.flatten() for values in propensities.values()]).tolist()


def work_on(site: Site, tasks: Mapping[str, Sequence[ChoicePrompt]], most: int, vectors: int,
            alphas: Sequence[float]) -> Work:  # fmt: skip
    """Tasks cut to `most` one-token prompts each, under random directions; unit: the prompts' spread."""
    chosen = {name: single_tokens(site, rows, most) for name, rows in tasks.items()}
    chosen = {name: rows for name, rows in chosen.items() if rows}
    texts = [row.prompt for rows in chosen.values() for row in rows]
    scale = spread(last_states(site, texts).double().var(0))
    generator = torch.Generator().manual_seed(17)
    directions = unit(torch.randn(vectors, site.width, generator=generator))
    return Work(site, chosen, directions, tuple(alphas), scale)


def compare(work: Work, plan: Plan) -> list[Line]:
    """Time all contenders in turn, check their numbers, and count the floor."""
    parts = {name: work.part(*share) for name, share in plan.parts.items()}
    shape = Shape.of(work.site)
    model = work.site.model
    multiply, product = product_work(shape, PRODUCT_ROWS, model.dtype, str(model.device))
    repeats = max(1, int(2e10 / product))
    with ExitStack() as stack:
        calls: dict[str, Callable[[], object]] = {
            "ours": lambda: ours(work),
            "product": lambda: [multiply() for _ in range(repeats)],
        }
        known = {"one by one": peers.one_by_one, "batched": peers.batched, "last only": _last_only}
        for name, part in parts.items():
            if name == "lm-eval":
                calls[name] = stack.enter_context(peers.lm_eval_runner(part))
            else:
                calls[name] = _bound(known[name], part)
        # masks and rotations of each length are made once a model
        ours(work.part(len(work.tasks), 10_000, 1, 1))
        timings, propensities = interleaved(calls, plan.rounds, plan.budget)
    cells, fast = work.cells, timings["ours"]
    lines = [seconds(plan.part, f"{plan.title}: ours", fast, f"{cells:,} cells (prompt, vector, alpha)")]
    for name, part in parts.items():
        worst = same(NAMES[name], common(propensities["ours"], work, part), flat(propensities[name]), LIMIT)
        slow = timings[name].times(cells / part.cells)
        note = f"greatest difference {worst:.0e}" + _scaled(part.cells, cells)
        line = ratio(plan.part, f"{plan.title}: against {NAMES[name]}", slow, fast, note)
        lines.append(line.aims("at least", plan.goals[name]) if name in plan.goals else line)
    rate = timings["product"].times(1 / (product * repeats))
    return [
        *lines,
        _bound_line(work, plan, shape),
        _share(work, plan, shape, fast, rate),
        *_profile(work, plan),
    ]


def _profile(work: Work, plan: Plan) -> list[Line]:
    """Where our seconds go, by kind of operation, as the profiler has it: what the floor's share lacks."""
    from torch.profiler import ProfilerActivity, profile

    kinds = {
        "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
        "attention": ("scaled_dot_product",),
    }
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        ours(work)
    taken = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    whole = sum(taken.values())
    parts = {
        kind: sum(spent for name, spent in taken.items() if any(part in name for part in names))
        for kind, names in kinds.items()
    }
    parts["norms, activations, sums, copies, tokens"] = whole - sum(parts.values())
    return [
        Line(plan.part, f"{plan.title}: of our time, {kind}", 100 * spent / whole, "%", note="torch.profiler")
        for kind, spent in parts.items()
    ]


def _bound(peer: Callable[[Work], Found], part: Work) -> Callable[[], Found]:
    return lambda: peer(part)


def _last_only(work: Work) -> Found:
    return peers.batched(work, last_only=True)


def _scaled(part: int, whole: int) -> str:
    return "" if part == whole else f"; timed on {part:,} of {whole:,} cells, scaled by cell"


def _bound_line(work: Work, plan: Plan, shape: Shape) -> Line:
    """What shared beginnings and layers save against full forwards: the ratio of the operations."""
    prompts = [[row.ids for row in rows] for rows in work.encoded.values()]
    vocabulary = len(work.site.model.head.weight)
    whole = sum(full_operations(shape, ids, work.moved, vocabulary) for ids in prompts)
    least = sum(operations(shape, ids, work.moved) for ids in prompts)
    note = "what a sweep of whole blocks gains where both run at one rate"
    return Line(
        plan.part,
        f"{plan.title}: operations of batched full forwards over those of the floor",
        whole / least,
        "x",
        note=note,
    )


def _share(work: Work, plan: Plan, shape: Shape, fast: Timing, per_operation: Timing) -> Line:
    """The floor's seconds at the measured rate of matrix products, over ours."""
    least = sum(operations(shape, [row.ids for row in rows], work.moved) for rows in work.encoded.values())
    share = ratio(plan.part, f"{plan.title}: share of the floor", per_operation.times(100 * least), fast,
                  f"{least / 1e9:.0f} Gflop in whole blocks, shared beginnings once; products run at "
                  f"{1e-9 / per_operation.median:.0f} Gflop/s")  # fmt: skip
    share = replace(share, unit="%")
    return share.aims("at least", 100 * plan.floor) if plan.floor else share


def in_bfloat16(spec: str, work: Work, plan: Plan, rounds: int) -> list[Line]:
    """The same sweep with the model in bfloat16: how much faster, and how far the effects move."""
    device = str(work.site.model.device)
    short = Work(
        Site(load_model(spec, dtype="bfloat16", device=device), work.site.layer),
        work.tasks, work.vectors, work.alphas, work.spread,
    )  # fmt: skip
    ours(short.part(len(work.tasks), 10_000, 1, 1))
    timings, propensities = interleaved(
        {"float32": lambda: ours(work), "bfloat16": lambda: ours(short)}, rounds
    )
    zero = work.alphas.index(0.0)
    full, rounded = (_effects(propensities[name], zero) for name in ("float32", "bfloat16"))
    error = float((full - rounded).square().mean().sqrt())
    size = float(full.square().mean().sqrt())
    note = f"rms error {error:.3f} on effects of rms {size:.2f} logits"
    return [
        ratio(
            plan.part, f"{plan.title}: bfloat16 over float32", timings["float32"], timings["bfloat16"], note
        ),
        Line(plan.part, f"{plan.title}: rms error of bfloat16 on effects", 100 * error / size, "%"),
    ]


def _effects(propensities: Found, zero: int) -> Tensor:
    """m - m(alpha 0) of every cell."""
    return torch.cat([(values - values[..., zero : zero + 1]).flatten() for values in propensities.values()])


def measure(settings: Settings) -> list[Line]:
    """The embedded L at its suite's layer, on its suite's tasks."""
    suite = find_suite("nano")
    pair = suite.pairs[0]
    site = embedded_pair(settings.device)[1]
    tasks = {task.name: task.choices for task in suite.tasks_of(pair) if task.card.kind == "choice"}
    alphas = (*suite.alphas, *suite.over_steering)
    if settings.quick:
        work = work_on(site, {"number": tasks["number"]}, 8, 2, (-0.5, 0.0, 0.5))
        return compare(work, Plan("sweep", "embedded L", {}, dict.fromkeys(NAMES, (1, 8, 2, 2)), 1, 60))
    work = work_on(site, tasks, 48, 12, alphas)
    goals = {"one by one": 40.0, "batched": 6.0, "lm-eval": 15.0}
    shares = {"one by one": (10, 4, 2, 8), "batched": (10, 48, 2, 4), "last only": (10, 48, 2, 4),
              "lm-eval": (2, 48, 2, 4)}  # fmt: skip
    plan = Plan("sweep", "embedded L", goals, shares, 3, 40)
    return compare(work, plan) + in_bfloat16(pair.target, work, plan, 2)
