"""Train the embedded family: ``python -m scripts.nano.train [S M ...]``.

Next-token prediction on the seeded grammar, Muon on the blocks' matrices and AdamW on the rest, a
cosine schedule that ends at a count of tokens (never of minutes). A checkpoint is written every few
hundred steps; the same command goes on from it. The weights land in lrt_bench/nano/weights/NAME as
a Hugging Face folder with 16-bit safetensors, beside the tokenizer and the validation curve.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.nano.family import (
    BOS,
    CONTEXT,
    EOS,
    FAMILY,
    TOKENIZER_STREAM,
    VALIDATION_STREAM,
    VOCABULARY,
    WEIGHTS,
    Size,
)
from lrt_bench.nano.grammar import documents

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

VALIDATION_ROWS = 256
CHECKPOINT_EVERY = 500
Documents = Callable[[int], Iterator[str]]  # of the stream that a number names, without end
VALIDATE_EVERY = 250


def train_tokenizer(folder: Path = WEIGHTS / "tokenizer") -> PreTrainedTokenizerFast:
    """Return the family's byte-level BPE, trained on its own stream; read back if it is there already."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if (folder / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents(TOKENIZER_STREAM, 40_000), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS)
    fast.save_pretrained(folder)
    return fast


def rows(
    tokenizer: PreTrainedTokenizerFast, stream: int, written: Documents = documents
) -> Iterator[list[int]]:
    """Rows of CONTEXT ids: BOS, then whole documents of `stream` with EOS between, cut at the end."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    source = written(stream)
    row = [bos]
    while True:
        block = [next(source) for _ in range(1024)]
        for ids in tokenizer(block, add_special_tokens=False)["input_ids"]:
            row += [*ids, eos]
            if len(row) >= CONTEXT:
                yield row[:CONTEXT]
                row = [bos]


def build(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained member of the family, initialised from its seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(size.seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // 32,
        num_key_value_heads=size.width // 32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def optimizers(model: LlamaForCausalLM, size: Size) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for embeddings and gains."""
    import torch

    inner = [p for p in model.model.layers.parameters() if p.ndim == 2]
    ids = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in ids]
    return [
        torch.optim.Muon(inner, lr=size.muon_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(rest, lr=size.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(done: float) -> float:
    """Share of the full learning rate at `done` in [0, 1] of the tokens: short warm-up, then cosine to 2%."""
    warm = min(1.0, done / 0.01) if done < 0.01 else 1.0
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def cross_entropy(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy, in nats a token; bf16 products on a GPU, float32 on a CPU.

    On a CPU bf16 was half as fast at these widths.
    """
    import torch

    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=batch.is_cuda):
        logits = model(batch[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


class Run:
    """One member's training: its state, and how to save it, resume it and step it.

    written : what it reads; the public grammar by default.
    """

    def __init__(self, size: Size, work: Path, device: str, written: Documents = documents) -> None:
        self.size = size
        self.device = device
        self.written = written
        self.checkpoint = work / f"{size.name}.pt"
        self.tokenizer = train_tokenizer()
        self.model = build(size, self.tokenizer).to(device)
        self.optimizers = optimizers(self.model, size)
        self.rates = [group["lr"] for opt in self.optimizers for group in opt.param_groups]
        self.step = 0
        self.curve: list[dict[str, float]] = []
        held_out = rows(self.tokenizer, VALIDATION_STREAM, written)
        self.held_out = self._tensor([next(held_out) for _ in range(VALIDATION_ROWS)])

    def _tensor(self, block: list[list[int]]) -> torch.Tensor:
        import torch

        return torch.tensor(block, device=self.device)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return math.ceil(self.size.tokens / (self.size.batch * CONTEXT))

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one."""
        import torch

        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.curve = state["step"], state["curve"]

    def save(self) -> None:
        """Write the checkpoint, whole."""
        import torch

        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "curve": self.curve,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.checkpoint)

    def validate(self) -> None:
        """Add the loss on held-out text to the curve."""
        import torch

        with torch.inference_mode():
            loss = cross_entropy(self.model, self.held_out).item()
        tokens = self.step * self.size.batch * CONTEXT
        self.curve.append({"tokens": tokens, "validation_loss": round(loss, 4)})

    def train_step(self, batch: torch.Tensor) -> None:
        """Take one optimizer step on a batch of token ids."""
        factor = schedule(self.step / self.steps)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * factor
        cross_entropy(self.model, batch).backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def batches(self) -> Iterator[torch.Tensor]:
        """Return the rest of the training stream; what a resumed run has read already is skipped."""
        stream = rows(self.tokenizer, self.size.training_stream, self.written)
        for _ in range(self.step * self.size.batch):
            next(stream)
        while self.step < self.steps:
            yield self._tensor([next(stream) for _ in range(self.size.batch)])

    def export(self, folder: Path | None = None) -> None:
        """Write the 16-bit weights, the tokenizer and the curve; then drop the checkpoint."""
        import torch

        folder = folder or self.size.folder
        self.model.to(torch.float16).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        parameters = sum(p.numel() for p in self.model.parameters())
        record = {
            "name": self.size.name,
            "seed": self.size.seed,
            "parameters": parameters,
            "tokens": self.step * self.size.batch * CONTEXT,
            "curve": self.curve,
        }
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
        self.checkpoint.unlink(missing_ok=True)


def train(size: Size, work: Path, device: str, compiled: bool = False) -> None:
    """Train one member to its count of tokens, with a progress bar, from its checkpoint if there is one."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    run = Run(size, work, device)
    run.resume()
    if compiled:
        run.model.compile()
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task(size.name, total=run.steps, completed=run.step)
        for batch in run.batches():
            if run.step % VALIDATE_EVERY == 0:
                run.validate()
                last = run.curve[-1]["validation_loss"]
                progress.update(bar, description=f"{size.name} loss {last:.3f}")
            run.train_step(batch)
            if run.step % CHECKPOINT_EVERY == 0:
                run.save()
            progress.update(bar, completed=run.step)
        run.validate()
    run.export()
    click.echo(f"{size.name}: validation loss {run.curve[-1]['validation_loss']} -> {size.folder}")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAMILY)))
@click.option("--work", type=click.Path(path_type=Path), default=Path(".training"), help="Checkpoints.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=int, default=None, help="Threads of one process; one each is fastest.")
@click.option(
    "--compile", "compiled", is_flag=True, help="torch.compile: 1.15 times as fast; wants a C compiler."
)
def main(names: tuple[str, ...], work: Path, device: str, threads: int | None, compiled: bool) -> None:
    """Train members of the embedded family (all of them, if none is named)."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    for name in names or FAMILY:
        train(FAMILY[name], work, device, compiled)


if __name__ == "__main__":
    main()
