"""What is common to the formats: the largest file that is read, and how a reader says what is wrong."""

MAX_BYTES = 1 << 26


class FormatError(ValueError):
    """What is wrong with a file, in a few words; the caller names the file."""
