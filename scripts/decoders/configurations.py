"""Tiny configurations of transformers' decoders, with the place of their blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VOCABULARY = 1600  # wider than the tokenizer's, as padded vocabularies are
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 4, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 2,
}  # fmt: skip
_GROUPED = _SIZES | {"num_key_value_heads": 2}
_HEADS = _GROUPED | {"head_dim": 12}
_GPT = {
    "vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 4, "n_head": 4, "n_positions": 256, "n_inner": 96,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
_LONG = {
    "rope_type": "longrope", "short_factor": [1.0] * 6, "long_factor": [4.0] * 6, "rope_theta": 10000.0,
    "original_max_position_embeddings": 12, "factor": 16.0,
}  # fmt: skip
_LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12,
    "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip
_BERT = _SIZES | {"is_decoder": True}
_SEQ2SEQ = {
    "vocab_size": VOCABULARY, "d_model": 48, "decoder_layers": 4, "encoder_layers": 4, "decoder_ffn_dim": 96,
    "encoder_ffn_dim": 96, "decoder_attention_heads": 4, "encoder_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
_STATE_SPACE = _SIZES | {"state_size": 8, "conv_kernel": 4, "expand": 2, "n_groups": 1}
_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
           "image_size": 28, "patch_size": 14}  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """One decoder.

    config : the class's name.
    blocks : the path of the decoder blocks in the model.
    """

    name: str
    config: str
    arguments: dict[str, Any] = field(default_factory=dict)
    blocks: str = "model.layers"


def _of(name: str, config: str, blocks: str = "model.layers", /, **arguments: Any) -> Configuration:
    base = arguments.pop("base", _GROUPED)
    return Configuration(name, config, base | arguments, blocks)


CONFIGURATIONS: tuple[Configuration, ...] = (
    _of("llama", "LlamaConfig"),
    _of("llama, biases", "LlamaConfig", attention_bias=True, mlp_bias=True),
    _of("llama, tied head", "LlamaConfig", tie_word_embeddings=True),
    _of("llama, dynamic rotary", "LlamaConfig", rope_parameters=_DYNAMIC),
    _of("mistral", "MistralConfig", sliding_window=None),
    _of("mistral, window of 5", "MistralConfig", sliding_window=5),
    _of("ministral, window of 5", "MinistralConfig", base=_HEADS, sliding_window=5),
    _of("mixtral", "MixtralConfig", **_EXPERTS),
    _of("qwen2", "Qwen2Config"),
    _of("qwen2, window of 5", "Qwen2Config", use_sliding_window=True, sliding_window=5, max_window_layers=2),
    _of("qwen2-moe", "Qwen2MoeConfig", **_EXPERTS, shared_expert_intermediate_size=32),
    _of("qwen3", "Qwen3Config", base=_HEADS),
    _of("qwen3-moe", "Qwen3MoeConfig", base=_HEADS, **_EXPERTS),
    _of("qwen3-next", "Qwen3NextConfig", base=_HEADS, **_EXPERTS, linear_num_value_heads=4,
        linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
        shared_expert_intermediate_size=32),
    _of("gemma", "GemmaConfig", base=_HEADS),
    _of("gemma2", "Gemma2Config", base=_HEADS, sliding_window=5),
    _of("gemma3, text", "Gemma3TextConfig", base=_HEADS, sliding_window=5),
    _of("gemma3, with a vision tower of as many blocks", "Gemma3Config", "model.language_model.layers", base={
        "text_config": _HEADS | {"sliding_window": 5}, "vision_config": _VISION,
        "mm_tokens_per_image": 4, "image_token_index": 1599, "boi_token_index": 1598, "eoi_token_index": 1597,
    }),
    _of("gemma3n, text", "Gemma3nTextConfig", base=_HEADS, hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY, laurel_rank=8, num_kv_shared_layers=0, sliding_window=5),
    _of("vaultgemma", "VaultGemmaConfig", base=_HEADS, sliding_window=5),
    _of("phi", "PhiConfig", base=_SIZES),
    _of("phi3", "Phi3Config"),
    _of("phi3, long rotary from 12 tokens", "Phi3Config", rope_parameters=_LONG,
        original_max_position_embeddings=12),
    _of("phimoe", "PhimoeConfig", **_EXPERTS),
    _of("gpt2", "GPT2Config", "transformer.h", base=_GPT),
    _of("gpt-j", "GPTJConfig", "transformer.h", base=_GPT, rotary_dim=8),
    _of("gpt-neo, window of 5", "GPTNeoConfig", "transformer.h", base=_SIZES, num_layers=4, num_heads=4,
        attention_types=[[["global", "local"], 2]], window_size=5),
    _of("gpt-neox", "GPTNeoXConfig", "gpt_neox.layers", base=_SIZES),
    _of("gpt-neox, sequential", "GPTNeoXConfig", "gpt_neox.layers", base=_SIZES, use_parallel_residual=False),
    _of("gpt-bigcode", "GPTBigCodeConfig", "transformer.h", base=_GPT),
    _of("gpt-oss", "GptOssConfig", base=_HEADS, **_EXPERTS, sliding_window=5),
    _of("codegen", "CodeGenConfig", "transformer.h", base=_GPT, rotary_dim=8),
    _of("openai-gpt", "OpenAIGPTConfig", "transformer.h", base=_GPT),
    _of("opt", "OPTConfig", "model.decoder.layers", base=_SIZES, ffn_dim=96, word_embed_proj_dim=32),
    _of("bloom", "BloomConfig", "transformer.h", base=_SIZES, n_layer=4, n_head=4),
    _of("falcon", "FalconConfig", "transformer.h", base=_SIZES, alibi=False),
    _of("falcon, alibi", "FalconConfig", "transformer.h", base=_SIZES, alibi=True),
    _of("mpt", "MptConfig", "transformer.blocks", base=_SIZES, d_model=48, n_heads=4, n_layers=4,
        max_seq_len=256, expansion_ratio=2),
    _of("xglm", "XGLMConfig", base=_SIZES, d_model=48, ffn_dim=96, num_layers=4, attention_heads=4),
    _of("biogpt", "BioGptConfig", "biogpt.layers", base=_SIZES),
    _of("bart, decoder alone", "BartConfig", "model.decoder.layers", base=_SEQ2SEQ),
    _of("olmo", "OlmoConfig"),
    _of("olmo2", "Olmo2Config"),
    _of("olmo3", "Olmo3Config", sliding_window=5),
    _of("olmoe", "OlmoeConfig", **_EXPERTS),
    _of("stablelm", "StableLmConfig", partial_rotary_factor=0.5),
    _of("starcoder2", "Starcoder2Config"),
    _of("cohere", "CohereConfig"),
    _of("cohere2", "Cohere2Config", base=_HEADS, sliding_window=5),
    _of("granite", "GraniteConfig", logits_scaling=4.0, residual_multiplier=0.5, embedding_multiplier=2.0),
    _of("granite-moe", "GraniteMoeConfig", **_EXPERTS, logits_scaling=4.0),
    _of("persimmon", "PersimmonConfig", base=_SIZES),
    _of("nemotron", "NemotronConfig", base=_HEADS),
    _of("glm", "GlmConfig", base=_HEADS, partial_rotary_factor=0.5),
    _of("glm4", "Glm4Config", base=_HEADS, partial_rotary_factor=0.5),
    _of("exaone4", "Exaone4Config", base=_HEADS, sliding_window=5),
    _of("smollm3", "SmolLM3Config"),
    _of("helium", "HeliumConfig", base=_HEADS),
    _of("ernie4.5", "Ernie4_5Config", base=_HEADS),
    _of("hunyuan, dense", "HunYuanDenseV1Config", base=_HEADS),
    _of("seed-oss", "SeedOssConfig", base=_HEADS),
    _of("apertus", "ApertusConfig"),
    _of("arcee", "ArceeConfig"),
    _of("minicpm3", "MiniCPM3Config", base=_SIZES | _LATENT),
    _of("diffllama", "DiffLlamaConfig"),
    _of("doge", "DogeConfig"),
    _of("deepseek-v2", "DeepseekV2Config", base=_SIZES | _LATENT, head_dim=8),
    _of("deepseek-v3", "DeepseekV3Config", base=_SIZES | _LATENT, head_dim=8),
    _of("llama4, text", "Llama4TextConfig", base=_HEADS, **_EXPERTS, intermediate_size_mlp=96,
        attention_chunk_size=6),
    _of("jamba", "JambaConfig", **_EXPERTS, attn_layer_period=2, attn_layer_offset=1, use_mamba_kernels=False,
        mamba_d_state=8, mamba_dt_rank=4),
    _of("mamba", "MambaConfig", "backbone.layers", base=_STATE_SPACE),
    _of("mamba2", "Mamba2Config", "backbone.layers", base=_STATE_SPACE, num_heads=8, head_dim=12),
    _of("falcon-h1", "FalconH1Config", base=_HEADS, mamba_d_ssm=48, mamba_n_heads=4, mamba_d_head=12,
        mamba_d_state=8, lm_head_multiplier=0.5),
    _of("recurrent-gemma", "RecurrentGemmaConfig", base=_HEADS, lru_width=48, attention_window_size=8,
        block_types=["recurrent", "attention"]),
    _of("lfm2", "Lfm2Config", base=_GROUPED, full_attn_idxs=[1, 3]),
    _of("rwkv", "RwkvConfig", "rwkv.blocks", base=_SIZES, attention_hidden_size=48, context_length=256),
    _of("bert, as a decoder", "BertConfig", "bert.encoder.layer", base=_BERT),
    _of("bert, in both directions", "BertConfig", "bert.encoder.layer", base=_SIZES),
    _of("ctrl", "CTRLConfig", "transformer.h", base=_GPT, dff=96),
    _of("dots1", "Dots1Config", base=_HEADS, **_EXPERTS, n_routed_experts=4, n_shared_experts=1,
        n_group=1, topk_group=1, first_k_dense_replace=1),
    _of("flex-olmo", "FlexOlmoConfig", **_EXPERTS),
    _of("glm4-moe", "Glm4MoeConfig", base=_HEADS, **_EXPERTS, n_routed_experts=4, n_shared_experts=1,
        n_group=1, topk_group=1, first_k_dense_replace=1),
)  # fmt: skip
