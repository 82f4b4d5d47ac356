"""Models by name: folders, GGUF files, the embedded family; bad ones in one clear line."""

from __future__ import annotations

import json
import socketserver
import threading
from pathlib import Path

import gguf
import pytest
import torch
from huggingface_hub import constants

from lrt_bench.errors import UserError
from lrt_bench.models.loading import Models, load_model
from lrt_bench.nano.family import FAMILY, WEIGHTS


def write_gguf(path: Path, name: str) -> None:
    """A member of the embedded family as a float32 GGUF file, its byte-level BPE with it."""
    from safetensors.torch import load_file

    size = FAMILY[name]
    config = json.loads((size.folder / "config.json").read_text())
    tokenizer = json.loads((size.folder / "tokenizer.json").read_text())["model"]
    weights = {k: v.float() for k, v in load_file(size.folder / "model.safetensors").items()}
    heads, d = size.width // 32, size.width
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(size.layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(d)
    writer.add_feed_forward_length(size.intermediate)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(config["vocab_size"])
    vocabulary = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3, 3, *([1] * (len(vocabulary) - 2))])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)

    def permuted(weight: torch.Tensor) -> torch.Tensor:  # GGUF keeps rotary halves interleaved
        return weight.view(heads, 2, 16, d).swapaxes(1, 2).reshape(d, d)

    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"].numpy())
    for k in range(size.layers):
        layer = f"model.layers.{k}."
        for theirs, ours in (
            ("attn_norm", "input_layernorm"),
            ("attn_v", "self_attn.v_proj"),
            ("attn_output", "self_attn.o_proj"),
            ("ffn_norm", "post_attention_layernorm"),
            ("ffn_gate", "mlp.gate_proj"),
            ("ffn_up", "mlp.up_proj"),
            ("ffn_down", "mlp.down_proj"),
        ):
            writer.add_tensor(f"blk.{k}.{theirs}.weight", weights[f"{layer}{ours}.weight"].numpy())
        for theirs, ours in (("attn_q", "q_proj"), ("attn_k", "k_proj")):
            weight = permuted(weights[f"{layer}self_attn.{ours}.weight"])
            writer.add_tensor(f"blk.{k}.{theirs}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_the_model_it_was_written_from(tmp_path, nano):
    write_gguf(tmp_path / "s.gguf", "S")
    model = load_model(str(tmp_path / "s.gguf"))
    text = "She thinks that perhaps the dogs bark. It is a"
    ids = model.tokenizer(text)["input_ids"]
    own = nano("S").tokenizer(text)["input_ids"]
    assert [i for i in ids if i > 1] == [i for i in own if i > 1]
    ids = torch.tensor([own])
    torch.testing.assert_close(model.logits(ids), nano("S").logits(ids), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", FAMILY)
def test_the_embedded_family_loads(nano, name):
    model = nano(name)
    size = FAMILY[name]
    assert (model.width, model.n_layers, model.context) == (size.width, size.layers, 128)
    assert model.tokenizer("The dog")["input_ids"][0] == model.tokenizer.bos_token_id


def test_equal_weights_have_equal_digests(nano, random_folder):
    assert nano("S").digest == load_model(str(FAMILY["S"].folder)).digest
    assert nano("S").digest != nano("S2").digest
    assert (
        load_model(str(random_folder("llama", 0))).digest != load_model(str(random_folder("llama", 1))).digest
    )


def test_planted_models_share_their_base():
    models = Models()
    planted = models.get("planted-rotation:nano/S")
    assert planted.base is models.get("nano/S")
    models.keep({"planted-rotation:nano/S"})
    assert models.get("nano/S") is planted.base
    models.keep(set())
    assert models.get("nano/S") is not planted.base


def test_half_precision_weights_load(nano):
    model = load_model("nano/S", dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    ids = torch.randint(2, 1500, (2, 9))
    assert (model.logits(ids) - nano("S").logits(ids)).abs().max() < 2.0


def folder_with(tmp_path: Path, *names: str) -> str:
    for name in names:
        (tmp_path / name).write_text((WEIGHTS / "S" / name).read_text())
    return str(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda p: "nano/XL",
            r"no such member \(did you mean nano/L\?\); the embedded family has S, S2, M, L",
        ),
        (lambda p: str(p / "nowhere"), "no such folder"),
        (lambda p: str(p), "config.json is missing"),
        (lambda p: folder_with(p, "config.json"), "no weights there"),
        (lambda p: str(p / "model.gguf"), "no such GGUF file"),
        (lambda p: "planted-shear:nano/S", "no such planted model"),
    ],
)
def test_bad_models_are_named_in_one_line(tmp_path, make, message):
    with pytest.raises(UserError, match=message) as caught:
        load_model(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_named(tmp_path):
    folder = folder_with(tmp_path, "config.json", "tokenizer.json", "tokenizer_config.json")
    whole = (WEIGHTS / "S" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=str(tmp_path)):
        load_model(folder)


@pytest.fixture
def deaf_hub(monkeypatch):
    """A Hub that hangs up on everybody, and the requests for files that were made to it."""
    requests: list[str] = []

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self):
            request = self.request.recv(4096).decode().partition("\r\n")[0]
            if request and not request.startswith("GET /api/"):  # the client's own notices
                requests.append(request)

    with socketserver.TCPServer(("127.0.0.1", 0), HangUp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield requests
        server.shutdown()


def test_a_hub_id_without_a_hub_is_one_line_after_one_attempt(deaf_hub):
    with pytest.raises(
        UserError, match=r"org/absent@main: not in the local cache, and .* does not answer"
    ) as caught:
        load_model("org/absent@main")
    assert "\n" not in str(caught.value)
    assert deaf_hub == ["HEAD / HTTP/1.1"]


def test_a_hub_id_offline_is_one_line_and_no_attempt(deaf_hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"org/absent: not in the local cache, and HF_HUB_OFFLINE is set"):
        load_model("org/absent")
    assert not deaf_hub


def test_bad_devices_and_types_are_named():
    with pytest.raises(UserError, match="--device tpu9"):
        Models(device="tpu9")
    with pytest.raises(UserError, match="--dtype int3: give one of float32"):
        Models(dtype="int3")


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_device_map_changes_no_number(random_folder, random_model, architecture):
    """accelerate wraps every module's forward; the parts must still add up."""
    spread_out = Models(device_map="auto").get(str(random_folder(architecture)))
    plain = random_model(architecture)
    ids = torch.randint(2, 1500, (2, 9))
    torch.testing.assert_close(spread_out.logits(ids), plain.logits(ids), atol=1e-4, rtol=1e-4)
    states = spread_out.states(ids, [2])[2]
    torch.testing.assert_close(spread_out.resume(states, 2), plain.resume(states, 2), atol=1e-4, rtol=1e-4)
