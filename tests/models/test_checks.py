"""What is assumed of a model is checked when it is loaded: the right number, or one line."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from architectures import ARCHITECTURES
from safetensors.torch import load_file, save_file

from lrt_bench.errors import UserError
from lrt_bench.models.batching import by_length, forwards, pad, paired_by_length, paired_forwards
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.loading import Models, load_model
from lrt_bench.models.sites import Site
from lrt_bench.models.texts import token_ids
from lrt_bench.steering.concepts import last_states
from lrt_bench.steering.generation import TextLoss, generate

PROMPT = "The sailor is"
LLAMA = ARCHITECTURES["llama"][1] | {"bos_token_id": 0, "eos_token_id": 1}


@pytest.fixture
def folder(random_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a random Llama that the test may change."""
    return shutil.copytree(random_folder("llama"), tmp_path / "model")


def saved(config: object, folder: Path, like: Path) -> Path:
    """A random model of a configuration in a folder, with the tokenizer of another."""
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
    module.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(like / name, folder / name)
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def one_line(folder: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        load_model(str(folder), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# end of text


def test_writing_stops_where_transformers_stops(folder):
    """A chat model's generation configuration names an end of turn beside the tokenizer's EOS."""
    free = load_model(str(folder))
    whole = generate(Site(free, 2), [PROMPT], torch.zeros(1, 48), 12, temperature=0.0).tokens[0][0]
    assert len(whole) == 12
    end = next(token for token in whole[1:] if token != whole[0])
    transformers.GenerationConfig(eos_token_id=[1, end]).save_pretrained(folder)
    model = load_model(str(folder))
    assert model.ends == {1, end}
    written = generate(Site(model, 2), [PROMPT], torch.zeros(1, 48), 12, temperature=0.0)
    ids = torch.tensor(token_ids(model, [PROMPT]))
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
    expected = plain.generate(ids, do_sample=False, max_new_tokens=12)[0, ids.shape[1] :].tolist()
    assert [*written.tokens[0][0], end] == expected
    assert written.texts[0][0] == model.tokenizer.decode(expected[:-1])


@pytest.mark.parametrize("content", ["{", "[]", '{"eos_token_id": "end"}', '{"eos_token_id": [1, true]}'])
def test_a_broken_generation_configuration_is_refused(folder, content):
    """Transformers does without it, and a text would go on past the model's own end."""
    (folder / "generation_config.json").write_text(content)
    assert "generation_config.json" in one_line(folder)


def test_a_planted_model_ends_where_its_base_does(nano):
    base = nano("S")
    other = plant("retokenized", base)
    assert {int(other.order[token]) for token in other.ends} == base.ends
    assert plant("rotation", base).ends == base.ends


# the checkpoint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("model.layers.1.mlp.up_proj.weight"), r"model.layers.1.mlp.up_proj.weight: missing"),
        (lambda w: w.pop("lm_head.weight"), "lm_head.weight: missing"),
        (lambda w: w.pop("model.norm.weight"), "model.norm.weight: missing"),
        (lambda w: w.pop("model.embed_tokens.weight"), "model.embed_tokens.weight: missing"),
        (
            lambda w: w.update({"model.norm.weight": torch.ones(47)}),
            r"model.norm.weight \(has \[47\], wants \[48\]\): of another shape",
        ),
        (
            lambda w: w.update({"model.layers.4.mlp.up_proj.weight": torch.ones(96, 48)}),
            "model.layers.4.mlp.up_proj.weight: the architecture has no place for it",
        ),
        (
            lambda w: w.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(48)}),
            "q_proj.bias: the architecture has no place for it",
        ),
        (
            lambda w: w["model.layers.2.mlp.down_proj.weight"][0].fill_(torch.nan),
            "down_proj.weight holds NaN",
        ),
        (lambda w: w["model.embed_tokens.weight"][1599].fill_(torch.inf), "embed_tokens.weight is infinite"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused(folder, change, message):
    change_weights(folder, change)
    with pytest.raises(UserError, match=message):
        load_model(str(folder))


def test_tensors_that_no_text_passes_through_are_noted(folder, caplog):
    expected = load_model(str(folder)).logits(torch.tensor([[0, 5, 6]]))
    change_weights(folder, lambda w: w.update({"value_head.weight": torch.ones(1, 48)}))
    with caplog.at_level(logging.WARNING, "lrt_bench"):
        model = load_model(str(folder))
    assert "value_head.weight" in caplog.text
    torch.testing.assert_close(model.logits(torch.tensor([[0, 5, 6]])), expected)


def test_a_tied_head_is_not_missing(random_folder, tmp_path):
    config = transformers.LlamaConfig(**LLAMA, tie_word_embeddings=True)
    path = saved(config, tmp_path / "tied", random_folder("llama"))
    assert "lm_head.weight" not in load_file(path / "model.safetensors")
    model = load_model(str(path))
    assert model.head.weight.data_ptr() == model.module.get_input_embeddings().weight.data_ptr()


# numbers that are not finite


def test_a_precision_that_overflows_is_named(folder):
    """Fine in float32 and bfloat16; in float16 the states after the second block are infinite."""
    change_weights(folder, lambda w: w["model.layers.1.mlp.down_proj.weight"].mul_(1e4))
    change_weights(folder, lambda w: w["model.layers.1.mlp.up_proj.weight"].mul_(1e3))
    for dtype in ("float32", "bfloat16"):
        load_model(str(folder), dtype=dtype)
    assert "its states after block 2 are not finite in float16" in one_line(folder, dtype="float16")
    change_weights(folder, lambda w: w["model.layers.1.mlp.down_proj.weight"].mul_(1e4))
    message = one_line(folder, dtype="float16")
    assert "model.layers.1.mlp.down_proj.weight is infinite in float16: give --dtype" in message


def test_states_that_overflow_later_are_named(folder):
    """One token's embedding is large: the probe's tokens do not meet it, a text does."""
    tokenizer = load_model(str(folder)).tokenizer
    [token] = tokenizer(" sailor", add_special_tokens=False)["input_ids"]
    change_weights(folder, lambda w: w["model.embed_tokens.weight"][token].fill_(65_000))
    change_weights(folder, lambda w: w["model.layers.0.mlp.down_proj.weight"].mul_(300))
    change_weights(folder, lambda w: w["model.layers.0.mlp.up_proj.weight"].mul_(20))
    model = load_model(str(folder), dtype="float16")
    with pytest.raises(UserError, match="its states at layer 2 are not finite in float16"):
        last_states(Site(model, 2), [PROMPT + " sailor"])
    with pytest.raises(UserError, match="its logits under steering are not finite in float16"):
        generate(Site(model, 2), [PROMPT + " sailor"], torch.zeros(1, 48), 2)
    assert last_states(Site(load_model(str(folder)), 2), [PROMPT + " sailor"]).isfinite().all()


# tokens and texts


def test_tokens_beyond_the_embedding_are_refused_before_a_forward(folder):
    """A chat template writes tokens that were added and never resized for."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    added = 1600 - len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<{i}>" for i in range(added)] + ["<turn>"]})
    tokenizer.save_pretrained(folder)
    model = load_model(str(folder))
    with pytest.raises(UserError, match=r"token '<turn>' \(1600\) is beyond the embedding of 1600 rows"):
        last_states(Site(model, 2), ["She saw <turn> the dog"])
    assert last_states(Site(model, 2), ["She saw the dog"]).isfinite().all()
    (folder / "chat_template.jinja").write_text("<turn>{{ messages[0].content }}")
    assert "'<turn>' beyond the embedding of 1600 rows" in one_line(folder)


def without_bos(folder: Path) -> Path:
    """The tokenizer drops zero-width spaces, and puts no BOS before a text."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["normalizer"] = {"type": "Replace", "pattern": {"String": "\u200b"}, "content": ""}
    spec["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return folder


def test_a_text_that_gives_no_token_is_refused(folder):
    model = load_model(str(without_bos(folder)), bos="never")
    site, texts = Site(model, 2), ["She loved the dog", "\u200b"]
    for read in (
        lambda: last_states(site, texts),
        lambda: TextLoss(site, texts),
        lambda: generate(site, texts, torch.zeros(1, 48), 2),
    ):
        with pytest.raises(UserError, match=r"2 of 2: '\\u200b' gives no token"):
            read()


def test_bos_is_put_before_texts_as_it_is_asked_for(folder, caplog):
    without_bos(folder)
    with caplog.at_level(logging.WARNING, "lrt_bench"):
        auto = load_model(str(folder))
    assert "texts begin with its BOS '<bos>'" in caplog.text
    never = load_model(str(folder), bos="never")
    assert token_ids(auto, ["The dog"])[0] == [0, *token_ids(never, ["The dog"])[0]]
    assert auto.digest != never.digest
    assert load_model(str(folder), bos="always").digest == auto.digest
    change_json(folder / "tokenizer_config.json", bos_token=None)
    with pytest.raises(UserError, match="--bos always: its tokenizer defines no BOS"):
        load_model(str(folder), bos="always")
    with pytest.raises(UserError, match="--bos sometimes: give one of"):
        Models(bos="sometimes")


# padding, caches, directions


LONG = {
    "rope_type": "longrope", "short_factor": [1.0] * 6, "long_factor": [4.0] * 6, "rope_theta": 10000.0,
    "original_max_position_embeddings": 12, "factor": 16.0,
}  # fmt: skip


@pytest.fixture
def stretched(random_folder, tmp_path):
    """A model whose rotary angles change for every token of a text that is longer than 12 tokens."""
    config = transformers.Phi3Config(
        **LLAMA, pad_token_id=2, rope_parameters=LONG, original_max_position_embeddings=12
    )
    return load_model(str(saved(config, tmp_path / "long", random_folder("llama"))))


def test_states_do_not_depend_on_longer_texts_of_the_batch(stretched):
    texts = ["The dog", PROMPT, "She thinks that perhaps the dogs bark near the old ship, and that he came."]
    rows = token_ids(stretched, texts)
    assert len(rows[1]) < 12 < len(rows[2])
    assert stretched.one_length
    together = last_states(Site(stretched, 3), texts)
    plain = transformers.AutoModelForCausalLM.from_pretrained(stretched.name)
    for ids, state in zip(rows, together, strict=True):
        with torch.inference_mode():
            expected = plain(torch.tensor([ids]), output_hidden_states=True).hidden_states[3][0, -1]
        torch.testing.assert_close(state, expected, atol=1e-5, rtol=1e-5)
    apart = stretched.states(pad(rows), [3])[3][1, len(rows[1]) - 1]
    assert not torch.allclose(apart, together[1], atol=1e-3)  # what a padded batch would give


def test_batches_of_such_a_model_hold_texts_of_one_length(stretched, nano):
    lengths = [5, 7, 5, 5, 9, 7]
    for batches in (by_length(lengths, 4, stretched), forwards(stretched, lengths, 4)):
        listed = list(batches)
        assert sorted(i for batch in listed for i in batch) == list(range(6))
        assert all(len({lengths[i] for i in batch}) == 1 for batch in listed)
    pairs = [(5, 4), (5, 4), (5, 6), (7, 6)]
    for paired in (paired_forwards, paired_by_length):
        listed = list(paired((stretched, nano("S")), pairs, 4))
        assert sorted(map(sorted, listed)) == [[0, 1], [2], [3]]
        assert sorted(map(sorted, paired((nano("S"), nano("S")), pairs, 4))) == [[0, 1, 2, 3]]


def test_it_writes_what_whole_forwards_write(stretched):
    """Its cache would keep keys of other angles once the text has grown past 12 tokens."""
    assert stretched.cache_reach == 0
    [ids] = token_ids(stretched, [PROMPT])
    plain = transformers.AutoModelForCausalLM.from_pretrained(stretched.name)
    expected = list(ids)
    for _ in range(14):
        with torch.inference_mode():
            expected.append(int(plain(torch.tensor([expected]), use_cache=False).logits[0, -1].argmax()))
    written = generate(Site(stretched, 2), [PROMPT], torch.zeros(1, 48), 14, temperature=0.0).tokens[0][0]
    assert len(expected) > 12
    assert written == expected[len(ids) :][: len(written)]
    assert len(written) > 8


def test_a_model_that_reads_in_both_directions_is_refused(random_folder, tmp_path):
    config = transformers.Gemma3TextConfig(**LLAMA, head_dim=12, use_bidirectional_attention=True)
    path = saved(config, tmp_path / "both", random_folder("llama"))
    assert "depends on later tokens" in one_line(path)


WIDE = LLAMA | {"max_position_embeddings": 512, "head_dim": 12}
WINDOWED = {  # windows and chunks that the probe crosses, and others that it does not
    "mistral": lambda width: transformers.MistralConfig(**WIDE, sliding_window=width),
    "gemma3": lambda width: transformers.Gemma3TextConfig(**WIDE, sliding_window=width),
    "llama4": lambda width: transformers.Llama4TextConfig(
        **WIDE, intermediate_size_mlp=96, num_local_experts=2, attention_chunk_size=width
    ),
}  # fmt: skip


@pytest.mark.parametrize("width", [40, 300])
@pytest.mark.parametrize("kind", WINDOWED)
def test_it_writes_across_the_border_of_a_window_what_transformers_writes(
    kind, width, random_folder, tmp_path
):
    """Rows that grow past a window which the probe did not cross are run whole from there on."""
    path = saved(WINDOWED[kind](width), tmp_path / kind, random_folder("llama"))
    model, plain = load_model(str(path)), transformers.AutoModelForCausalLM.from_pretrained(path)
    assert width == 40 or model.cache_reach == 300
    [prompt] = token_ids(model, ["The sailor came home with the dogs of a friend. " * 60])
    expected = prompt[: width - 4]
    text = model.tokenizer.decode(expected, skip_special_tokens=True)
    [ids] = token_ids(model, [text])
    assert ids == expected
    with torch.inference_mode():
        for _ in range(12):
            expected = [
                *expected,
                int(plain(torch.tensor([expected]), use_cache=False).logits[0, -1].argmax()),
            ]
    written = generate(Site(model, 2), [text], torch.zeros(1, 48), 12, temperature=0.0).tokens[0][0]
    assert written == expected[len(ids) :]


# code of a model's own


@pytest.fixture
def with_code(folder, tmp_path):
    """A folder whose configuration and model are classes that lie in it; its code leaves a trace."""
    trace = tmp_path / "ran"
    model = "OwnForCausalLM"
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": f"modeling_own.{model}"}
    change_json(folder / "config.json", auto_map=auto_map, model_type="own_lm", architectures=[model])
    (folder / "configuration_own.py").write_text(
        f"from transformers import LlamaConfig\nopen({str(trace)!r}, 'w').close()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own_lm'\n"
    )
    (folder / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\nfrom .configuration_own import OwnConfig\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    return folder, trace


def test_a_models_own_code_runs_only_where_it_is_allowed(with_code, monkeypatch):
    folder, trace = with_code
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    message = one_line(folder)
    assert "--trust-remote-code" in message
    assert not trace.exists()
    model = load_model(str(folder), trust_remote_code=True)
    assert trace.exists()
    assert type(model.module).__name__ == "OwnForCausalLM"


# digests


def test_every_file_that_a_loader_may_read_is_in_the_digest(folder):
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    (folder / "added_tokens.json").write_text("{}")
    (folder / "modeling_own.py").write_text("")
    (folder / "templates").mkdir()
    (folder / "templates" / "tools.jinja").write_text("x")

    def digest() -> str:
        from lrt_bench.models.checks.digests import folder_digest

        return folder_digest(folder)

    before = digest()
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in files
    }
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        assert digest() != before, file.name
        file.write_bytes(content)
        file.rename(file.with_name(f"other-{file.name}"))
        assert digest() != before, file.name
        file.with_name(f"other-{file.name}").rename(file)
    assert digest() == before
    for name in ("README.md", "LICENSE", "figure.png", ".gitattributes"):
        (folder / name).write_text("x")
    assert digest() == before
    assert load_model(str(folder)).digest == load_model(str(folder)).digest


def test_a_gguf_files_digest_holds_what_lies_beside_it(tmp_path):
    from lrt_bench.models.checks.digests import gguf_digest

    (tmp_path / "a.gguf").write_bytes(b"one")
    before = gguf_digest(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_bytes(b"two")  # another quantisation
    assert gguf_digest(tmp_path / "a.gguf") == before
    (tmp_path / "generation_config.json").write_text("{}")
    assert gguf_digest(tmp_path / "a.gguf") != before
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "a.gguf").write_bytes(b"ONE")
    assert gguf_digest(tmp_path / "a.gguf") != before
