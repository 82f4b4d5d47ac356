"""The same sweep by other means: what people run today, on the same token ids, vectors and strengths.

- one by one: steering-bench's procedure (Tan et al. 2024; its `Pipeline.logprobs`, `evaluate_propensities`)
  with the steering-vectors package: for each prompt and alpha two forwards of batch 1, one an option, the
  vector hooked in for each, a log-softmax over the whole vocabulary at every token;
- batched: the same package, one hook a (vector, alpha), full forwards of prompts batched by length;
- lm-eval: its own Hugging Face class on the hooked model, a multiple-choice task, one run a (vector, alpha).

Every contender, ours too, runs alpha 0 once and not once a vector.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrt_bench.data.corpus import encode
from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.errors import UserError
from lrt_bench.models.batching import by_length, pad
from lrt_bench.models.sites import Site
from lrt_bench.steering.sweep import Encoded

BATCH = 32  # prompts in one forward of the batched peers

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/{name}.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: choices
doc_to_target: 0
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


@dataclass(frozen=True)
class Work:
    """Tasks of one-token choices to be swept at a site under vectors [v, d] at alphas (0 among them)."""

    site: Site
    tasks: dict[str, tuple[ChoicePrompt, ...]]
    vectors: Tensor
    alphas: tuple[float, ...]
    spread: float

    @property
    def encoded(self) -> dict[str, list[Encoded]]:
        """Every prompt in tokens: a peer's part need not be balanced, as a `Sweep` wants its prompts."""
        return {name: _encoded(self.site, rows) for name, rows in self.tasks.items()}

    @property
    def cells(self) -> int:
        """Propensities that are computed: prompts x (vectors x alphas that move, and unsteered once)."""
        prompts = sum(map(len, self.tasks.values()))
        return prompts * (self.moved + 1)

    @property
    def moved(self) -> int:
        return len(self.vectors) * sum(alpha != 0 for alpha in self.alphas)

    def part(self, tasks: int, prompts: int, vectors: int, alphas: int) -> Work:
        """Some of the work, for those who would be too slow: the first of each; alpha 0 stays among them."""
        steps = [alpha for alpha in self.alphas if alpha][:alphas]
        chosen = tuple(alpha for alpha in self.alphas if alpha == 0 or alpha in steps)
        some = {name: rows[:prompts] for name, rows in list(self.tasks.items())[:tasks]}
        return Work(self.site, some, self.vectors[:vectors], chosen, self.spread)

    def steps(self) -> Iterator[tuple[int, int, Tensor]]:
        """(vector, alpha, what is added): every one that moves, and alpha 0 of the first vector."""
        for v, vector in enumerate(self.vectors):
            for a, alpha in enumerate(self.alphas):
                if alpha or v == 0:
                    yield v, a, vector / vector.norm() * alpha * self.spread


def _encoded(site: Site, rows: Sequence[ChoicePrompt]) -> list[Encoded]:
    texts = [row.prompt + option for row in rows for option in (row.positive, row.negative)]
    wholes = [tokens.ids for tokens in encode(site.model.tokenizer, texts)]
    return [
        Encoded(positive[:-1], positive[-1], negative[-1])
        for positive, negative in zip(wholes[::2], wholes[1::2], strict=True)
    ]


Found = dict[str, Tensor]  # task: propensities [v, prompts, alphas]


