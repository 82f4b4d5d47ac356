"""Results as plain tuples with the schema's names: a tenth of a checked record's cost to hold and to send.

A board of ten thousand results goes from the processes that read and check to the one that ranks; checked
records would take longer to send than to read again.
"""

from __future__ import annotations

from collections import namedtuple
from operator import attrgetter
from typing import Any, cast

from pydantic import BaseModel

from lrt_bench.results import records
from lrt_bench.results.storage import Result

# Arrays of prompts are most of a record, and the ranking has them apart.
LEFT_OUT: dict[type[BaseModel], set[str]] = {
    records.TaskFigures: {"error", "energy", "split_error", "split_energy"}
}
ADDED: dict[type[BaseModel], tuple[str, ...]] = {Result: ("fvu",), records.SiteRecord: ("where",)}


def _tuple_class(model: type[BaseModel]) -> Any:
    kept = [name for name in model.model_fields if name not in LEFT_OUT.get(model, set())]
    name = f"Plain{model.__name__}"
    return namedtuple(name, [*kept, *ADDED.get(model, ())], module=__name__)


CLASSES: dict[type[BaseModel], Any] = {
    model: _tuple_class(model)
    for model in (*vars(records).values(), Result)
    if isinstance(model, type) and issubclass(model, BaseModel) and model.model_fields
}
GETTERS = {model: attrgetter(*made._fields) for model, made in CLASSES.items()}
globals().update({made.__name__: made for made in CLASSES.values()})  # where pickle looks for them


def plain(result: Result) -> Result:
    """The record as tuples, for reading only; what reads a Result reads it."""
    return cast(Result, _plain(result))


def _plain(value: Any) -> Any:
    made = CLASSES.get(type(value))
    if made is not None:
        return made._make(map(_plain, GETTERS[type(value)](value)))
    if type(value) is tuple and value and type(value[0]) in CLASSES:
        return tuple(map(_plain, value))
    return value
