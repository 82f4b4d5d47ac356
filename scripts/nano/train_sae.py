"""Train the embedded family's sparse autoencoders: ``python -m scripts.nano.train_sae [S:3 ...]``.

Top-k autoencoders (Gao et al. 2024) with their auxiliary loss, which lets features that have not been active
for a while explain what the others leave. States are read from a stream of the seeded grammar of its own, BOS
left out, and centred and scaled to unit variance a dimension on average; the scale is folded back, so that
rows of the decoder have norm 1 and coefficients are in the unit of the states. Training stops at a count of
tokens. The weights land in lrt_bench/nano/weights/sae-NAME-LAYER as SAELens writes them, in 16 bits; SAE.md
beside them is measured on text that no autoencoder was trained on.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrt_bench.nano.family import SAE_STREAM, VALIDATION_STREAM, WEIGHTS
from lrt_bench.nano.grammar import documents

if TYPE_CHECKING:
    import torch

    from lrt_bench.models.autoencoders.sae import SparseAutoencoder
    from lrt_bench.models.sites import Site

BATCH = 1024
DEAD_AFTER = 200  # steps without being active
AUXILIARY_K, AUXILIARY_WEIGHT = 32, 1 / 32
HELD_OUT_DOCUMENTS = 800


@dataclass(frozen=True)
class Plan:
    """One autoencoder: which states it reads, how many features, how many active, from how many tokens."""

    member: str
    layer: int
    features: int = 768
    top_k: int = 32
    states: int = 400_000
    tokens: int = 4_000_000
    rate: float = 1e-3
    seed: int = 0

    @property
    def name(self) -> str:
        """Member and layer, as `load_sae` takes them after nano/."""
        return f"{self.member}:{self.layer}"


PLANS = {plan.name: plan for plan in (Plan("S", 2), Plan("S", 3), Plan("L", 3), Plan("L", 5))}


def read_states(site: Site, stream: int, count: int) -> torch.Tensor:
    """States [count, d] of the tokens of a stream's documents, BOS left out, float32."""
    import torch

    from lrt_bench.data.corpus import encode
    from lrt_bench.models.batching import by_length, pad

    source, parts, tokens_read = documents(stream), [], 0
    while tokens_read < count:
        block = encode(site.model.tokenizer, list(itertools.islice(source, 512)))
        texts = [tokens.cut(site.model.context) for tokens in block]
        for batch in by_length([len(text.ids) for text in texts], 64):
            states = site.read(pad([texts[i].ids for i in batch]))
            parts += [
                states[row, torch.from_numpy(texts[i].kept.nonzero()[0])] for row, i in enumerate(batch)
            ]
        tokens_read = sum(map(len, parts))
    return torch.cat(parts)[:count]


