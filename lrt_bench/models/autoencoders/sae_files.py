"""Sparse autoencoders in the formats that are published: local files, the Hub, the embedded ones.

| written | means |
| --- | --- |
| ``nano/S:3`` | the embedded family's own, for layer 3 of S |
| ``folder``, ``file.npz``, ``sae_weights.safetensors`` | local, in one of the two formats below |
| ``org/repo:path/inside[@revision]`` | the same, on the Hub |
| ``untrained:SPEC`` | a control of SPEC's width: random directions, nothing learned (`untrained`) |

Two formats are read. **Gemma Scope** (Lieberum et al. 2024): ``params.npz`` with W_enc, b_enc, W_dec, b_dec
and threshold, JumpReLU (Rajamanoharan et al. 2024), no b_dec on input. **SAELens** (Bloom et al. 2024):
``cfg.json`` beside ``sae_weights.safetensors``, architectures standard, topk, jumprelu and gated, in the old
flat layout of the configuration and in the new one.

Whatever a format leaves to run time is folded into the weights once, exactly: an input scale, scaled
coefficients, norms of the decoder's rows in a top-k, and a gate with shared weights, which is a JumpReLU
(Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders").
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrt_bench.errors import UserError, first_line
from lrt_bench.files.hub import why_no_hub
from lrt_bench.files.parse import parse_json
from lrt_bench.files.text import read_text
from lrt_bench.models.autoencoders.sae import UNTRAINED, SparseAutoencoder, check_tensors, untrained
from lrt_bench.models.checks.digests import files_digest
from lrt_bench.nano.family import WEIGHTS

EMBEDDED = re.compile(r"(?P<model>nano/\w+):(?P<layer>\d+)")
HUB = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+):(?P<path>[^@]+)(@(?P<revision>[\w./-]+))?")
GEMMA, CONFIG, WEIGHT_FILE, SCALER = (
    "params.npz", "cfg.json", "sae_weights.safetensors", "activation_scaler.json",
)  # fmt: skip
ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")


def load_sae(spec: str) -> SparseAutoencoder:
    """Return the sparse autoencoder that `spec` names; see the table above.

    Raises UserError.
    """
    if spec.startswith(UNTRAINED):
        return untrained(load_sae(spec.removeprefix(UNTRAINED)))
    if spec.startswith("nano/"):
        return _read(spec, _embedded(spec))
    path = Path(spec).expanduser()
    if path.exists():
        return _read(spec, _weights_in(path))
    if hub := HUB.fullmatch(spec):
        return _read(spec, _download(spec, hub["repo"], hub["path"].strip("/"), hub["revision"]))
    raise UserError(
        f"{spec}: no such file or folder, and not on the Hub (org/repo:path/inside) or embedded (nano/S:3)"
    )


def embedded_folder(model: str, layer: int) -> Path:
    """Where the weights of an embedded one lie: ("nano/S", 3) -> .../weights/sae-S-3."""
    return WEIGHTS / f"sae-{model.removeprefix('nano/')}-{layer}"


def _embedded(spec: str) -> Path:
    named = EMBEDDED.fullmatch(spec)
    folder = embedded_folder(named["model"], int(named["layer"])) if named else Path()
    if named is None or not folder.is_dir():
        known = sorted(path.name.split("-")[1:] for path in WEIGHTS.glob("sae-*"))
        raise UserError(
            f"{spec}: no such embedded sparse autoencoder: "
            f"there are {', '.join(f'nano/{name}:{layer}' for name, layer in known)}"
        )
    return folder / WEIGHT_FILE


def _weights_in(path: Path) -> Path:
    """Return the file of weights that a local path means."""
    if path.is_file():
        if path.suffix in (".npz", ".safetensors"):
            return path
        raise UserError(f"{path}: want {GEMMA}, {WEIGHT_FILE} or a folder that holds one of them")
    files = [path / name for name in (GEMMA, WEIGHT_FILE) if (path / name).is_file()]
    if len(files) != 1:
        problem = "holds both formats, name the file" if files else f"no {GEMMA} and no {WEIGHT_FILE} there"
        raise UserError(f"{path}: {problem}")
    return files[0]


def _download(spec: str, repo: str, path: str, revision: str | None) -> Path:
    """Fetch one sparse autoencoder's files from the Hub; the path of its weights."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    folder, _, last = path.rpartition("/")
    if last.endswith(".npz"):
        wanted = [[path]]
    elif last.endswith(".safetensors"):
        wanted = [[f"{folder}/{CONFIG}".lstrip("/"), path]]
    else:
        wanted = [[f"{path}/{GEMMA}"], [f"{path}/{CONFIG}", f"{path}/{WEIGHT_FILE}"]]
    why = why_no_hub()
    cached = why is not None
    for names in wanted:
        try:
            files = [
                Path(hf_hub_download(repo, name, revision=revision, local_files_only=cached))
                for name in names
            ]
        except LocalEntryNotFoundError as error:
            raise UserError(f"{spec}: not in the local cache, and {why or first_line(error)}") from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # whatever the client raises: no such repo or revision, no access
            raise UserError(f"{spec}: the Hub does not give it: {first_line(error)}") from error
        _fetch_scaler(repo, names[0], revision, cached)
        return files[-1]
    raise UserError(f"{spec}: the repository holds neither {GEMMA} nor {CONFIG} and {WEIGHT_FILE} there")


