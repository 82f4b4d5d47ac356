"""The one kind of error that a user is shown: a line that names the file, the field and the mend."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The command line prints the message as one line and exits with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
