"""Records read from files: unknown fields are errors, and an error names the file and the field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lrt_bench.errors import UserError
from lrt_bench.files.parse import check_depth, parse_json, read_yaml_file
from lrt_bench.files.text import read_lines

Row = TypeVar("Row", bound=BaseModel)


class Strict(BaseModel):
    """A record in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, fields: Any) -> Any:
        """Refuse true where a number is wanted: pydantic takes it for 1."""
        if not isinstance(fields, dict) or bool not in set(map(type, fields.values())):
            return fields
        for name, value in fields.items():
            if isinstance(value, bool) and name in cls.model_fields:
                wanted = str(cls.model_fields[name].annotation)
                if not any(kind in wanted for kind in ("bool", "Any", "Json")):
                    raise ValueError(f"{name}: {str(value).lower()} is no number and no text")
        return fields


def first_problem(error: ValidationError) -> str:
    """Word the first thing that is wrong in a record: field and reason."""
    problem = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part)[:60] for part in problem["loc"])
    reason = problem["msg"].removeprefix("Value error, ")
    return f"field {field}: {reason}" if field else reason


def read_yaml(path: Path, model: type[Row]) -> Row:
    """Read a YAML file as a checked record.

    Raises
    ------
    UserError
        Naming the file, and the field or the line.
    """
    content = read_yaml_file(path)
    try:
        return model.model_validate(content)
    except (ValidationError, RecursionError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else "nested too deep"
        raise UserError(f"{path}: {reason}") from error


def record_of_json(data: bytes, model: type[Row], place: str | Path) -> Row:
    """Check the bytes of a JSON file as a record.

    They are parsed once, by the parser that refuses a field which stands twice.

    Raises
    ------
    ValidationError
        Where they are no record.
    UserError
        Naming `place`: no JSON, or a field that stands twice.
    """
    check_depth(data, str(place))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not JSON: byte {error.start} is not UTF-8") from error
    return model.model_validate(parse_json(text, str(place)))


def read_records(path: Path, model: type[Row]) -> Iterator[Row]:
    """Read a file of JSON lines as checked records; blank lines are passed over.

    Raises
    ------
    UserError
        Naming the file, the line and the field.
    """
    for number, line in read_lines(path):
        place = f"{path}, line {number}"
        content = parse_json(line, place)
        try:
            yield model.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{place}: {first_problem(error)}") from error
