"""Models run in parts give what they give whole, in every architecture, and are left as they were."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from architectures import ARCHITECTURES

from lrt_bench.errors import UserError
from lrt_bench.models.blocks import llama as llama_block
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site


def ids_of(model, rows=3, length=11):
    return torch.randint(2, 1500, (rows, length), generator=torch.Generator().manual_seed(1))


def own_logits(model, ids):
    with torch.inference_mode():
        return model.module(input_ids=ids, use_cache=False).logits.float()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parts_give_the_models_own_logits(random_model, architecture):
    model = random_model(architecture)
    ids = ids_of(model)
    expected = own_logits(model, ids)
    for layer in range(1, model.n_layers + 1):
        states = model.states(ids, [layer])[layer]
        logits = model.head.all(model.finish(model.resume(states, layer)))
        torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_the_blocks_outputs(random_model, architecture):
    """Against forward hooks on the blocks: a layer off by one would show here."""
    model = random_model(architecture)
    ids = ids_of(model)
    seen = {}
    handles = [
        block.register_forward_hook(
            lambda module, args, output, k=k: seen.__setitem__(
                k + 1, output[0] if isinstance(output, tuple) else output
            )
        )
        for k, block in enumerate(model.blocks)
    ]
    own_logits(model, ids)
    for handle in handles:
        handle.remove()
    streams = model.states(ids, range(1, model.n_layers + 1))
    for layer, states in streams.items():
        torch.testing.assert_close(states, seen[layer], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_grown_batch_gives_each_rows_own_answer(random_model, architecture):
    """Gemma-2's masks keep the old batch size in a naive implementation."""
    model = random_model(architecture)
    ids = ids_of(model)
    states = model.states(ids, [2])[2]
    last = torch.tensor([10, 7, 4])
    single = model.resume(states, 2)[torch.arange(3), last]
    grown = model.resume_at(states.repeat(5, 1, 1), 2, last.repeat(5)[:, None])[:, 0]
    torch.testing.assert_close(grown, single.repeat(5, 1), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_on_the_right_changes_nothing(random_model, architecture):
    model = random_model(architecture)
    ids = ids_of(model)
    padded = torch.cat([ids[:, :6], torch.zeros(3, 9, dtype=torch.long)], 1)
    short = model.states(ids[:, :6], [3])[3]
    torch.testing.assert_close(model.states(padded, [3])[3][:, :6], short, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_decoding_equals_whole_forwards(random_model, architecture):
    model = random_model(architecture)
    ids = ids_of(model, length=9)
    cache = model.new_cache()
    frame = model.frame(8)
    states = model.embed(ids[:, :8])
    for index in range(model.n_layers):
        states = model.block(index, states, frame, cache)
    frame = model.frame(1, 8)
    states = model.embed(ids[:, 8:], 8)
    for index in range(model.n_layers):
        states = model.block(index, states, frame, cache)
    logits = model.head.all(model.finish(states))[:, 0]
    torch.testing.assert_close(logits, own_logits(model, ids)[:, -1], atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_choice_logits_are_rows_of_all_logits(random_model, architecture):
    model = random_model(architecture)
    final = model.finish(model.states(ids_of(model), [model.n_layers])[model.n_layers])[:, -1]
    tokens = torch.tensor([[5, 9], [100, 3], [7, 1400]])
    expected = model.head.all(final).gather(1, tokens)
    torch.testing.assert_close(model.head.choice(final, tokens), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "opt"])
def test_running_a_model_leaves_it_as_it_was(random_model, architecture):
    model = random_model(architecture)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    blocks = list(getattr(model.owner, model.attribute))
    ids = ids_of(model)
    model.finish(model.resume(model.states(ids, [2])[2], 2))
    assert list(getattr(model.owner, model.attribute)) == blocks
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.module.modules())
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_blocks_above_the_layer_are_not_run(random_model):
    model = random_model("llama")
    ran = []
    handles = [
        b.self_attn.q_proj.register_forward_hook(lambda *_, k=k: ran.append(k))
        for k, b in enumerate(model.blocks)
    ]
    model.states(ids_of(model), [2])
    for handle in handles:
        handle.remove()
    assert ran == [0, 1]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_blocks_like_llamas_are_run_with_fewer_passes(random_model, architecture):
    assert all(random_model(architecture)._lean)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3", "gpt_neox", "gpt2", "opt", "phi", "phi3"])
def test_other_blocks_are_run_as_they_are(random_model, architecture):
    assert not any(random_model(architecture)._lean)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_block_falls_back_by_an_error(random_folder, architecture, caplog):
    """What a faster block does not know is seen before it is run; an error of its own would be logged."""
    with caplog.at_level(logging.INFO, "lrt_bench"):
        load_model(str(random_folder(architecture)))
    assert "is run as it is" not in caplog.text


def test_a_bug_in_a_faster_block_is_no_slower_model(random_folder, monkeypatch):
    """Only what the architecture's own code raises makes a probe try another way."""

    def broken(*_args, **_kwargs):
        raise AttributeError("a mistake of ours")

    monkeypatch.setattr(llama_block, "run", broken)
    with pytest.raises(AttributeError, match="a mistake of ours"):
        load_model(str(random_folder("llama")))


def test_what_a_models_own_code_raises_is_one_line(random_model):
    model = random_model("gemma2")
    frame = model.frame(5)
    with pytest.raises(UserError, match="its own code raises RuntimeError"):
        model.block(0, torch.zeros(1, 5, model.width + 1), frame)


def test_a_block_that_only_looks_like_llamas_is_found_out(random_model):
    """Its parts have the names, and something is done between them that they don't show."""
    block = copy.deepcopy(random_model("llama").blocks[0])
    frame, states = random_model("llama").frame(8), random_model("llama").embed(ids_of(random_model("llama")))
    states = states[:, :8]
    assert llama_block.fits(block, frame.calls[0], states)
    block.forward = lambda x, *args, **kwargs: x + 0.9 * (type(block).forward(block, x, *args, **kwargs) - x)
    assert not llama_block.fits(block, frame.calls[0], states)


@pytest.mark.parametrize("kind", ["rotation", "widening"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox", "gpt2"])
def test_planting_keeps_the_function_and_moves_the_states(random_model, architecture, kind):
    base = random_model(architecture)
    planted = plant(kind, base)
    ids = ids_of(base)
    torch.testing.assert_close(planted.logits(ids), base.logits(ids), atol=1e-3, rtol=1e-3)
    own, moved = base.states(ids, [2])[2], planted.states(ids, [2])[2]
    torch.testing.assert_close(moved, own @ planted.basis.T, atol=1e-3, rtol=1e-3)
    gram = planted.basis.T @ planted.basis
    torch.testing.assert_close(gram, torch.eye(base.width), atol=1e-5, rtol=0)
    assert planted.width == (base.width if kind == "rotation" else 72)


def test_planted_rotation_agrees_with_rotated_weights(nano):
    """An independent construction: the rotation folded into a Llama's weights, its gains first."""
    import copy

    base = nano("S")
    planted = plant("rotation", base)
    q = planted.basis
    module = copy.deepcopy(base.module)
    module.lm_head.weight = torch.nn.Parameter(module.lm_head.weight.detach().clone())  # untie
    inner = module.model
    with torch.no_grad():
        inner.embed_tokens.weight.copy_(inner.embed_tokens.weight @ q.T)
        for block in inner.layers:
            attention, mlp = block.self_attn, block.mlp
            for norm, readers in (
                (block.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (block.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                for reader in readers:
                    reader.weight.copy_((reader.weight * norm.weight) @ q.T)
                norm.weight.fill_(1)
            for writer in (attention.o_proj, mlp.down_proj):
                writer.weight.copy_(q @ writer.weight)
        module.lm_head.weight.copy_((module.lm_head.weight * inner.norm.weight) @ q.T)
        inner.norm.weight.fill_(1)
    ids = ids_of(base) % 1500
    with torch.inference_mode():
        output = module(input_ids=ids, output_hidden_states=True)
    torch.testing.assert_close(output.logits, planted.logits(ids), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(output.hidden_states[2], planted.states(ids, [2])[2], atol=5e-3, rtol=1e-3)


def test_layers_are_counted_from_one_and_checked(random_model):
    model = random_model("llama")
    for layer in (0, 5, -1):
        with pytest.raises(UserError, match=f"layer {layer} is out of range.*1 to 4"):
            Site(model, layer)
    assert Site(model, 3).depth == 0.75
