"""Transformers' loader, checked: all weights are loaded, and a folder's own code runs only if allowed."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lrt_bench.errors import UserError, first_line

LOG = logging.getLogger("lrt_bench")
NAMED = 5  # tensors that an error names


@dataclass(frozen=True)
class Checkpoint:
    """A model and its tokenizer as transformers loaded them, and its loading report.

    missing, mismatched : tensors that the checkpoint lacks or has in another shape; transformers drew them at
        random. unexpected : tensors of the checkpoint for which the architecture has no place.
    """

    module: Any
    tokenizer: Any
    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadOptions:
    """How a checkpoint is loaded.

    trust_remote_code : whether code that lies beside the weights may run.
    """

    dtype: str = "float32"
    device: str = "cpu"
    device_map: str | None = None
    trust_remote_code: bool = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notices and bars off the terminal while it loads, then put them back."""
    from transformers.utils import logging as notices

    level, bars = notices.get_verbosity(), notices.is_progress_bar_enabled()
    notices.set_verbosity_error()
    notices.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader draws a bar of its own
            yield
    finally:
        notices.set_verbosity(level)
        if bars:
            notices.enable_progress_bar()


def load_checkpoint(spec: str, source: str, where: dict[str, Any], options: LoadOptions) -> Checkpoint:
    """Load a model and its tokenizer.

    Parameters
    ----------
    spec : what the user called it, for errors.
    source, where : what `from_pretrained` is given: a path or an id, and a revision or a GGUF file's name.

    Raises
    ------
    UserError
        Where transformers cannot load it, or would have to run code of the folder's own.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trusted = {"trust_remote_code": options.trust_remote_code}
    placed = {"device_map": options.device_map} if options.device_map else {}
    dtype = options.dtype if options.dtype == "auto" else getattr(torch, options.dtype)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **where, **trusted)
            module, report = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True,
                **where, **trusted, **placed,
            )  # fmt: skip
            module = module if options.device_map else module.to(options.device)
    except Exception as error:  # whatever a broken folder or an absent Hub makes transformers raise
        if "trust_remote_code" in str(error) and not options.trust_remote_code:
            raise UserError(
                f"{spec}: this model wants code that lies beside its weights: read that code, and give "
                "--trust-remote-code if you trust it"
            ) from error
        raise UserError(f"{spec}: transformers cannot load it: {first_line(error)}") from error
    mismatched = [
        f"{name} (has {list(shapes[0])}, wants {list(shapes[1])})"
        for name, *shapes in report["mismatched_keys"]
    ]
    return Checkpoint(
        module, tokenizer, tuple(sorted(report["missing_keys"])), tuple(sorted(mismatched)),
        tuple(sorted(report["unexpected_keys"])),
    )  # fmt: skip


def check_complete(spec: str, checkpoint: Checkpoint, decoder: Any, blocks: str) -> None:
    """Raise UserError naming the tensors that decide logits and were not loaded.

    What a text does not pass through (a vision tower) is noted in one line.

    Parameters
    ----------
    decoder, blocks : the module that owns the list of decoder blocks, and the list's name there.
    """
    module = checkpoint.module
    names = {id(part): name for name, part in module.named_modules()}
    inner, head = names[id(decoder)], names.get(id(module.get_output_embeddings()), "lm_head")
    not_loaded = [*checkpoint.missing, *checkpoint.mismatched]
    run = _run_by_text(module, [name.partition(" ")[0] for name in not_loaded])
    for problem, listed in (("missing", checkpoint.missing), ("of another shape", checkpoint.mismatched)):
        if lost := [name for name in listed if name.partition(" ")[0] in run]:
            raise UserError(
                f"{spec}: {_listed(lost)}: {problem} in the checkpoint: transformers would draw it at "
                "random: fetch the model again, or mend config.json"
            )
    of_decoder = tuple(f"{prefix}{blocks}." for prefix in {"", f"{inner}." if inner else ""})
    if unused := [name for name in checkpoint.unexpected if name.startswith((*of_decoder, f"{head}."))]:
        raise UserError(
            f"{spec}: {_listed(unused)}: the architecture has no place for it: config.json describes another "
            "model than the checkpoint (its number of layers, its biases); mend it"
        )
    if besides := [*not_loaded, *checkpoint.unexpected]:
        LOG.warning("%s: tensors that no text passes through are left out: %s", spec, _listed(besides))


def _run_by_text(module: Any, tensors: list[str]) -> set[str]:
    """Of some tensors' names, those whose modules are run when the model reads a token."""
    import torch

    if not tensors:
        return set()
    parts = dict(module.named_modules())
    owners = {name: name.rpartition(".")[0] for name in tensors}
    reached: set[str] = set()
    handles = [
        parts[owner].register_forward_hook(lambda *_, owner=owner: reached.add(owner))
        for owner in set(owners.values()) & parts.keys()
    ]
    try:
        with torch.inference_mode():
            module(input_ids=torch.zeros(1, 1, dtype=torch.long, device=module.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return {name for name, owner in owners.items() if owner in reached or owner not in parts}


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
