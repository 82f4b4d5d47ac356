"""Texts to token ids, as a model reads them: each gives a token at least."""

from __future__ import annotations

from collections.abc import Sequence

from lrt_bench.errors import UserError
from lrt_bench.models.base import LanguageModel


def token_ids(model: LanguageModel, texts: Sequence[str], what: str = "text") -> list[list[int]]:
    """Token ids of each text, BOS first where `data.corpus.encode` puts it.

    what : what a text is called in an error: "text", "prompt".

    Raises
    ------
    UserError
        Where the tokenizer leaves nothing of a text: it would have no state, and take that of the padding.
    """
    encoded = [tokens.ids for tokens in model.encode(texts)]
    for number, (ids, text) in enumerate(zip(encoded, texts, strict=True), 1):
        if not ids:
            raise UserError(
                f"{model.name}: {what} {number} of {len(texts)} ({text[:40]!a}) gives no token in its "
                "tokenizer: leave it out, or write it in characters that the tokenizer keeps"
            )
    return encoded
