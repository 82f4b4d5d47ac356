"""Chat templates: an instruction and the beginning of an answer, as the text that a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lrt_bench.errors import UserError

Turn = tuple[str, str]  # (role, text); the roles are "user" and "assistant"
ROLES = {"human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant",
         "bot": "assistant", "model": "assistant"}  # fmt: skip


def render(tokenizer: Any, user: str, answer: str = "") -> str:
    """Render an instruction up to where the answer goes on.

    The tokenizer's chat template is used where it has one, else a blank line parts the two. The template's
    own BOS stays in the text; `corpus.encode` adds none beside it.
    """
    if not getattr(tokenizer, "chat_template", None):
        return f"{user}\n\n{answer}"
    return _apply(tokenizer, [("user", user)], True) + answer


def with_instruction(tokenizer: Any, instruction: str | None, text: str) -> str:
    """Render a text as the beginning of an answer to the instruction; by itself where there is none."""
    return text if instruction is None else render(tokenizer, instruction, text)


def conversation(tokenizer: Any, turns: Sequence[Turn]) -> str:
    """Render a whole conversation as a document."""
    if not getattr(tokenizer, "chat_template", None):
        return plain(turns)
    return _apply(tokenizer, turns, False)


def plain(turns: Sequence[Turn]) -> str:
    """Render a conversation without a template."""
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in turns)


def shared(source: Any, target: Any) -> Callable[[Sequence[Turn]], str]:
    """Choose how both models of a pair read one conversation.

    In their chat template if it is the same, else without one. Both must read the same characters, or no
    token could be paired with another.
    """
    same = getattr(source, "chat_template", None) == getattr(target, "chat_template", None)
    same = same and source.bos_token == target.bos_token and source.eos_token == target.eos_token
    return (lambda turns: conversation(source, turns)) if same else plain


def turns_of(value: Any) -> list[Turn] | None:
    """Read turns in the usual layouts (role and content, from and value).

    System prompts and tool calls are left out; with them alone the list is empty. Returns None where
    `value` is no list of turns.
    """
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return None
    turns = []
    for turn in value:
        role = ROLES.get(str(turn.get("role", turn.get("from"))).lower())
        text = _content(turn.get("content", turn.get("value")))
        if text is None:
            if role:
                return None
        elif role:
            turns.append((role, text))
    return turns


def _content(value: Any) -> str | None:
    """Read a turn's text, which some layouts cut into parts."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        texts = [part.get("text") for part in value if part.get("type", "text") == "text"]
        return "".join(texts) if all(isinstance(text, str) for text in texts) else None
    return value if isinstance(value, str) else None


def _apply(tokenizer: Any, turns: Sequence[Turn], prompt: bool) -> str:
    messages = [{"role": role, "content": text} for role, text in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
    except Exception as error:  # a template is code of the model's author
        if prompt:
            raise UserError(f"{tokenizer.name_or_path}: its chat template fails: {error}") from error
        return plain(turns)  # templates refuse turns that do not alternate
