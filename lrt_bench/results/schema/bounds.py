"""The types of a result's fields: what a number, a name or a date may be, whoever wrote the file."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

LARGEST = 1e30  # of a sum of squares: beyond, scores made of it would overflow
SLACK = 1e-4  # how far beyond its bounds rounding may carry a correlation, a share or a divergence
MOST_PROMPTS = 1_000_000  # of one task; a file of 20 MB could not hold the errors of more

# no control characters, none that turn the direction of writing: a name can't pass for another
NAME = r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]{1,200}$"
LINK = r"^https?://[^\s<>\"'`\\]+$"
DATE = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"


def _date(text: str) -> str:
    """Check that a date is one of the calendar's."""
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text} is no date: {error}") from error
    return text


Name = Annotated[str, Field(pattern=NAME)]
Link = Annotated[str, Field(pattern=LINK, max_length=2000)]
Date = Annotated[str, Field(pattern=DATE), AfterValidator(_date)]

Count = Annotated[int, Field(ge=0, lt=2**63)]
Prompts = Annotated[int, Field(ge=0, le=MOST_PROMPTS)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]

AtLeastZero = Annotated[float, Field(ge=0)]
Divergence = Annotated[float, Field(ge=-SLACK)]  # at least 0, but for rounding
Fraction = Annotated[float, Field(ge=-SLACK, le=1 + SLACK)]
Correlation = Annotated[float, Field(ge=-1 - SLACK, le=1 + SLACK)]
R2 = Annotated[float, Field(le=1 + SLACK)]
TransferScore = Annotated[float, Field(ge=-100 - SLACK, le=100 + SLACK)]
