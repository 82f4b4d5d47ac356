"""What a transformers model does around its decoder blocks, asked of a shallow copy that has none.

The blocks' place is taken by recorders; embeddings, masks, rotary angles and the final norm are the model's.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn


class _FirstBlockReachedError(Exception):
    """Raised to leave a forward once the first block's input is known."""


class _Recorder(nn.Module):
    """Stands in for a block: notes what it is handed, gives the states back (or `replacement`)."""

    def __init__(self, block: Any, tupled: bool) -> None:
        super().__init__()
        self.__dict__["block"] = block  # not a submodule: the recorder owns nothing
        self.signature = inspect.signature(block.forward)
        self.tupled = tupled  # older architectures read block(...)[0]
        self.states: Tensor | None = None
        self.call: dict[str, Any] | None = None
        self.replacement: Tensor | None = None
        self.leaves = False

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["block"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.states = args[0] if args else kwargs["hidden_states"]
        if self.leaves:
            raise _FirstBlockReachedError
        if self.replacement is None:
            bound = self.signature.bind(*args, **kwargs).arguments
            extra = bound.pop("kwargs", {})
            self.call = dict(list(bound.items())[1:]) | extra
            self.call.pop("use_cache", None)
        states = self.states if self.replacement is None else self.replacement
        return (states,) if self.tupled else states


class Shell:
    """A shallow copy of the module that owns the blocks, with recorders in their place.

    It does all that the model does around its blocks: embeddings, masks, rotary angles, the final norm.
    The model itself is not touched.
    """

    def __init__(self, owner: Any, attribute: str, tupled: bool) -> None:
        self.recorders = [_Recorder(block, tupled) for block in getattr(owner, attribute)]
        self.owner = copy.copy(owner)
        self.owner.__dict__.pop("forward", None)  # accelerate's wrapper is bound to the original
        self.owner._modules = dict(owner._modules) | {attribute: nn.ModuleList(self.recorders)}

    def _run(self, ids: Tensor, offset: int) -> Tensor:
        positions = torch.arange(offset, offset + ids.shape[1], device=ids.device)[None]
        output: Tensor = self.owner(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
        return output

    def calls(self, ids: Tensor, offset: int) -> list[dict[str, Any]]:
        """What each block is handed besides the states."""
        self._run(ids, offset)
        found = [recorder.call or {} for recorder in self.recorders]
        for recorder in self.recorders:
            recorder.call = recorder.states = None
        return found

    def embed(self, ids: Tensor, offset: int) -> Tensor:
        """The first block's input."""
        first = self.recorders[0]
        first.leaves = True
        try:
            self._run(ids, offset)
        except _FirstBlockReachedError:
            pass
        finally:
            first.leaves = False
        states, first.states = first.states, None
        assert states is not None
        return states

    def final(self, states: Tensor) -> nn.Module | None:
        """The one module that does all that follows the last block, where there is one, tried on `states`."""
        ids = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        expected = self.finish(ids, states)
        for module in self.owner.children():
            if isinstance(module, nn.ModuleList | nn.Embedding) or hasattr(module, "_hf_hook"):
                continue
            try:
                found = module(states)
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
                continue
            if isinstance(found, Tensor) and torch.equal(found, expected):
                return module
        return None

    def finish(self, ids: Tensor, states: Tensor) -> Tensor:
        """What follows the last block, on `states` [b, t, d]; `ids` [b, t] are looked up for nothing."""
        for recorder in self.recorders:
            recorder.replacement = states
        try:
            return self._run(ids, 0)
        finally:
            for recorder in self.recorders:
                recorder.replacement = recorder.states = None