def single_tokens(site: Site, rows: Sequence[ChoicePrompt], most: int) -> tuple[ChoicePrompt, ...]:
    """About `most` prompts whose options are one token each, every option positive equally often."""
    kept: dict[str, list[ChoicePrompt]] = {}
    tokenizer = site.model.tokenizer
    for row in rows:
        texts = [row.prompt, row.prompt + row.positive, row.prompt + row.negative]
        bare, positive, negative = (tokens.ids for tokens in encode(tokenizer, texts))
        plain = all(whole[:-1] == bare for whole in (positive, negative))
        if plain and row.instruction is None:
            kept.setdefault(row.positive, []).append(row)
    turns = min([max(1, most // max(1, len(kept))), *map(len, kept.values())])
    return tuple(rows[turn] for turn in range(turns) for rows in kept.values())


def _package() -> Any:
    try:
        import steering_vectors
    except ImportError as error:
        raise UserError("steering-vectors is not installed: `make bench` installs it") from error
    return steering_vectors


@contextlib.contextmanager
def steered(work: Work, offset: Tensor) -> Iterator[Any]:
    """The model's own module, steered by the package at every token."""
    module = work.site.model.module  # type: ignore[attr-defined]
    vector = _package().SteeringVector({work.site.layer - 1: offset.to(work.site.model.device)})
    with vector.apply(module):
        yield module


def _empty(work: Work) -> Found:
    shape = len(work.vectors), len(work.alphas)
    return {name: torch.full((shape[0], len(rows), shape[1]), torch.nan) for name, rows in work.tasks.items()}


def _filled(work: Work, propensities: Found) -> Found:
    """Alpha 0 of the first vector, given to the others."""
    zero = work.alphas.index(0.0)
    for values in propensities.values():
        values[:, :, zero] = values[:1, :, zero]
    return propensities


@torch.inference_mode()
def one_by_one(work: Work) -> Found:
    """steering-bench's procedure; the token ids are handed to it."""
    propensities, device = _empty(work), work.site.model.device
    for name, rows in work.encoded.items():
        for p, row in enumerate(rows):
            for v, a, offset in work.steps():
                scores = []
                for option in (row.positive, row.negative):
                    ids = torch.tensor([[*row.ids, option]], device=device)
                    with steered(work, offset) as module:
                        logprobs = torch.log_softmax(module(input_ids=ids, return_dict=True).logits, dim=-1)
                    chosen = logprobs[:, :-1].gather(2, ids[:, 1:, None])[0, :, 0]
                    scores.append(float(chosen[-1]))
                propensities[name][v, p, a] = scores[0] - scores[1]
    return _filled(work, propensities)


@torch.inference_mode()
def batched(work: Work, last_only: bool = False) -> Found:
    """Full forwards of batches of prompts; `last_only` computes the last position's logits alone."""
    propensities, device = _empty(work), work.site.model.device
    for name, rows in work.encoded.items():
        for batch in by_length([len(row.ids) for row in rows], BATCH):
            chosen = [rows[i] for i in batch]
            ids, mask, last = _padded([row.ids for row in chosen], left=last_only)
            options = torch.tensor([[row.positive, row.negative] for row in chosen])
            extra = {"logits_to_keep": 1} if last_only else {}
            for v, a, offset in work.steps():
                with steered(work, offset) as module:
                    output = module(input_ids=ids.to(device), attention_mask=mask.to(device), **extra)
                logits = output.logits[:, -1] if last_only else output.logits[range(len(batch)), last]
                pair = logits.float().cpu().gather(1, options)
                propensities[name][v, batch, a] = pair[:, 0] - pair[:, 1]
    return _filled(work, propensities)


def _padded(rows: list[list[int]], left: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Ids [b, t] padded with 0, their mask, the place of each row's last token."""
    lengths = torch.tensor([len(row) for row in rows])
    if not left:
        ids = pad(rows)
        return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long(), lengths - 1
    ids = pad([row[::-1] for row in rows]).flip(1)
    return ids, (torch.arange(ids.shape[1]).flip(0) < lengths[:, None]).long(), lengths * 0 - 1


@contextlib.contextmanager
def lm_eval_runner(work: Work) -> Iterator[Callable[[], Found]]:
    """A call that runs lm-eval for every step; tasks are read, and its model made, before."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, zero = work.site.model, torch.zeros(work.site.width)
    begin = model.tokenizer.bos_token or ""  # written out: not every tokenizer adds it when asked to

    def run() -> Found:
        propensities = _empty(work)
        for v, a, offset in work.steps():
            with steered(work, offset), _silent():
                samples = evaluate(lm, loaded, log_samples=True, bootstrap_iters=0)["samples"]
            for name in work.tasks:
                for sample in samples[name]:
                    (positive, _), (negative, _) = (answer[0] for answer in sample["resps"])
                    propensities[name][v, sample["doc_id"], a] = positive - negative
        return _filled(work, propensities)

    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder, _silent():
        for name, rows in work.tasks.items():
            records = [{"prompt": begin + r.prompt, "choices": [r.positive, r.negative]} for r in rows]
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (Path(folder) / f"{name}.jsonl").write_text(lines)
            (Path(folder) / f"{name}.yaml").write_text(TASK.format(name=name, folder=folder))
        loaded = TaskManager(include_path=folder, include_defaults=False).load(list(work.tasks))
        for task in loaded["tasks"].values():
            task.set_fewshot_seed(1234)
        with steered(work, zero) as module:
            lm = HFLM(pretrained=module, tokenizer=model.tokenizer, batch_size=BATCH, add_bos_token=False)
        yield run


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """lm-eval's notices and bars stay off the terminal."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
