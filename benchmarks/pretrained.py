"""The sweep on a pretrained model: SmolLM2-135M half-way up, on everyday tasks and on longer prompts."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.models import smollm2
from benchmarks.record import Line, Settings
from benchmarks.sweep import Plan, compare, in_bfloat16, work_on
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site

TASKS = ("everyday-sentiment", "everyday-tense", "everyday-dogs")
ALPHAS = (-0.5, -0.25, 0.0, 0.25, 0.5)
GOALS = {"one by one": 8.0, "batched": 3.0}
BEFORE = 9  # prompts in front of a long one
LONG = 8  # of them
SHORT = 16  # prompts of each task


def longer(prompts: Sequence[ChoicePrompt], before: int) -> list[ChoicePrompt]:
    """Each prompt with `before` others in front of it, from a place of its own on: little is shared."""
    texts = [row.prompt for row in prompts]
    longer = []
    for i, row in enumerate(prompts):
        others = [texts[(i + 1 + step) % len(texts)] for step in range(before)]
        longer.append(row.model_copy(update={"prompt": "\n".join([*others, row.prompt])}))
    return longer


def measure(settings: Settings) -> list[Line]:
    """The comparison on short prompts, bfloat16, and that on long prompts, which share little."""
    spec = smollm2(settings)
    model = load_model(spec, device=settings.device)
    site = Site(model, model.n_layers // 2)
    tasks = {name: find_task(name).choices for name in TASKS}
    if settings.quick:
        work = work_on(site, {TASKS[0]: tasks[TASKS[0]]}, 4, 1, (0.0, 0.5))
        return compare(work, Plan("pretrained", "SmolLM2-135M", {}, {"batched": (1, 2, 1, 1)}, 1, 60))
    work = work_on(site, tasks, SHORT, 4, ALPHAS)
    shares = {"one by one": (3, 2, 1, 4), "batched": (3, SHORT, 1, 4), "last only": (3, SHORT, 1, 4),
              "lm-eval": (1, SHORT, 1, 2)}  # fmt: skip
    plan = Plan("pretrained", "SmolLM2-135M", GOALS, shares, 2, 30)
    lines = compare(work, plan) + in_bfloat16(spec, work, plan, 1)
    work = work_on(site, {TASKS[0]: longer(tasks[TASKS[0]], BEFORE)}, LONG, 3, ALPHAS)
    shares = {"one by one": (1, 2, 1, 4), "batched": (1, LONG, 1, 4), "last only": (1, LONG, 1, 4)}
    lengths = [len(row.ids) for rows in work.encoded.values() for row in rows]
    title = f"SmolLM2-135M, {sum(lengths) / len(lengths):.0f} tokens a prompt"
    return lines + compare(work, Plan("pretrained", title, GOALS, shares, 2, 30))