def _fetch_scaler(repo: str, beside: str, revision: str | None, cached: bool) -> None:
    """Return the input scale that newer SAELens checkpoints keep in a file of its own, where there is one."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if beside.endswith(CONFIG):
        try:
            name = beside.removesuffix(CONFIG) + SCALER
            hf_hub_download(repo, name, revision=revision, local_files_only=cached)
        except EntryNotFoundError:
            return


def _read(spec: str, weights: Path) -> SparseAutoencoder:
    """Return the sparse autoencoder of a file of weights, and of the files that belong to it."""
    if weights.suffix == ".npz":
        return replace(_gemma_scope(spec, weights), files=files_digest([weights]))
    config = _json(weights.parent / CONFIG)
    sae = _sae_lens(spec, weights, config)
    beside = [weights.with_name(name) for name in (CONFIG, SCALER) if weights.with_name(name).is_file()]
    return replace(sae, files=files_digest([weights, *beside]))


def _gemma_scope(spec: str, path: Path) -> SparseAutoencoder:
    """W_enc, b_enc, W_dec, b_dec, threshold of a params.npz; f = z * (z > threshold), z = h W_enc + b_enc."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            tensors = {key: torch.from_numpy(np.asarray(arrays[key], np.float32)) for key in arrays.files}
    except Exception as error:  # numpy and zipfile raise many things at a broken archive
        raise UserError(f"{path}: not a readable .npz file: {first_line(error)}") from error
    w_enc, b_enc, w_dec, b_dec, threshold = _take(
        path, tensors, "W_enc", "b_enc", "W_dec", "b_dec", "threshold"
    )
    return SparseAutoencoder(spec, w_enc, b_enc, w_dec, b_dec, threshold)


