"""What a transformers model does around its decoder blocks, read from a shallow copy that has none.

Recorders take the blocks' places; embeddings, masks, rotary angles and the final norm are the model's.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from lrt_bench.models.model_code import FirstBlockReachedError, ModelError, model_code


class _Recorder(nn.Module):
    """A stand-in for a block: it keeps its arguments and returns the states (or `replacement`)."""

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
        """Keep the arguments and return the states as the block would."""
        self.states = args[0] if args else kwargs["hidden_states"]
        if self.leaves:
            raise FirstBlockReachedError
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
    The model itself is not changed.

    Parameters
    ----------
    name : of the model, for errors.
    owner, attribute : the module that owns the list of blocks, and the list's name there.
    tupled : whether the owner reads `block(...)[0]`.

    Raises
    ------
    ModelError
        From every method, where the model's own code raises.
    """

    def __init__(self, name: str, owner: Any, attribute: str, tupled: bool) -> None:
        self.name = name
        self.recorders = [_Recorder(block, tupled) for block in getattr(owner, attribute)]
        self.owner = copy.copy(owner)
        self.owner.__dict__.pop("forward", None)  # accelerate's wrapper is bound to the original
        self.owner._modules = dict(owner._modules) | {attribute: nn.ModuleList(self.recorders)}
        accepted = inspect.signature(type(owner).forward).parameters
        self._any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
        self._takes_positions = self._any or "position_ids" in accepted
        self._takes_use_cache = self._any or "use_cache" in accepted

    def _run(self, ids: Tensor, offset: int) -> Tensor:
        options: dict[str, Any] = {"use_cache": False} if self._takes_use_cache else {}
        if self._takes_positions:
            options["position_ids"] = torch.arange(offset, offset + ids.shape[1], device=ids.device)[None]
        with model_code(self.name):
            output: Tensor = self.owner(input_ids=ids, **options).last_hidden_state
        return output

    def calls(self, ids: Tensor, offset: int) -> list[dict[str, Any]]:
        """Return each block's arguments besides the states, for ids [b, t] from position `offset` on."""
        self._run(ids, offset)
        calls = [recorder.call or {} for recorder in self.recorders]
        for recorder in self.recorders:
            recorder.call = recorder.states = None
        return calls

    def embed(self, ids: Tensor, offset: int) -> Tensor:
        """Return the first block's input [b, t, d] for ids [b, t]."""
        first = self.recorders[0]
        first.leaves = True
        try:
            self._run(ids, offset)
        except FirstBlockReachedError:
            pass
        finally:
            first.leaves = False
        states, first.states = first.states, None
        if states is None:
            raise ModelError(f"{self.name}: its own code does not reach its first block")
        if states.ndim != 3 or states.shape[:2] != ids.shape:
            raise ModelError(f"{self.name}: its blocks read states {list(states.shape)}: want [b, t, d]")
        return states

    def final(self, states: Tensor) -> nn.Module | None:
        """Return the one module that does all that follows the last block, tried on [b, t, d]; or None."""
        ids = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        expected = self.finish(ids, states)
        for module in self.owner.children():
            if isinstance(module, nn.ModuleList | nn.Embedding) or hasattr(module, "_hf_hook"):
                continue
            try:
                with model_code(self.name):
                    output = module(states)
            except ModelError:
                continue  # it is not a map of states to states
            if isinstance(output, Tensor) and torch.equal(output, expected):
                return module
        return None

    def finish(self, ids: Tensor, states: Tensor) -> Tensor:
        """Run what follows the last block on `states` [b, t, d]; embeddings of `ids` [b, t] are unused."""
        for recorder in self.recorders:
            recorder.replacement = states
        try:
            return self._run(ids, 0)
        finally:
            for recorder in self.recorders:
                recorder.replacement = recorder.states = None
