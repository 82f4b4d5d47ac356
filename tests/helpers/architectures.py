"""Small configurations of the architectures that the tests run."""

from __future__ import annotations

VOCABULARY = 1600  # wider than the tokenizer's, as padded vocabularies are

_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_NEOX = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
# architecture -> (configuration class, arguments)
ARCHITECTURES: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("LlamaConfig", _LLAMA),
    "mistral": ("MistralConfig", _LLAMA | {"sliding_window": 5}),
    "qwen2": ("Qwen2Config", _LLAMA),
    "qwen3": ("Qwen3Config", _LLAMA | {"head_dim": 12}),
    "gemma2": ("Gemma2Config", _LLAMA | {"head_dim": 12, "sliding_window": 5}),
    "gemma3": ("Gemma3TextConfig", _LLAMA | {"head_dim": 12, "sliding_window": 5}),
    "phi": ("PhiConfig", _NEOX),
    "phi3": ("Phi3Config", _LLAMA | {"pad_token_id": 0}),
    "gpt_neox": ("GPTNeoXConfig", _NEOX),
    "gpt2": ("GPT2Config", {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 4, "n_head": 4}),
    "gptj": (
        "GPTJConfig",
        {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 4, "n_head": 4, "rotary_dim": 8},
    ),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 48,
            "ffn_dim": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 256,
        },
    ),
}