def _take(path: Path, tensors: Mapping[str, Tensor], *keys: str) -> list[Tensor]:
    missing = [key for key in keys if key not in tensors]
    if missing:
        names = ", ".join(sorted(tensors)) or "nothing"
        raise UserError(f"{path}: {', '.join(missing)} is missing: it holds {names}")
    shape = tensors["W_enc"].shape
    if len(shape) != 2:
        raise UserError(f"{path}: W_enc is {list(shape)}: want [d, n]")
    check_tensors(str(path), {key: tensors[key] for key in keys}, shape[0], shape[1])
    return [tensors[key] for key in keys]


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path}: missing: SAELens writes it beside {WEIGHT_FILE}")
    content = parse_json(read_text(path), str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: want a JSON object")
    return content


def _sae_lens(spec: str, path: Path, config: dict[str, Any]) -> SparseAutoencoder:
    """Return the forward pass that SAELens's cfg.json describes, with its run-time parts folded in."""
    from safetensors.torch import load_file

    config_file = path.parent / CONFIG
    architecture, top_k = _activation(config_file, config)
    try:
        tensors = {key: tensor.float() for key, tensor in load_file(str(path)).items()}
    except Exception as error:  # the library raises its own kinds, and OSError
        raise UserError(f"{path}: not a readable safetensors file: {first_line(error)}") from error
    w_enc, w_dec, b_dec = _take(path, tensors, "W_enc", "W_dec", "b_dec")
    threshold = None
    if architecture == "gated":
        gate, b_enc, r_mag = _take(path, tensors, "b_gate", "b_mag", "r_mag")
        w_enc, threshold = w_enc * r_mag.exp(), b_enc - gate * r_mag.exp()
    else:
        (b_enc,) = _take(path, tensors, "b_enc")
    if architecture == "jumprelu" and "log_threshold" in tensors:  # checkpoints of a training run
        threshold = _take(path, tensors, "log_threshold")[0].exp()
    elif architecture == "jumprelu":
        (threshold,) = _take(path, tensors, "threshold")
    sae = SparseAutoencoder(
        spec, w_enc, b_enc, w_dec, b_dec, threshold, top_k, config.get("apply_b_dec_to_input", True) is True
    )
    for key, size in (("d_in", sae.d), ("d_sae", sae.width)):
        if config.get(key, size) != size:
            raise UserError(f"{config_file}: {key} is {config[key]}, but W_enc is [{sae.d}, {sae.width}]")
    factor = next((key for key in ("scaling_factor", "finetuning_scaling_factor") if key in tensors), None)
    if factor:  # the decoder alone multiplies coefficients by it
        sae = replace(sae, w_dec=sae.w_dec * _take(path, tensors, factor)[0][:, None])
    return _folded(config_file, sae, config)


def _activation(config_file: Path, config: dict[str, Any]) -> tuple[str, int | None]:
    """(architecture, k of a top-k) of a cfg.json.

    Raises UserError at what this reader cannot honour.
    """
    architecture = config.get("architecture", "standard")
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{config_file}: architecture {architecture!r}: want one of {', '.join(ARCHITECTURES)}"
        )
    hook = str(
        config.get("hook_name") or config.get("hook_point") or _part(config, "metadata").get("hook_name")
    )
    if config.get("reshape_activations", "none") not in ("none", None) or hook.endswith("hook_z"):
        raise UserError(f"{config_file}: it reads attention heads (hook_z): want one of the residual stream")
    activation = config.get("activation_fn_str") or config.get("activation_fn") or "relu"
    if activation not in ("relu", "topk"):
        raise UserError(f"{config_file}: activation_fn {activation!r}: want relu or topk")
    if architecture != "topk" and activation != "topk":
        return architecture, None
    if architecture in ("jumprelu", "gated"):
        raise UserError(
            f"{config_file}: architecture {architecture} with activation_fn topk: want one of the two"
        )
    top_k = config.get("k", _part(config, "activation_fn_kwargs").get("k"))
    if not isinstance(top_k, int) or isinstance(top_k, bool):
        raise UserError(
            f"{config_file}: k is {top_k!r}: a topk wants k (or activation_fn_kwargs.k), a whole number"
        )
    return architecture, top_k


def _part(config: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a part of the configuration that is an object; an empty one where it is none."""
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _folded(config_file: Path, sae: SparseAutoencoder, config: dict[str, Any]) -> SparseAutoencoder:
    """Run-time scales into the weights: states times `scale` before, reconstructions divided by it after."""
    if config.get("rescale_acts_by_decoder_norm") and sae.top_k:
        norm = sae.w_dec.norm(dim=1)
        sae = replace(
            sae,
            w_enc=sae.w_enc * norm,
            b_enc=sae.b_enc * norm,
            w_dec=sae.w_dec / norm.clamp_min(1e-12)[:, None],
        )
    scale = _input_scale(config_file, config)
    return replace(sae, w_enc=sae.w_enc * scale, w_dec=sae.w_dec / scale, b_dec=sae.b_dec / scale)


def _input_scale(config_file: Path, config: dict[str, Any]) -> float:
    """Return what states are multiplied by before they are encoded: 1 where it is folded in already."""
    kind = config.get("normalize_activations", "none")
    if kind in ("none", None, False):
        return 1.0
    scaler = config_file.with_name(SCALER)
    if kind in ("expected_average_only_in", True) and scaler.is_file():
        saved = _json(scaler)
        if saved.get("has_whitening"):
            raise UserError(f"{scaler}: whitened states are not supported: want a scaling_factor alone")
        scale = saved.get("scaling_factor")
        if isinstance(scale, int | float) and 0 < scale < float("inf"):
            return float(scale)
        raise UserError(f"{scaler}: scaling_factor is {scale!r}: want a number above 0")
    reason = (
        f"its factor is not in the folder: fold it into the weights, or add {SCALER}"
        if kind in ("expected_average_only_in", True)
        else "it depends on each state's own norm: only none and expected_average_only_in are supported"
    )
    raise UserError(f"{config_file}: normalize_activations {kind!r}: {reason}")
