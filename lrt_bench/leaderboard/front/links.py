"""Where the pages lead: paper, repository, documentation, code of submissions, cards of models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from lrt_bench.errors import UserError
from lrt_bench.files.markdown import PAPER

ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?(/[\w.~%/-]*)?")


@dataclass(frozen=True)
class Links:
    """Addresses that a build is told; what it is not told has no link.

    repository : of the project's code, without a slash at its end.
    address : where the site will lie, with a slash at its end; previews want it.

    Raises UserError for what is no https address.
    """

    repository: str | None = None
    address: str | None = None
    paper: str = PAPER

    def __post_init__(self) -> None:
        for option, value in (("--repository", self.repository), ("--address", self.address)):
            if value is not None and not ADDRESS.fullmatch(value):
                raise UserError(f"{option} {value}: want an address that begins with https://")
        if self.repository is not None:
            object.__setattr__(self, "repository", self.repository.rstrip("/"))
        if self.address is not None:
            object.__setattr__(self, "address", self.address.rstrip("/") + "/")

    def file(self, path: str) -> str | None:
        """Return the address of a file or folder of the repository."""
        return None if self.repository is None else f"{self.repository}/blob/main/{quote(path)}"

    @property
    def docs(self) -> str | None:
        """The documentation's first page."""
        return self.file("docs/index.md")

    @property
    def contributing(self) -> str | None:
        """How a map is submitted."""
        return self.file("CONTRIBUTING.md")

    def code(self, origin: str, name: str) -> str | None:
        """Return where a map's code lies in the repository."""
        if origin == "submission":
            return self.file(f"submissions/{name}")
        return self.file("lrt_bench/mappings") if origin == "built-in" else None
