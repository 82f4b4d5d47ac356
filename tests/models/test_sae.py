"""Sparse autoencoders against loops written out by hand, in both formats; features as a source of maps."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.errors import UserError
from lrt_bench.evaluation.fidelity import Stitching, state_fidelity
from lrt_bench.mappings.affine import Affine
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.autoencoders.sae import SparseAutoencoder
from lrt_bench.models.autoencoders.sae_files import load_sae
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Features, Site
from lrt_bench.models.states import collect
from scripts.nano.train_sae import PLANS, export

D, N = 5, 9


def numbers(*keys: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights by the formats' names."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (D, N), "W_dec": (N, D), "b_dec": (D,)}
    return {key: torch.randn(shapes.get(key, (N,)), generator=generator) for key in keys}


def states() -> torch.Tensor:
    return torch.randn(2, 4, D, generator=torch.Generator().manual_seed(9))


def by_hand(h: torch.Tensor, coefficient) -> torch.Tensor:
    """coefficient(j, h) for every feature of every state, in plain loops."""
    rows = [[[coefficient(j, state) for j in range(N)] for state in row] for row in h]
    return torch.tensor(rows)


def dot(h: torch.Tensor, w: torch.Tensor, j: int) -> float:
    return sum(float(h[i]) * float(w[i, j]) for i in range(D))


def write_folder(folder: Path, tensors: dict[str, torch.Tensor], **config) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / "sae_weights.safetensors"))
    (folder / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": N} | config))
    return folder


GEMMA_KEYS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")


def test_gemma_scope_is_a_jumprelu_without_b_dec_on_input(tmp_path):
    w = numbers(*GEMMA_KEYS)
    w["threshold"] = w["threshold"].abs()
    np.savez(tmp_path / "params.npz", **{key: tensor.numpy() for key, tensor in w.items()})
    sae, h = load_sae(str(tmp_path)), states()

    def coefficient(j, state):
        z = dot(state, w["W_enc"], j) + float(w["b_enc"][j])
        return z if z > float(w["threshold"][j]) else 0.0

    f = sae.encode(h)
    torch.testing.assert_close(f, by_hand(h, coefficient))
    assert 0 < (f > 0).double().mean() < 1
    torch.testing.assert_close(sae.decode(f), f @ w["W_dec"] + w["b_dec"])
    assert (sae.d, sae.width, sae.architecture) == (D, N, "jumprelu")
    assert load_sae(str(tmp_path / "params.npz")).digest == sae.digest
    assert replace(sae, b_dec=sae.b_dec + 1e-3).digest != sae.digest


OLD = {"architecture": "standard", "activation_fn_str": "relu", "normalize_activations": "none"}
NEW = {
    "architecture": "standard",
    "normalize_activations": "none",
    "metadata": {"hook_name": "blocks.1.hook_resid_post"},
}


@pytest.mark.parametrize("config", [OLD, NEW, {}], ids=["flat", "metadata", "bare"])
@pytest.mark.parametrize("on_input", [True, False])
def test_standard_honours_b_dec_on_input(tmp_path, config, on_input):
    w = numbers("W_enc", "b_enc", "W_dec", "b_dec")
    sae, h = load_sae(str(write_folder(tmp_path, w, **config, apply_b_dec_to_input=on_input))), states()

    def coefficient(j, state):
        return max(0.0, dot(state - w["b_dec"] * on_input, w["W_enc"], j) + float(w["b_enc"][j]))

    torch.testing.assert_close(sae.encode(h), by_hand(h, coefficient))


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "topk", "k": 3},
        {"architecture": "topk", "activation_fn_kwargs": {"k": 3}},
        {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
    ],
    ids=["new", "older", "oldest"],
)
@pytest.mark.parametrize("rescale", [False, True])
def test_topk_keeps_the_largest(tmp_path, config, rescale):
    w = numbers("W_enc", "b_enc", "W_dec", "b_dec")
    folder = write_folder(tmp_path, w, **config, rescale_acts_by_decoder_norm=rescale)
    sae, h = load_sae(str(folder)), states()
    norm = w["W_dec"].norm(dim=1) if rescale else torch.ones(N)

    def pre(j, state):
        return float(norm[j]) * (dot(state - w["b_dec"], w["W_enc"], j) + float(w["b_enc"][j]))

    def coefficient(j, state):
        larger = sum(pre(i, state) > pre(j, state) for i in range(N))
        return max(0.0, pre(j, state)) if larger < 3 else 0.0

    f = sae.encode(h)
    torch.testing.assert_close(f, by_hand(h, coefficient))
    torch.testing.assert_close(sae.decode(f), (f / norm) @ w["W_dec"] + w["b_dec"])


def test_gated_is_gate_times_magnitude(tmp_path):
    w = numbers("W_enc", "b_gate", "b_mag", "r_mag", "W_dec", "b_dec")
    sae, h = load_sae(str(write_folder(tmp_path, w, architecture="gated"))), states()

    def coefficient(j, state):
        product = dot(state - w["b_dec"], w["W_enc"], j)
        magnitude = product * float(w["r_mag"][j].exp()) + float(w["b_mag"][j])
        return max(0.0, magnitude) if product + float(w["b_gate"][j]) > 0 else 0.0

    torch.testing.assert_close(sae.encode(h), by_hand(h, coefficient))


def test_an_input_scale_kept_beside_the_weights_is_folded_in(tmp_path):
    w = numbers("W_enc", "b_enc", "W_dec", "b_dec")
    folder = write_folder(tmp_path, w, normalize_activations="expected_average_only_in")
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    sae, h = load_sae(str(folder)), states()
    expected = ((0.25 * h - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    torch.testing.assert_close(sae.encode(h), expected)
    torch.testing.assert_close(sae.decode(expected), (expected @ w["W_dec"] + w["b_dec"]) / 0.25)


def test_a_finetuned_scale_of_coefficients_goes_into_the_decoder(tmp_path):
    w = numbers("W_enc", "b_enc", "W_dec", "b_dec", "scaling_factor")
    sae, h = load_sae(str(write_folder(tmp_path, w, finetuning_scaling_factor=True))), states()
    f = sae.encode(h)
    torch.testing.assert_close(f, ((h - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu())
    torch.testing.assert_close(sae.decode(f), (f * w["scaling_factor"]) @ w["W_dec"] + w["b_dec"])


@pytest.mark.parametrize("kind", [{"top_k": 2}, {"threshold": torch.full((N,), 0.2)}, {}])
def test_what_is_exported_reads_back(tmp_path, kind):
    w = numbers("W_enc", "b_enc", "W_dec", "b_dec")
    sae = SparseAutoencoder(
        "mine", w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"], apply_b_dec_to_input=True, **kind
    )
    export(sae, tmp_path, torch.float32, hook_name="blocks.0.hook_resid_post")
    assert replace(load_sae(str(tmp_path)), files="").digest == sae.digest


def broken(folder: Path, what: str) -> str:
    """A folder with one thing wrong; what to load."""
    w = numbers(*GEMMA_KEYS)
    config: dict = {"architecture": "jumprelu"}
    if what == "pickle":
        np.savez(folder / "params.npz", W_enc=np.array([{}], dtype=object))
        return str(folder)
    if what == "npz key":
        np.savez(folder / "params.npz", W_enc=w["W_enc"].numpy())
        return str(folder)
    if what == "npz bytes":
        (folder / "params.npz").write_bytes(b"PK no archive")
        return str(folder)
    if what == "shape":
        w["b_enc"] = torch.zeros(N + 1)
    if what == "nan":
        w["W_dec"][2, 1] = float("nan")
    if what == "vector":
        w["W_enc"] = torch.zeros(N)
    if what == "gate":
        w |= numbers("b_gate", "b_mag") | {"r_mag": torch.zeros(3)}
    if what == "no threshold":
        del w["threshold"]
    config |= {
        "d_in": {"d_in": D + 1},
        "gate": {"architecture": "gated"},
        "k": {"architecture": "topk"},
        "k too large": {"architecture": "topk", "k": 4 * N},
        "unknown": {"architecture": "transcoder"},
        "tanh": {"activation_fn_str": "tanh-relu"},
        "layer norm": {"normalize_activations": "layer_norm"},
        "scale": {"normalize_activations": "expected_average_only_in"},
        "heads": {"metadata": {"hook_name": "blocks.1.attn.hook_z"}},
    }.get(what, {})
    write_folder(folder, w, **config)
    if what == "no config":
        (folder / "cfg.json").unlink()
    if what == "json":
        (folder / "cfg.json").write_text("{")
    if what == "bytes":
        (folder / "sae_weights.safetensors").write_bytes(b"12345")
    if what == "nothing":
        (folder / "sae_weights.safetensors").unlink()
    return str(folder)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("pickle", "params.npz: not a readable .npz file"),
        ("npz key", "params.npz: b_enc, W_dec, b_dec, threshold is missing"),
        ("npz bytes", "params.npz: not a readable .npz file"),
        ("shape", r"b_enc is \[10\]: want \[9\]"),
        ("nan", "W_dec holds NaN or infinity"),
        ("vector", r"W_enc is \[9\]: want \[d, n\]"),
        ("no threshold", "threshold is missing"),
        ("gate", r"r_mag is \[3\]: want \[9\]"),
        ("d_in", r"d_in is 6, but W_enc is \[5, 9\]"),
        ("k", "k is None: a topk wants k"),
        ("k too large", "k = 36: want 1 to 9"),
        ("unknown", "architecture 'transcoder': want one of standard, topk, jumprelu, gated"),
        ("tanh", "activation_fn 'tanh-relu': want relu or topk"),
        ("layer norm", "normalize_activations 'layer_norm': it depends on each state's own norm"),
        ("scale", "its factor is not in the folder"),
        ("heads", "attention heads"),
        ("no config", "cfg.json: missing"),
        ("json", "cfg.json: not JSON"),
        ("bytes", "sae_weights.safetensors: not a readable safetensors file"),
        ("nothing", "no params.npz and no sae_weights.safetensors there"),
    ],
)
def test_broken_files_are_one_line(tmp_path, what, message):
    with pytest.raises(UserError, match=message) as caught:
        load_sae(broken(tmp_path, what))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["nano/S:9", "nano/Q:1", "nano/S", "nowhere", "org/name"])
def test_unknown_names_are_one_line(spec):
    with pytest.raises(UserError, match=re.escape(spec)):
        load_sae(spec)


class Shelf(BaseHTTPRequestHandler):
    """As much of the Hub as fetching a model repository's file takes; the server holds `files`."""

    def do_GET(self) -> None:
        match = re.fullmatch(r"/acme/saes/resolve/([\w.-]+)/(.+)", self.path)
        data = self.server.files.get(match[2]) if match else None  # type: ignore[attr-defined]
        if match and match[1] not in ("main", "v1", "c" * 40):
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
        elif data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if match else "RepoNotFound")
        else:
            self.send_response(200)
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("ETag", f'"{hash(data):x}"')
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if data and self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A loopback Hub with files to fill in: shelf["path"] = bytes."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    server.files = {}
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server.files
    server.shutdown()
    server.server_close()


