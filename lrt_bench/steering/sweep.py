"""Interventions on the residual stream, and the sweep over prompts x vectors x alphas.

The layers below the target layer run once per distinct beginning of a prompt; what lies above runs once per
(beginning, vector, alpha), in a batch grown at the layer; only the choice tokens' logits are computed.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrt_bench.data.chat import with_instruction
from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.errors import UserError
from lrt_bench.files.cache.recall import recall
from lrt_bench.models.base import Frame
from lrt_bench.models.batching import by_length, pad
from lrt_bench.models.checks.probes import check_finite, tolerance
from lrt_bench.models.memory import halving, out_of_memory
from lrt_bench.models.model_code import ModelError
from lrt_bench.models.sites import Site, computed_by
from lrt_bench.models.texts import token_ids
from lrt_bench.steering.prefix_tree import PrefixTree, forest_states, prefix_trees, tree_frame
from lrt_bench.steering.resume import Steered

LOG = logging.getLogger("lrt_bench")
TREE_NODES = 96  # of one prefix tree: more share more, but every node is compared with every other
MIN_NORM, MAX_NORM = 1e-12, 1e18  # lengths whose squares float32 holds, with digits to spare
CHECKED = 8  # prompts on which a tree is compared with a plain batch


def unit(vector: Tensor) -> Tensor:
    """Return v / ||v|| along the last axis; a zero vector stays zero and so steers nothing.

    Where the dtype does not hold the length's square, the largest entry is divided out first.
    """
    norm = vector.norm(dim=-1, keepdim=True)
    if bool(((norm > MIN_NORM) & (norm < MAX_NORM)).all()):
        return vector / norm
    tiny = torch.finfo(vector.dtype).tiny
    scaled = vector / vector.abs().amax(-1, keepdim=True).clamp_min(tiny)
    norms = scaled.norm(dim=-1, keepdim=True)
    exact = torch.where(norms > 0, scaled / norms.clamp_min(tiny), 0.0)
    return torch.where((norm > MIN_NORM) & (norm < MAX_NORM), vector / norm.clamp_min(tiny), exact)


@dataclass(frozen=True)
class Interventions:
    """Changes of the residual stream at every token, one a row of a batch.

    offsets [v, d] : what is added at the site; zeros where nothing is.
    directions [v, d] : unit vectors whose component is removed; zeros where none is.
    everywhere [v] : whether it is removed after every block (Arditi et al. 2024), or at the site alone.
    """

    offsets: Tensor
    directions: Tensor
    everywhere: Tensor

    @classmethod
    def adding(cls, offsets: Tensor) -> Interventions:
        """Apply h' = h + offset at the site, for each of offsets [v, d]."""
        never = torch.zeros(len(offsets), dtype=torch.bool)
        return cls(offsets.float(), torch.zeros_like(offsets, dtype=torch.float32), never)

    @classmethod
    def ablating(cls, vectors: Tensor, *, everywhere: bool) -> Interventions:
        """Apply h' = h - (h . d) d with d = v / ||v||, for each of vectors [v, d]; 0 changes nothing."""
        directions = unit(vectors.float())
        return cls(torch.zeros_like(directions), directions, torch.full((len(vectors),), everywhere))

    @classmethod
    def joined(cls, parts: Sequence[Interventions]) -> Interventions:
        """Several lists as one."""
        return cls(
            torch.cat([part.offsets for part in parts]),
            torch.cat([part.directions for part in parts]),
            torch.cat([part.everywhere for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, rows: list[int]) -> Interventions:
        return Interventions(self.offsets[rows], self.directions[rows], self.everywhere[rows])

    def to(self, device: torch.device) -> Interventions:
        """Return the same on a device."""
        return Interventions(*(part.to(device) for part in (self.offsets, self.directions, self.everywhere)))

    def apply(self, states: Tensor, layer: int, site_layer: int) -> Tensor:
        """States [v, t, d] after block `layer` (counted from 1), changed, in their own type."""
        at_site = layer == site_layer
        if not at_site and not bool(self.everywhere.any()):
            return states
        changed = states.float()
        if bool(self.directions.any()):
            removed = self.directions if at_site else self.directions * self.everywhere[:, None]
            along = torch.einsum("vtd,vd->vt", changed, removed)
            changed = changed - along[..., None] * removed[:, None]
        if at_site:
            changed = changed + self.offsets[:, None]
        return changed.to(states.dtype)


@dataclass(frozen=True)
class Encoded:
    """A choice prompt in tokens: its ids and the first token of each option."""

    ids: list[int]
    positive: int
    negative: int


def encode_choices(site: Site, prompts: Sequence[ChoicePrompt]) -> list[Encoded]:
    """Tokenise prompts and the first tokens of their options.

    A prompt is left out where it cannot be scored: its options begin with the same token in this tokenizer,
    or with none, or it is longer than the model reads. As many others are left out as it takes to have either
    option positive equally often again.
    """
    tokenizer = site.model.tokenizer
    texts = [with_instruction(tokenizer, row.instruction, row.prompt) for row in prompts]
    bare = token_ids(site.model, texts, "prompt")
    sides = [
        [tokens.ids for tokens in site.model.encode(wholes)]
        for wholes in (
            [text + row.positive for text, row in zip(texts, prompts, strict=True)],
            [text + row.negative for text, row in zip(texts, prompts, strict=True)],
        )
    ]
    scorable = []
    for row, ids, positive, negative in zip(prompts, bare, *sides, strict=True):
        one = first_token(tokenizer, ids, positive, row.positive)
        other = first_token(tokenizer, ids, negative, row.negative)
        if one is None or other is None or one == other or len(ids) > site.model.context:
            continue
        if max(one, other) >= len(site.model.head.weight):
            raise UserError(
                f"{site.model.name}: an option of {row.prompt[:40]!a} begins with a token beyond the head's "
                f"{len(site.model.head.weight)} rows: call model.resize_token_embeddings(len(tokenizer))"
            )
        scorable.append((row.positive, Encoded(ids, one, other)))
    return _balanced(scorable, len({row.positive for row in prompts}))


def _balanced(rows: list[tuple[str, Encoded]], options: int) -> list[Encoded]:
    """As many rows of each positive option as of the rarest; none where all but one option are lost."""
    counts = Counter(option for option, _ in rows)
    if not counts or (len(counts) == 1 and options > 1):
        return []
    room = dict.fromkeys(counts, min(counts.values()))
    kept = []
    for option, encoded in rows:
        room[option] -= 1
        if room[option] >= 0:
            kept.append(encoded)
    return kept


def first_token(tokenizer: object, prompt: list[int], whole: list[int], option: str) -> int | None:
    """Return the token after the prompt, or the option's own first where the tokenizer merges across.

    None where the tokenizer leaves nothing of the option.
    """
    if whole[: len(prompt)] == prompt and len(whole) > len(prompt):
        return whole[len(prompt)]
    ids: list[int] = tokenizer(option, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return ids[0] if ids else None


@dataclass(frozen=True)
class _Packed:
    """Prompts as they are run: their states [b, t, d] at the site, and the positions [b, q] that are read.

    A batch of prompts has q = 1; a prefix tree is one row (b = 1).
    prompts : the prompt of each token that is read, row by row.
    """

    prompts: list[int]
    steered: Steered
    positions: Tensor


class Sweep:
    """Propensities of choice prompts under steering at a site.

    Prompts that begin alike are run as a prefix tree, where the model's blocks can be run so.

    Parameters
    ----------
    site : the target model and layer.
    prompts : the scored prompts.
    alphas : strengths, in units of `spread`; 0 is swept once, whatever the vectors.
    spread : length of a step of alpha 1.
    batch_size : sequences in one forward of the upper layers.
    """

    def __init__(
        self,
        site: Site,
        prompts: Sequence[ChoicePrompt],
        alphas: Sequence[float],
        spread: float,
        batch_size: int,
    ) -> None:
        self.site = site
        self.steps = torch.tensor(alphas, dtype=torch.float32) * spread
        self.encoded = encode_choices(site, prompts)
        self.batch_size = batch_size
        self._ids = [row.ids for row in self.encoded]
        self._tokens = batch_size * max(map(len, self._ids), default=1)  # in one forward
        self._packed = self._trees() or self._batches(range(len(self._ids)), max(1, batch_size // 8))
        options = [[row.positive, row.negative] for row in self.encoded]
        trees = bool(self._packed) and self._packed[0].steered.frame is not None
        self.baseline = recall(
            "baseline", [*self._parts, options, trees], lambda: {"propensities": self._unsteered()}
        )["propensities"]

    @property
    def _parts(self) -> list[Any]:
        """What the prompts' states depend on."""
        return [computed_by(self.site), self._ids, self.batch_size, TREE_NODES]

    def _unsteered(self) -> Tensor:
        """Propensities of the prompts without steering [prompts]."""
        propensities = torch.empty(len(self.encoded))
        for packed in self._packed:
            propensities[packed.prompts] = self._propensity(packed, torch.zeros(1, self.site.width))
        return propensities

    def _batches(self, prompts: Sequence[int], batch_size: int) -> list[_Packed]:
        """Prompts in padded batches of like length."""

        def packed(places: Sequence[int]) -> _Packed:
            batch = [prompts[place] for place in places]
            states = self.site.model.states(pad([self._ids[i] for i in batch]), [self.site.layer])
            last = torch.tensor([[len(self._ids[i]) - 1] for i in batch])
            return _Packed(batch, Steered(self.site, states[self.site.layer]), last)

        lengths = [len(self._ids[i]) for i in prompts]
        return [
            part
            for batch in by_length(lengths, batch_size, self.site.model)
            for _, part in halving(packed, batch)
        ]

    @torch.inference_mode()
    def _trees(self) -> list[_Packed]:
        """Prompts in prefix trees; none where the model's blocks can't be run on a tree.

        That is not guessed: some prompts' propensities are compared with those of a plain batch.
        """
        model, layer = self.site.model, self.site.layer
        if model.one_length:
            return []
        trees = prefix_trees(self._ids, TREE_NODES)
        frames = [frame for tree in trees if (frame := tree_frame(model, tree)) is not None]
        if len(frames) < len(trees):
            return []
        try:
            read = recall("forest", self._parts, lambda: self._forest(trees, frames))
            states = [read[str(place)].to(model.device) for place in range(len(trees))]
            forest = [
                _Packed(tree.prompts, Steered(self.site, at_nodes[None], frame), tree.last[None])
                for tree, at_nodes, frame in zip(trees, states, frames, strict=True)
            ]
            if forest and layer not in model.tree_agreement:
                agree = recall(
                    "agreement", [*self._parts, self.steps],
                    lambda: {"agree": torch.tensor(self._agree(forest[0]))},
                )["agree"]  # fmt: skip
                model.tree_agreement[layer] = bool(agree)
            return forest if model.tree_agreement.get(layer) else []
        except ModelError as error:
            LOG.info("%s: prompts are run without prefix trees: %s", model.name, error)
            model.tree_agreement[layer] = False
            return []
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            LOG.warning("%s: out of memory with prefix trees: going on with plain batches", model.name)
            return []

    def _forest(self, trees: Sequence[PrefixTree], frames: Sequence[Frame]) -> dict[str, Tensor]:
        """States at every node, by the tree's number."""
        model, layer = self.site.model, self.site.layer
        states = forest_states(model, trees, frames, self._ids, layer, self.batch_size)
        return {str(place): read for place, read in enumerate(states)}

    def _agree(self, tree: _Packed) -> bool:
        """Whether a tree gives its first prompts the logits of plain forwards, steered and not."""
        [plain] = self._batches(tree.prompts[:CHECKED], CHECKED)
        model, layer, states = self.site.model, self.site.layer, plain.steered.states.float()
        steps = torch.tensor([0.0, float(self.steps.abs().max())])
        offsets = steps[:, None] * unit(states[0, 0].cpu())
        wanted = torch.cat([
            self._read(plain.prompts, model.resume_at(moved, layer, plain.positions))
            for moved in (states + offset.to(states.device) for offset in offsets)
        ])  # fmt: skip
        order = [tree.prompts.index(prompt) for prompt in plain.prompts]
        logits = self._logits(tree, offsets).view(2, -1, 2)[:, order].flatten(0, 1)
        return bool((logits - wanted).abs().max() <= tolerance(model.dtype) * wanted.abs().max())

    def _read(self, prompts: Sequence[int], final: Tensor) -> Tensor:
        """Both options' logits from the last block's output where prompts are read, [r, q, d]: [r q, 2]."""
        model = self.site.model
        options = [[self.encoded[i].positive, self.encoded[i].negative] for i in prompts]
        copies = final.shape[0] * final.shape[1] // len(options)
        tokens = torch.tensor(options).repeat(copies, 1)
        return model.head.choice(model.finish(final.flatten(0, 1)[:, None])[:, 0], tokens)

    def _logits(self, packed: _Packed, offsets: Tensor) -> Tensor:
        """Return the options' logits where `packed` is read, under each offset [v, d]: [v b q, 2]."""
        return self._read(packed.prompts, packed.steered.some(offsets, packed.positions))

    def _propensity(self, packed: _Packed, offsets: Tensor) -> Tensor:
        """Return m = logit(positive) - logit(negative), float32, under each offset [v, d]: [v b q]."""
        logits = self._logits(packed, offsets)
        check_finite(self.site.model, logits, "its logits under steering")
        return (logits[:, 0] - logits[:, 1]).cpu()

    def _steered(self, packed: _Packed, offsets: Tensor, chosen: Sequence[int]) -> Tensor:
        """Propensities of some prompts under each chosen row of `offsets`: [chosen x prompts]."""
        return self._propensity(packed, offsets[list(chosen)])

    def run(self, vectors: Tensor, first: int | None = None) -> Tensor:
        """Propensities [v, prompts, alphas] under each vector [v, d], at the `first` alphas or at all.

        Vectors that are not finite are refused.
        """
        if not torch.isfinite(vectors).all():
            raise UserError("a steering vector holds NaN or infinity")
        steps = self.steps[:first]
        propensities = self.baseline[None, :, None].repeat(len(vectors), 1, len(steps))
        mirrored = _mirrored(vectors, steps.tolist())
        moving = [
            (v, a)
            for v in range(len(vectors))
            for a in range(len(steps))
            if float(steps[a]) != 0 and bool(vectors[v].any()) and v not in mirrored
        ]
        if moving:
            directions = unit(vectors.float())
            offsets = torch.stack([directions[v] * steps[a] for v, a in moving])
        for packed in self._packed if moving else ():
            grown = max(1, self._tokens // packed.steered.tokens(packed.positions))
            for start in range(0, len(moving), grown):
                chunk = range(start, min(start + grown, len(moving)))
                for part, m in halving(functools.partial(self._steered, packed, offsets), chunk):
                    for index, values in zip(part, m.split(len(packed.prompts)), strict=True):
                        v, a = moving[index]
                        propensities[v, packed.prompts, a] = values
        for v, (twin, order) in mirrored.items():
            propensities[v] = propensities[twin][:, order]
        return propensities


def _mirrored(vectors: Tensor, steps: list[float]) -> dict[int, tuple[int, list[int]]]:
    """Vectors that are an earlier one turned round: at alpha they act as the earlier one at -alpha.

    {vector: (the earlier one, the alphas' order)}; empty where the grid is not symmetric.
    """
    if sorted(steps) != sorted(-step for step in steps):
        return {}
    order = [steps.index(-step) for step in steps]
    return {
        v: (twin, order)
        for v in range(len(vectors))
        for twin in range(v)
        if vectors[v].any() and torch.equal(vectors[v], -vectors[twin])
    }
