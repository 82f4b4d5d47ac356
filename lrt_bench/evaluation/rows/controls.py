"""The rows that know no map, or a broken one: what every mapping is compared with."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from lrt_bench.data.tasks import ChoiceTask, VectorTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors, both_ways, half_vectors, native_vectors
from lrt_bench.evaluation.rows.base import Row
from lrt_bench.evaluation.rows.carried import transferred
from lrt_bench.mappings import FixedLinear, digest_of
from lrt_bench.mappings.base import Spectrum
from lrt_bench.mappings.ridge import Ridge


class Native(Row):
    """The target's own vector: what transfer is compared with."""

    over_steered = True

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return native_vectors({task.name: bench.inputs.target_states(task) for task in tasks})

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the target's own vectors from the half that a prompt's group is not scored on."""
        assert bench.behaviour is not None
        return bench.behaviour.own_halves(task)[None]


class NativeSplit(Row):
    """The target's vectors from two disjoint halves of the prompts: the ceiling."""

    over_steered = True

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return half_vectors({task.name: bench.inputs.target_states(task) for task in tasks})

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the target's own vectors from the half that a prompt's group is not scored on."""
        assert bench.behaviour is not None
        return bench.behaviour.own_halves(task)[None]


class Nothing(Row):
    """The zero vector."""

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return {task.name: torch.zeros(1, bench.target.width) for task in tasks}


class RandomDirections(Row):
    """Directions drawn uniformly, each in both senses: the luck of a direction's sign cancels."""

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return both_ways(bench.random_directions(), tasks)

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the directions that chance is measured by, each in one sense: [directions, groups, d].

        Behaviour has no sign that would have to cancel: a direction's opposite is one more draw.
        """
        assert bench.behaviour is not None
        return bench.behaviour.chance


class Shuffled(Row):
    """The same fit on states paired at random, several shuffles: what a map owes to the pairing.

    Its strength is the one that ridge chooses on true pairs. Every draw of documents is shuffled.
    """

    @property
    def digest(self) -> str:
        """Hash of the code behind the row."""
        return digest_of(Ridge)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        began = time.perf_counter()
        for shuffle in range(max(bench.suite.shuffles, len(bench.ridges))):
            moments = bench.fit_states(shuffle).shuffled(bench.seed + shuffle)
            weight = Spectrum(moments).weight(bench.ridges[shuffle % len(bench.ridges)].strength_)
            self.mappings.append(FixedLinear(weight, moments.mean_y - weight @ moments.mean_x))
        self.fit_seconds = time.perf_counter() - began
        return transferred(bench, tasks, self.mappings)


class OtherConcept(Row):
    """Transferred vectors of the next two other concepts in the list of choice tasks, by ridge.

    Without another concept it steers with nothing.
    """

    OTHERS = 2

    @property
    def digest(self) -> str:
        """Hash of the code behind the row."""
        return digest_of(Ridge)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        choices = bench.choice_sweep.tasks
        own = transferred(bench, choices, list(bench.ridges))
        nothing = torch.zeros(1, bench.target.width)
        vectors_of = {}
        for task in tasks:
            start = choices.index(task) + 1 if isinstance(task, ChoiceTask) and task in choices else 0
            order = [*choices[start:], *choices[:start]]
            others = [own[other.name] for other in order if other.card.concept != task.card.concept]
            vectors_of[task.name] = torch.cat(others[: self.OTHERS]) if others else nothing
        return vectors_of


class Readout(Row):
    """The unembedding difference of the choice words: how much is a direct logit readout."""

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        vectors_of = {}
        for task in tasks:
            encoded = bench.choice_sweep.of(task).encoded if isinstance(task, ChoiceTask) else []
            tokens = torch.tensor([[row.positive, row.negative] for row in encoded], dtype=torch.long)
            rows = bench.target.model.unembedding(tokens.flatten()) if len(tokens) else None
            vectors_of[task.name] = torch.zeros(1, bench.target.width)
            if rows is not None:
                each = rows[::2] - rows[1::2]
                mean = each.mean(0)
                # balanced letters cancel: what rounding leaves of them is no direction
                if mean.norm() > 1e-4 * each.norm(dim=1).mean():
                    vectors_of[task.name] = mean[None]
        return vectors_of

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the readout through the final norm's gain, which `vectors` leave out."""
        assert bench.behaviour is not None
        readout = bench.behaviour.of(task).readout
        return readout.expand(1, bench.behaviour.groups, -1)


class Unembedding(Row):
    """The two unembeddings alone as a map: what carrying output directions would do, without a corpus.

    Where there is no such map (`steering.readout.unembedding_map` says where) it steers with nothing.
    """

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        weight = bench.inputs.unembedding_map
        if weight is None:
            return {task.name: torch.zeros(1, bench.target.width) for task in tasks}
        source = native_vectors({task.name: bench.inputs.source_states(task) for task in tasks})
        return {name: vectors @ weight.T for name, vectors in source.items()}

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the source's own vectors from half of a task's pairs, carried by the map."""
        assert bench.behaviour is not None
        carried = bench.behaviour.by_unembeddings(task)
        return super().half_vectors(bench, task, vectors) if carried is None else carried[None]


def controls() -> list[Row]:
    """Return the control rows; the first three are what the others are compared with."""
    return [
        Native("native", "the target's own vector"),
        NativeSplit("native-split", "own vectors of two halves of the prompts"),
        RandomDirections("random", "random directions, each both ways"),
        Nothing("none", "no steering"),
        Shuffled("shuffled", "A v, fitted on states paired at random"),
        OtherConcept("other-concept", "A v of other concepts, by ridge"),
        Readout("readout", "unembedding difference of the choice words"),
        Unembedding(
            "unembedding", "U v, a map of the two unembeddings alone, over the tokens that both have"
        ),
    ]
