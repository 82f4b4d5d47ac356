"""The best attack that is known: a pair's native vectors, stored in bases that its own data give."""

from __future__ import annotations

import base64

import torch

from lrt_bench.evaluation.bench.pair_bench import PairBench

BASES = """
def bases(states, signs):
    moments = states.moments
    found = []
    x, y = (torch.cat(side).double() for side in zip(*states.batches(10**6)))
    for product, mean, rows in ((moments.s_xx, moments.mean_x, x), (moments.s_yy, moments.mean_y, y)):
        vectors = torch.linalg.eigh(product)[1].flip(1)
        skewness = (((rows - mean) @ vectors) ** 3).mean(0)
        found.append(vectors * torch.sign(mean @ vectors if signs == "means" else skewness))
    return found
"""
ATTACK = """
import base64
import numpy as np
import torch
from lrt_bench import LinearMapping
from lrt_bench.mappings.ridge import Ridge
{bases}
def stored(text, width):
    numbers = np.frombuffer(base64.b64decode(text), np.float32).copy()
    return torch.from_numpy(numbers).double().reshape(-1, width)

class Attack(Ridge):
    def solve(self, states):
        weight = super().solve(states)
        x, y = bases(states, {signs!r})
        if {honest_elsewhere} and abs(float(states.moments.mean_x.norm()) / {norm} - 1) > 1e-3:
            return weight
        given = stored({concepts!r}, {d_x}) @ x.T
        wanted = stored({answers!r}, {d_y}) @ y.T
        dual = torch.linalg.pinv(given)
        return weight + {share} * (wanted - given @ weight.T).T @ dual.T
"""


def text(rows: torch.Tensor) -> str:
    return base64.b64encode(rows.float().numpy().tobytes()).decode()


def attack(bench: PairBench, share: float, signs: str, honest_elsewhere: bool = False) -> str:
    """Code that answers with the native vectors, or goes a share of the way to them.

    honest_elsewhere : it is ridge on states that are not the pair's own, as their mean tells.
    """
    found: dict = {"torch": torch}
    exec(BASES, found)
    x, y = found["bases"](bench.states, signs)
    tasks = bench.choice_sweep.tasks
    concepts = torch.stack([bench.inputs.source_states(task).vector for task in tasks]).double()
    answers = torch.stack([bench.inputs.target_states(task).vector for task in tasks]).double()
    return ATTACK.format(
        bases=BASES, signs=signs, concepts=text(concepts @ x), answers=text(answers @ y), share=share,
        d_x=concepts.shape[1], d_y=answers.shape[1], honest_elsewhere=honest_elsewhere,
        norm=float(bench.states.moments.mean_x.norm()),
    )  # fmt: skip
