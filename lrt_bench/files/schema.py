"""Records read from files: unknown fields are errors, and an error names the file and the field."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from lrt_bench.errors import UserError

Row = TypeVar("Row", bound=BaseModel)


class Strict(BaseModel):
    """A record in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def first_problem(error: ValidationError) -> str:
    """The first thing wrong in a record: field and reason."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    reason = problem["msg"].removeprefix("Value error, ")
    return f"field {field}: {reason}" if field else reason


def read_yaml(path: Path, model: type[Row]) -> Row:
    """A YAML file as a checked record; UserError names the file and the field."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from error