class Trainer:
    """The weights of one autoencoder in training, on centred and scaled states."""

    def __init__(self, plan: Plan, d: int) -> None:
        import torch

        self.plan = plan
        generator = torch.Generator().manual_seed(plan.seed)
        w_dec = torch.randn(plan.features, d, generator=generator)
        self.w_dec = (w_dec / w_dec.norm(dim=1, keepdim=True)).requires_grad_()
        self.w_enc = self.w_dec.detach().T.clone().requires_grad_()
        self.b_enc = torch.zeros(plan.features, requires_grad=True)
        self.b_dec = torch.zeros(d, requires_grad=True)
        self.silent = torch.zeros(plan.features, dtype=torch.long)
        self.parameters = [self.w_enc, self.b_enc, self.w_dec, self.b_dec]
        self.optimizer = torch.optim.Adam(self.parameters, lr=plan.rate)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Unexplained share of the batch, and the dead features' share of explaining it."""
        import torch

        pre = (x - self.b_dec) @ self.w_enc + self.b_enc
        values, index = pre.topk(self.plan.top_k, dim=1)
        active = torch.zeros_like(pre).scatter(1, index, values.relu())
        residual = x - self.b_dec - active @ self.w_dec
        loss = residual.square().mean()
        self.silent += 1
        self.silent[(active.detach() > 0).any(0)] = 0
        dead = (self.silent > DEAD_AFTER).nonzero()[:, 0]
        if len(dead):
            values, index = pre[:, dead].topk(min(AUXILIARY_K, len(dead)), dim=1)
            helpers = torch.zeros(len(x), len(dead)).scatter(1, index, values.relu())
            left = residual.detach() - helpers @ self.w_dec[dead]
            loss = loss + AUXILIARY_WEIGHT * left.square().mean()
        return loss

    def step(self, x: torch.Tensor, rate: float) -> None:
        """Take one optimizer step on states [n, d], at a share `rate` of the plan's learning rate."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate * rate
        self.loss(x).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.w_dec /= self.w_dec.norm(dim=1, keepdim=True)


def schedule(done: float) -> float:
    """Share of the full learning rate: a short warm-up, level, then linear to 0 over the last third."""
    return min(1.0, done / 0.02 + 0.01, 3 * (1 - done))


def train(plan: Plan, site: Site) -> SparseAutoencoder:
    """Train one autoencoder to its count of tokens."""
    import torch
    from rich.progress import track

    from lrt_bench.models.autoencoders.sae import SparseAutoencoder

    x = read_states(site, SAE_STREAM, plan.states)
    mean = x.mean(0)
    scale = float((x - mean).square().mean().sqrt())
    x = (x - mean) / scale
    trainer = Trainer(plan, x.shape[1])
    generator = torch.Generator().manual_seed(plan.seed)
    steps = math.ceil(plan.tokens / BATCH)
    order = torch.empty(0, dtype=torch.long)
    for step in track(range(steps), plan.name):
        if len(order) < BATCH:
            order = torch.randperm(len(x), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        trainer.step(x[rows], schedule(step / steps))
    w_enc, b_enc, w_dec, b_dec = (tensor.detach() for tensor in trainer.parameters)
    return SparseAutoencoder(
        f"nano/{plan.name}", w_enc, b_enc * scale, w_dec, b_dec * scale + mean,
        top_k=plan.top_k, apply_b_dec_to_input=True,
    )  # fmt: skip


def export(sae: SparseAutoencoder, folder: Path, dtype: torch.dtype, **metadata: object) -> None:
    """Write it as SAELens does; `metadata` says which model and layer it reads."""
    from safetensors.torch import save

    from lrt_bench.files.whole import write_whole
    from lrt_bench.models.autoencoders.sae_files import CONFIG, WEIGHT_FILE

    config: dict[str, object] = {
        "architecture": sae.architecture,
        "d_in": sae.d,
        "d_sae": sae.width,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    }
    if sae.top_k:
        config |= {"k": sae.top_k, "rescale_acts_by_decoder_norm": False}
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in sae.tensors().items()}
    write_whole(folder / WEIGHT_FILE, save(tensors))
    write_whole(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())


def measure(plan: Plan, site: Site) -> dict[str, float]:
    """Return what the shipped weights reach on held-out text."""
    from lrt_bench.data.corpus import PairedTokens, encode
    from lrt_bench.evaluation.fidelity import Stitching, state_fidelity
    from lrt_bench.models.autoencoders.sae_files import load_sae

    sae = load_sae(f"nano/{plan.name}")
    states = read_states(site, VALIDATION_STREAM, 60_000)
    f = sae.encode(states)
    fidelity = state_fidelity(sae.decode(f), states)
    source = documents(VALIDATION_STREAM)
    texts = []
    for whole in encode(site.model.tokenizer, [next(source) for _ in range(HELD_OUT_DOCUMENTS)]):
        tokens = whole.cut(site.model.context)
        positions = tokens.kept.nonzero()[0]
        texts.append(PairedTokens("validation", tokens.ids, tokens.ids, positions, positions))
    added, _ = Stitching(site, site, texts)(lambda h: sae.decode(sae.encode(h)))
    return {
        "L0": float((f > 0).sum(1).double().mean()),
        "explained": 1 - fidelity.fvu,
        "explained_without_top8": 1 - fidelity.fvu_without_top8,
        "dead": float((~(f > 0).any(0)).double().mean()),
        "added": added,
    }


HEAD = """# Sparse autoencoders of the embedded family

Top-k autoencoders in SAELens's layout, 16-bit, trained by `python -m scripts.nano.train_sae` and measured
on 60,000 tokens of other text. `explained` is the share of the states' variance that the reconstruction
keeps; `dead` the share of features that are never active there; `added` the cross-entropy, in nats a token,
that the model gains when it runs on from the reconstruction.

| name | width | features | tokens | L0 | explained | without the widest eight | dead | added |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def write_card() -> None:
    """Measure every autoencoder that ships and write SAE.md."""
    from lrt_bench.files.whole import write_whole
    from lrt_bench.models.loading import Models
    from lrt_bench.models.sites import Site

    models, lines = Models(), []
    for plan in PLANS.values():
        site = Site(models.get(f"nano/{plan.member}"), plan.layer)
        measured = measure(plan, site)
        lines.append(
            f"| nano/{plan.name} | {site.width} | {plan.features} | {plan.tokens:,} | {measured['L0']:.1f} | "
            f"{measured['explained']:.3f} | {measured['explained_without_top8']:.3f} | "
            f"{measured['dead']:.1%} | {measured['added']:.3f} |\n"
        )
    write_whole(WEIGHTS / "SAE.md", (HEAD + "".join(lines)).encode())


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(PLANS)))
@click.option("--card-only", is_flag=True, help="Measure what is there and write SAE.md; train nothing.")
def main(names: tuple[str, ...], card_only: bool) -> None:
    """Train sparse autoencoders of the embedded family (all of them, if none is named)."""
    import torch

    from lrt_bench.models.autoencoders.sae_files import embedded_folder
    from lrt_bench.models.loading import load_model
    from lrt_bench.models.sites import Site

    torch.set_num_threads(1)
    for name in () if card_only else names or PLANS:
        plan = PLANS[name]
        sae = train(plan, Site(load_model(f"nano/{plan.member}"), plan.layer))
        export(
            sae, embedded_folder(f"nano/{plan.member}", plan.layer), torch.float16,
            model_name=f"nano/{plan.member}", hook_name=f"blocks.{plan.layer - 1}.hook_resid_post",
            tokens=plan.tokens, seed=plan.seed,
        )  # fmt: skip
    write_card()


if __name__ == "__main__":
    main()
