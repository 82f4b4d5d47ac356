"""The border between this package and the code of a model's architecture.

What transformers raises inside an architecture's own code says that it cannot be run block by block, or not
on such input. What this package raises is a bug of its own and is never caught here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lrt_bench.errors import UserError, first_line
from lrt_bench.models.memory import out_of_memory


class ModelError(UserError):
    """A model's own code raised: one line for the user, and a reason for a probe to try another way."""


class FirstBlockReachedError(Exception):
    """Raised by a recorder to leave a forward once the first block's input is known."""


@contextlib.contextmanager
def model_code(name: str) -> Iterator[None]:
    """Turn what the code of model `name` raises into a `ModelError`; running out of memory passes through."""
    try:
        yield
    except (UserError, FirstBlockReachedError):
        raise
    except Exception as error:  # an architecture may raise anything
        if out_of_memory(error):
            raise
        raise ModelError(
            f"{name}: its own code raises {type(error).__name__}: {first_line(error)}"
        ) from error