def test_the_hub_gives_both_formats(shelf, tmp_path):
    w = numbers(*GEMMA_KEYS)
    np.savez(tmp_path / "params.npz", **{key: tensor.numpy() for key, tensor in w.items()})
    shelf["layer_20/width_16k/params.npz"] = (tmp_path / "params.npz").read_bytes()
    folder = write_folder(tmp_path / "lens", w, normalize_activations="expected_average_only_in")
    for name in ("cfg.json", "sae_weights.safetensors"):
        shelf[f"blocks.1/{name}"] = (folder / name).read_bytes()
    shelf["blocks.1/activation_scaler.json"] = b'{"scaling_factor": 2.0}'
    gemma = load_sae("acme/saes:layer_20/width_16k")
    assert gemma.digest == load_sae(str(tmp_path / "params.npz")).digest
    assert load_sae("acme/saes:layer_20/width_16k/params.npz@v1").digest == gemma.digest
    torch.testing.assert_close(load_sae("acme/saes:blocks.1").w_enc, 2 * w["W_enc"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("acme/saes:nowhere", "holds neither params.npz nor cfg.json"),
        ("acme/saes:layer@v7", "the Hub does not give it"),
        ("acme/nothing:layer", "the Hub does not give it"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(shelf, spec, message):
    with pytest.raises(UserError, match=message) as caught:
        load_sae(spec)
    assert "\n" not in str(caught.value)


def test_no_hub_is_one_line(shelf, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="not in the local cache, and HF_HUB_OFFLINE is set"):
        load_sae("acme/saes:layer")


@pytest.mark.parametrize("name", PLANS)
def test_the_embedded_ones_explain_their_states(nano, name):
    plan = PLANS[name]
    sae, model = load_sae(f"nano/{name}"), nano(plan.member)
    site = Site(model, plan.layer)
    texts = next(Corpus("nano").pairs(model.tokenizer, model.tokenizer))[:60]
    h = torch.cat([site.read(torch.tensor([text.source_ids]))[0, text.source_at] for text in texts])
    f = sae.encode(h)
    assert (f > 0).sum(1).double().mean() <= 40
    assert state_fidelity(sae.decode(f), h).fvu < 0.2
    torch.testing.assert_close(sae.w_dec.norm(dim=1), torch.ones(sae.width), atol=2e-3, rtol=0)


def test_the_untrained_control_has_the_width_and_the_sparsity_and_no_features(nano):
    sae, control = load_sae("nano/S:3"), load_sae("untrained:nano/S:3")
    h = Site(nano("S"), 3).read(torch.arange(2, 130)[None])[0, 1:]
    assert control.width == sae.width
    assert (control.encode(h) > 0).sum(1).max() == sae.top_k
    assert state_fidelity(control.decode(control.encode(h)), h).fvu > 0.5
    torch.testing.assert_close(control.w_enc.norm(dim=0), sae.w_enc.norm(dim=0))
    assert load_sae("untrained:nano/S:3").digest == control.digest != sae.digest


def exact(d: int) -> SparseAutoencoder:
    """Features whose decoder gives every state back: the positive and the negative part of each dimension."""
    both = torch.cat([torch.eye(d), -torch.eye(d)], dim=1)
    return SparseAutoencoder("exact", both, torch.zeros(2 * d), both.T.contiguous(), torch.zeros(d))


def fitted(method, source, target):
    states = collect(source, target, Corpus("nano"), Budget(8_000, 1_000, 2_000))
    method.fit(states)
    return method, states


def test_features_that_give_states_back_serve_a_map_as_well_as_states(nano):
    """h is linear in them, so least squares on them fits at least as well as on states."""
    model = nano("S")
    target = Site(nano("M"), 3)
    features = Features(model, 3, sae=exact(model.width))
    assert features.width == 2 * model.width
    h = torch.randn(3, 7, model.width)
    torch.testing.assert_close(features.sae.decode(features.sae.encode(h)), h)
    errors = []
    for source in (Site(model, 3), features):
        affine, score = fitted(Affine(), source, target)
        x, y = (torch.from_numpy(np.array(side)) for side in (score.sample.x, score.sample.y))
        moments = score.moments
        fit_error = moments.s_yy.trace() - (affine.weight * moments.s_xy.T).sum()
        errors.append(float(fit_error / moments.s_yy.trace()))
        assert state_fidelity(affine(x), y).fvu < 0.6
    assert errors[1] < errors[0]


def test_features_of_a_planted_pair_map_exactly(nano):
    base = nano("S")
    source, target = Features(base, 2, sae=exact(base.width)), Site(plant("rotation", base), 2)
    ridge, score = fitted(Ridge(), source, target)
    assert state_fidelity(ridge(score.validation[0]), score.validation[1]).fvu < 1e-5
    added, kl = Stitching(source, target, score.validation_text[:8])(ridge)
    assert abs(added) < 1e-3
    assert kl < 1e-3


def test_features_of_another_model_are_refused(nano):
    with pytest.raises(UserError, match="reads states of 4 dimensions, but nano/S is 96 wide"):
        Features(nano("S"), 1, sae=exact(4))


@pytest.mark.parametrize("name", ["sae_weights.safetensors", "cfg.json", "activation_scaler.json"])
def test_every_file_of_a_sparse_autoencoder_is_in_its_digest(tmp_path, name):
    write_folder(
        tmp_path,
        numbers("W_enc", "b_enc", "W_dec", "b_dec"),
        normalize_activations="expected_average_only_in",
    )
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 2.0}))
    before = load_sae(str(tmp_path)).digest
    assert load_sae(str(tmp_path)).digest == before
    if name.endswith(".json"):
        content = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps(content | {"comment": "changed"}))
    else:
        save_file(numbers("W_enc", "b_enc", "W_dec", "b_dec", seed=1), str(tmp_path / name))
    assert load_sae(str(tmp_path)).digest != before


def test_the_file_of_a_gemma_scope_autoencoder_is_in_its_digest(tmp_path):
    arrays = {key: tensor.numpy() for key, tensor in numbers(*GEMMA_KEYS).items()}
    np.savez(tmp_path / "params.npz", **arrays)
    before = load_sae(str(tmp_path)).digest
    np.savez(tmp_path / "params.npz", **arrays, comment=np.zeros(1))
    assert load_sae(str(tmp_path)).digest != before
