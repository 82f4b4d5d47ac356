"""From what a user names to a model: a Hub id, a folder, a GGUF file, the embedded family, planted ones.

| written | means |
| --- | --- |
| ``nano/S`` | a member of the embedded family |
| ``org/name`` or ``org/name@revision`` | a model on the Hub |
| ``path/to/folder`` | a local folder with config.json, weights and tokenizer |
| ``path/to/file.gguf`` | a GGUF file |
| ``planted-rotation:SPEC``, ``planted-widening:SPEC`` | SPEC in another basis (`decoders.planted`) |
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lrt_bench.data.corpus import TokenMemory
from lrt_bench.errors import UserError, did_you_mean, first_line
from lrt_bench.files.hub import check_cached, why_no_hub
from lrt_bench.files.names import MODEL_ID, PLANTED
from lrt_bench.files.parse import parse_json
from lrt_bench.files.text import read_text
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.checks.checkpoint import LoadOptions, check_complete, load_checkpoint
from lrt_bench.models.checks.digests import folder_digest, gguf_digest
from lrt_bench.models.decoders.transformers_model import TransformersModel
from lrt_bench.models.state_cache import StateMemory
from lrt_bench.nano.family import FAMILY

LOG = logging.getLogger("lrt_bench")
DTYPES = ("float32", "bfloat16", "float16", "auto")
Bos = Literal["auto", "always", "never"]
BOS: tuple[Bos, ...] = ("auto", "always", "never")


@dataclass
class Models:
    """Loads models by name, each once; `keep` drops those that are no longer wanted.

    Attributes
    ----------
    local : {Hub id: folder or file} that take the place of models; a result names what was loaded.
    named : ids whose stand-ins go by the id: what their weights are is said elsewhere.
    remember : bytes of states that each model may hold, to be read again.
    trust_remote_code : whether code that lies beside a model's weights may run.
    bos : whether texts begin with BOS: ``auto``, where the tokenizer defines one; ``always``, and a tokenizer
        without one is refused; ``never``.

    Raises
    ------
    UserError
        Where an attribute is none of the known values, or the device is not available.
    """

    dtype: str = "float32"
    device: str = "cpu"
    device_map: str | None = None
    local: Mapping[str, str] = field(default_factory=dict)
    remember: int = 0
    trust_remote_code: bool = False
    bos: Bos = "auto"
    named: Collection[str] = ()
    _loaded: dict[str, LanguageModel] = field(default_factory=dict, repr=False)
    _token_memory: TokenMemory = field(default_factory=TokenMemory, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.dtype not in DTYPES:
            raise UserError(f"--dtype {self.dtype}: give one of {', '.join(DTYPES)}")
        if self.bos not in BOS:
            raise UserError(f"--bos {self.bos}: give one of {', '.join(BOS)}")
        if self.device == "gpu":
            self.device = "cuda"
        check_device(self.device)

    def get(self, spec: str) -> LanguageModel:
        """Return the model that `spec` names.

        Raises UserError naming the folder or id and what is wrong.
        """
        if spec not in self._loaded:
            name = spec.partition("@")[0]
            self._loaded[spec] = self._load(self.local.get(name, spec))
            if name in self.named:
                self._loaded[spec].name = name
            self._loaded[spec].memory = StateMemory(self.remember) if self.remember else None
            self._loaded[spec].token_memory = self._token_memory
        return self._loaded[spec]

    def check(self, spec: str) -> None:
        """Raise UserError where a name is wrong for what is on this disk; nothing is loaded, no Hub asked."""
        planted = PLANTED.fullmatch(spec)
        base = planted["base"] if planted else spec
        _check_place(self.local.get(base.partition("@")[0], base))

    def keep(self, specs: set[str]) -> None:
        """Forget every model but these and the bases that they are planted in."""
        bases = {planted["base"] for spec in specs if (planted := PLANTED.fullmatch(spec))}
        self._loaded = {spec: model for spec, model in self._loaded.items() if spec in specs | bases}

    def _load(self, spec: str) -> LanguageModel:
        if planted := PLANTED.fullmatch(spec):
            from lrt_bench.models.decoders.planted import plant

            return plant(planted["kind"], self.get(planted["base"]))
        source, where = locate(spec)
        digest = _disk_digest(spec)
        options = LoadOptions(self.dtype, self.device, self.device_map, self.trust_remote_code)
        checkpoint = load_checkpoint(spec, source, where, options)
        module, tokenizer = checkpoint.module, checkpoint.tokenizer
        if not digest:
            digest = getattr(module.config, "_commit_hash", None) or "unknown"
        if tokenizer is None or not tokenizer.is_fast:
            raise UserError(f"{spec}: no fast tokenizer (tokenizer.json) there: add one, offsets are needed")
        changes = ["bos never"] if self._set_bos(spec, tokenizer) else []
        if type(module).__module__.startswith("transformers_modules"):
            changes.append("own code")
        if changes:
            digest = hashlib.sha256(f"{digest} {changes}".encode()).hexdigest()
        check_tokens(spec, module, tokenizer)
        model = TransformersModel(spec, digest, module, tokenizer)
        check_complete(spec, checkpoint, model.owner, model.attribute)
        return model

    def _set_bos(self, spec: str, tokenizer: Any) -> bool:
        """Make `bos` hold of a tokenizer; True where it was changed.

        BOS that it does not add is noted.

        `data.corpus.encode` puts BOS before a text where the tokenizer defines one.
        """
        if self.bos == "never":
            had = tokenizer.bos_token is not None
            tokenizer.bos_token = None
            return had
        if tokenizer.bos_token_id is None:
            if self.bos == "always":
                raise UserError(f"{spec}: --bos always: its tokenizer defines no BOS; give --bos auto")
        elif tokenizer("a")["input_ids"][:1] != [tokenizer.bos_token_id]:
            LOG.warning(
                "%s: texts begin with its BOS %r, which its tokenizer defines and does not add; --bos never "
                "leaves it out", spec, tokenizer.bos_token,
            )  # fmt: skip
        return False


def check_tokens(spec: str, module: Any, tokenizer: Any) -> None:
    """Raise UserError where tokens that texts are given lie beyond the embedding; warn of others.

    Texts are given BOS, and what the chat template writes.
    """
    rows = getattr(getattr(module.get_input_embeddings(), "weight", None), "shape", (1 << 62,))[0]
    beyond = sorted((id_, token) for token, id_ in tokenizer.get_vocab().items() if id_ >= rows)
    if not beyond:
        return
    template = str(getattr(tokenizer, "chat_template", None) or "")
    needed = [token for id_, token in beyond if id_ == tokenizer.bos_token_id or token in template]
    named = ", ".join(repr(token) for token in (needed or [token for _, token in beyond])[:4])
    problem = f"its tokenizer has {named} beyond the embedding of {rows} rows"
    if needed:
        raise UserError(f"{spec}: {problem}: call model.resize_token_embeddings(len(tokenizer)) and save it")
    LOG.warning("%s: %s: a text with such a token is refused", spec, problem)


def check_stand_ins(local: Mapping[str, str], specs: Collection[str], flag: str = "--model") -> None:
    """Raise UserError where a stand-in is of none of the models `specs`, nor of one planted in them."""
    wanted = {*specs, *(planted["base"] for spec in specs if (planted := PLANTED.fullmatch(spec)))}
    known = sorted({spec.partition("@")[0] for spec in wanted})
    if unknown := local.keys() - known:
        close = did_you_mean(min(unknown), known)
        raise UserError(
            f"{flag} {min(unknown)}: no model of these pairs{close}; they are of {', '.join(known)}"
        )


def load_model(
    spec: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    bos: Bos = "auto",
) -> LanguageModel:
    """Load one model by name; see the table above, and `Models` for the options.

    Raises UserError.
    """
    return Models(dtype, device, trust_remote_code=trust_remote_code, bos=bos).get(spec)


def check_device(device: str) -> None:
    """Raise UserError where torch has no such device."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"--device {device}: torch finds no GPU here: give cpu") from error
        raise UserError(f"--device {device}: not available here: {first_line(error)}") from error


