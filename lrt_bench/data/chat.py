"""Chat templates: an instruction and the beginning of an answer, as the text that a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lrt_bench.errors import UserError

Turn = tuple[str, str]  # (role, text); the roles are "user" and "assistant"
ROLES = {"human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant",
         "bot": "assistant", "model": "assistant"}  # fmt: skip


def render(tokenizer: Any, user: str, answer: str = "") -> str:
    """The text up to where the answer goes on: in the chat template where the tokenizer has one, else plain.

    The template's own BOS stays in the text; `corpus.encode` adds none beside it.
    """
    if not getattr(tokenizer, "chat_template", None):
        return f"{user}\n\n{answer}"
    return _apply(tokenizer, [("user", user)], True) + answer


def answer_start(tokenizer: Any, instruction: str | None, text: str) -> str:
    """The text as the beginning of an answer to the instruction; by itself where there is none."""
    return text if instruction is None else render(tokenizer, instruction, text)


def conversation(tokenizer: Any, turns: Sequence[Turn]) -> str:
    """A whole conversation as a document."""
    if not getattr(tokenizer, "chat_template", None):
        return plain(turns)
    return _apply(tokenizer, turns, False)


def plain(turns: Sequence[Turn]) -> str:
    """A conversation without a template."""
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in turns)


def shared(source: Any, target: Any) -> Callable[[Sequence[Turn]], str]:
    """How both models of a pair read one conversation: in their template if it is the same, else plain.

    Both must read the same characters, or no token could be paired with another.
    """
    same = getattr(source, "chat_template", None) == getattr(target, "chat_template", None)
    same = same and source.bos_token == target.bos_token and source.eos_token == target.eos_token
    return (lambda turns: conversation(source, turns)) if same else plain


def turns_of(value: Any) -> list[Turn] | None:
    """Turns in the usual layouts (role and content, from and value); None where `value` is none of them."""
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return None
    found = []
    for turn in value:
        role = ROLES.get(str(turn.get("role", turn.get("from"))).lower())
        text = turn.get("content", turn.get("value"))
        if not isinstance(text, str):
            return None
        if role:  # system prompts and tool calls are left out
            found.append((role, text))
    return found or None


def _apply(tokenizer: Any, turns: Sequence[Turn], prompt: bool) -> str:
    messages = [{"role": role, "content": text} for role, text in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
    except Exception as error:  # a template is code of the model's author
        if prompt:
            raise UserError(f"{tokenizer.name_or_path}: its chat template fails: {error}") from error
        return plain(turns)  # templates refuse turns that do not alternate
