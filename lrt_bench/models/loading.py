"""From what a user names to a model: a Hub id, a folder, a GGUF file, the embedded family, planted ones.

| written | means |
| --- | --- |
| ``nano/S`` | a member of the embedded family |
| ``org/name`` or ``org/name@revision`` | a model on the Hub |
| ``path/to/folder`` | a local folder with config.json, weights and tokenizer |
| ``path/to/file.gguf`` | a GGUF file |
| ``planted-rotation:SPEC``, ``planted-widening:SPEC`` | SPEC in another basis (`planted.py`) |
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrt_bench.errors import UserError
from lrt_bench.files.hub import hub_answers
from lrt_bench.files.names import HUB_ID
from lrt_bench.files.whole import hash_files
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.state_cache import StateMemory
from lrt_bench.models.transformers_model import TransformersModel
from lrt_bench.nano.family import FAMILY

MODEL_ID = re.compile(rf"{HUB_ID.pattern}|gpt2[\w-]*")
DTYPES = ("float32", "bfloat16", "float16", "auto")
PLANTED = re.compile(r"planted-(?P<kind>[\w]+):(?P<base>.+)")


@dataclass
class Models:
    """Loads models by name, each once; `keep` drops those that are no longer wanted.

    local : {Hub id: folder or file} that take the place of models; a result names what was loaded.
    remember : bytes of states that each model may hold, to be read again.
    """

    dtype: str = "float32"
    device: str = "cpu"
    device_map: str | None = None
    local: Mapping[str, str] = field(default_factory=dict)
    remember: int = 0
    _loaded: dict[str, LanguageModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"--dtype {self.dtype}: give one of {', '.join(DTYPES)}")
        check_device(self.device)

    def get(self, spec: str) -> LanguageModel:
        """The model that `spec` names. Raises UserError naming the folder or id and what is wrong."""
        if spec not in self._loaded:
            self._loaded[spec] = self._load(self.local.get(spec.partition("@")[0], spec))
            self._loaded[spec].memory = StateMemory(self.remember) if self.remember else None
        return self._loaded[spec]

    def keep(self, specs: set[str]) -> None:
        """Forget every model but these and the bases that they are planted in."""
        bases = {planted["base"] for spec in specs if (planted := PLANTED.fullmatch(spec))}
        self._loaded = {spec: model for spec, model in self._loaded.items() if spec in specs | bases}

    def _load(self, spec: str) -> LanguageModel:
        if planted := PLANTED.fullmatch(spec):
            from lrt_bench.models.planted import plant

            return plant(planted["kind"], self.get(planted["base"]))
        source, options, digest = _locate(spec)
        module, tokenizer = _from_pretrained(spec, source, options, self.dtype, self.device, self.device_map)
        if not digest:
            digest = getattr(module.config, "_commit_hash", None) or "unknown"
        if tokenizer is None or not tokenizer.is_fast:
            raise UserError(f"{spec}: no fast tokenizer (tokenizer.json) there: add one, offsets are needed")
        return TransformersModel(spec, digest, module, tokenizer)


def check_stand_ins(local: Mapping[str, str], specs: Collection[str]) -> None:
    """Raise UserError where a stand-in is of none of the models `specs`, nor of one planted in them."""
    wanted = {*specs, *(planted["base"] for spec in specs if (planted := PLANTED.fullmatch(spec)))}
    known = sorted({spec.partition("@")[0] for spec in wanted})
    if unknown := local.keys() - known:
        raise UserError(f"--model {min(unknown)}: no model of these pairs; they are of {', '.join(known)}")


def load_model(spec: str, *, dtype: str = "float32", device: str = "cpu") -> LanguageModel:
    """Load one model by name; see the table above. Raises UserError."""
    return Models(dtype, device).get(spec)


def check_device(device: str) -> None:
    """Raise UserError where torch has no such device here."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: not available here: {_first_line(error)}") from error


def _locate(spec: str) -> tuple[str, dict[str, Any], str]:
    """Where transformers finds it: (path or id, further arguments, digest or "")."""
    if spec.startswith("nano/"):
        size = FAMILY.get(spec.removeprefix("nano/"))
        if size is None:
            raise UserError(f"{spec}: no such member; the embedded family has {', '.join(FAMILY)}")
        return str(size.folder), {}, folder_digest(size.folder)
    path = Path(spec).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"{spec}: no such GGUF file")
        return str(path.parent), {"gguf_file": path.name}, hash_files([path])
    if path.is_dir():
        _check_folder(path)
        return str(path), {}, folder_digest(path)
    if path.exists():
        raise UserError(f"{spec}: not a model folder nor a .gguf file")
    if not MODEL_ID.fullmatch(spec):
        raise UserError(f"{spec}: no such folder, and not a Hub id (org/name or org/name@revision)")
    name, _, revision = spec.partition("@")
    options: dict[str, Any] = {"revision": revision} if revision else {}
    if not hub_answers():
        options["local_files_only"] = True
    return name, options, ""


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: not a model folder: config.json is missing")
    if not [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")]:
        raise UserError(f"{path}: no weights there: add model.safetensors")


def folder_digest(path: Path) -> str:
    """Hash of a model folder's configuration, tokenizer and weights (not of its other files)."""
    names = ("config.json", "tokenizer*", "special_tokens*", "*.safetensors", "pytorch_model*.bin")
    return hash_files(sorted(file for name in names for file in path.glob(name)))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notices and bars off the terminal while it loads, then put them back."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader draws a bar of its own
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _from_pretrained(
    spec: str, source: str, options: dict[str, Any], dtype: str, device: str, device_map: str | None
) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            extra = {"device_map": device_map} if device_map else {}
            chosen = dtype if dtype == "auto" else getattr(torch, dtype)
            module = AutoModelForCausalLM.from_pretrained(source, dtype=chosen, **options, **extra)
            return module if device_map else module.to(device), tokenizer
    except Exception as error:  # whatever a broken folder or an absent Hub makes transformers raise
        raise UserError(f"{spec}: transformers cannot load it: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