def _check_place(spec: str) -> None:
    """Raise UserError where a name is no member of the family, no model on this disk, and no Hub id."""
    path = Path(spec).expanduser()
    if not spec.isprintable():
        raise UserError(f"{spec}: a name with characters that are not visible: rename it")
    if spec.startswith("nano/"):
        if spec.removeprefix("nano/") not in FAMILY:
            members = [f"nano/{name}" for name in FAMILY]
            close = did_you_mean(spec, members)
            raise UserError(f"{spec}: no such member{close}; the embedded family has {', '.join(FAMILY)}")
    elif path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise UserError(f"{spec}: no such GGUF file")
    elif path.is_dir():
        _check_folder(path)
    elif path.exists():
        raise UserError(f"{spec}: not a model folder nor a .gguf file")
    elif not MODEL_ID.fullmatch(spec):
        close = did_you_mean(spec, [f"nano/{name}" for name in FAMILY])
        raise UserError(f"{spec}: no such folder, and not a Hub id (org/name or org/name@revision){close}")


def locate(spec: str) -> tuple[str, dict[str, Any]]:
    """Find where transformers finds a model that is not planted: (path or id, further arguments).

    Raises UserError where there is no such place, or one on the Hub cannot be fetched and was not before.
    """
    _check_place(spec)
    if spec.startswith("nano/"):
        return str(FAMILY[spec.removeprefix("nano/")].folder), {}
    path = Path(spec).expanduser()
    if path.is_file():
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        return str(path), {}
    name, _, revision = spec.partition("@")
    options: dict[str, Any] = {"revision": revision} if revision else {}
    if why := why_no_hub():
        check_cached(spec, why)
        options["local_files_only"] = True
    return name, options


def _disk_digest(spec: str) -> str:
    """Hash a model's files on this disk; empty for one on the Hub, which has a commit."""
    if spec.startswith("nano/"):
        return folder_digest(FAMILY[spec.removeprefix("nano/")].folder)
    path = Path(spec).expanduser()
    if path.is_file():
        return gguf_digest(path)
    return folder_digest(path) if path.is_dir() else ""


def _check_folder(path: Path) -> None:
    if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        raise UserError(f"{path}: an adapter (LoRA) alone: merge it into its base model and save the whole")
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: not a model folder: config.json is missing")
    if not [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")]:
        raise UserError(f"{path}: no weights there: add model.safetensors")
    _check_generation(path / "generation_config.json")


def _check_generation(path: Path) -> None:
    """Raise UserError where the file is broken: transformers would do without it, and its end tokens."""
    if not path.exists():
        return
    try:
        content = parse_json(read_text(path), str(path))
    except UserError as error:
        raise UserError(f"{error}; mend it, or delete it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: want a JSON object; mend it, or delete it")
