"""Text that pretrained models know, from free packages: ``python -m scripts.pretrained.corpus OUT.jsonl``.

One JSON line a document: its text, language, kind, package and licence. The packages are Debian's, fetched
by `apt-get download`; nothing of them is installed. Documents are shuffled by a seed and taken in turn by
kind, so that any beginning of the file has the shares of `KINDS`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import click

from lrt_bench.errors import UserError
from lrt_bench.files.whole import write_whole
from scripts.pretrained.novels import novels

DOCUMENT = 3000  # characters of a document at most: paragraphs are never cut
LEAST = 200  # characters of a document at least
BLOCKS = frozenset({"p", "li", "dd", "title", "h1", "h2", "h3"})
ENGLISH = re.compile(r"\b(?:the|of|and|to|is|you)\b")
OTHER = re.compile(r"\b(?:le|la|les|des|et|est|der|die|das|und|ist|sie)\b", re.IGNORECASE)
SKIPPED = frozenset({"script", "style", "pre", "screen", "programlisting", "nav", "info"})


@dataclass(frozen=True)
class Kind:
    """One kind of text.

    share : of the corpus's characters.
    sources : package, pattern of its files, licence.
    """

    name: str
    language: str
    share: float
    sources: tuple[tuple[str, str, str], ...]


HANDBOOK = "GPL-2.0-or-later or CC-BY-SA-3.0"
GUIDE = "GPL-2.0-or-later"
HELP = "CC-BY-SA-3.0"
KINDS = (
    Kind("novels", "en", 0.35, (("r-cran-janeaustenr", "usr/lib/R/**/Rdata.rdb", "public domain"),)),
    Kind(
        "speeches and acts", "en", 0.01, (("miscfiles", "usr/share/state/us-*.gz", "public domain"),)
    ),
    Kind("documentation", "en", 0.19, (
        ("debian-handbook", "usr/share/doc/debian-handbook/html/en-US/*.html", HANDBOOK),
        ("gnome-user-docs", "usr/share/help/C/**/*.page", HELP),
        ("installation-guide-amd64", "usr/share/doc/installation-guide-amd64/en/*.html", GUIDE),
    )),
    Kind("documentation", "fr", 0.15, (
        ("debian-handbook", "usr/share/doc/debian-handbook/html/fr-FR/*.html", HANDBOOK),
        ("gnome-user-docs", "usr/share/help/fr/**/*.page", HELP),
        ("installation-guide-amd64", "usr/share/doc/installation-guide-amd64/fr/*.html", GUIDE),
    )),
    Kind("documentation", "de", 0.15, (
        ("debian-handbook", "usr/share/doc/debian-handbook/html/de-DE/*.html", HANDBOOK),
        ("gnome-user-docs", "usr/share/help/de/**/*.page", HELP),
        ("installation-guide-amd64", "usr/share/doc/installation-guide-amd64/de/*.html", GUIDE),
    )),
    Kind("source", "python", 0.15, (("libpython3.11-stdlib", "usr/lib/python3.11/**/*.py", "PSF-2.0"),)),
)  # fmt: skip


class Paragraphs(HTMLParser):
    """The paragraphs of an HTML or Mallard page, without listings."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._text: list[str] = []
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a paragraph, or what is left out."""
        self._skipped += tag in SKIPPED
        if tag in BLOCKS:
            self._close()

    def handle_endtag(self, tag: str) -> None:
        """End a paragraph, or what is left out."""
        self._skipped = max(0, self._skipped - (tag in SKIPPED))
        if tag in BLOCKS:
            self._close()

    def handle_data(self, data: str) -> None:
        """Take in text."""
        if not self._skipped:
            self._text.append(data)

    def _close(self) -> None:
        paragraph = re.sub(r"\s+", " ", "".join(self._text)).strip()
        self._text = []
        if len(paragraph) >= 40 and paragraph[-1] in ".!?:":  # a sentence, no menu and no heading
            self.found.append(paragraph)


def fetched(package: str, folder: Path) -> tuple[Path, str]:
    """Fetch a package and unpack its files; return where they lie, and the package's version."""
    where = folder / package
    where.mkdir()
    try:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=where, check=True, capture_output=True)
        archive = next(where.glob("*.deb"))
        subprocess.run(["dpkg-deb", "--extract", archive, where / "files"], check=True, capture_output=True)
        version = subprocess.run(
            ["dpkg-deb", "--field", archive, "Version"], check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        line = said.decode(errors="replace").strip().splitlines()[-1]
        raise UserError(f"{package}: cannot be fetched by apt-get: {line}: run on Debian 12") from error
    return where / "files", version


def paragraphs(path: Path) -> list[str]:
    """Return a file's paragraphs: of a page, an act, a book or a module."""
    if path.suffix == ".rdb":
        return novels(path.read_bytes())
    if path.suffix == ".gz":
        import gzip

        text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        return [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".py":
        return [part for part in re.split(r"\n\n\n+", text) if part.strip()]
    parser = Paragraphs()
    parser.feed(text)
    return list(dict.fromkeys(parser.found))


def documents(path: Path, known: set[str]) -> Iterator[str]:
    """Join a file's paragraphs to documents of at most about `DOCUMENT` characters.

    Those that are `known` are left out: a page that is not translated says what the English one says.
    """
    joint = "\n\n\n" if path.suffix == ".py" else "\n"
    held: list[str] = []
    new = [paragraph for paragraph in paragraphs(path) if paragraph not in known]
    known.update(new)
    for paragraph in new:
        if held and sum(map(len, held)) + len(paragraph) > DOCUMENT:
            yield joint.join(held)
            held = []
        held.append(paragraph[:DOCUMENT])
    if held:
        yield joint.join(held)


def translated(text: str, language: str) -> bool:
    """Whether a text that ought to be French or German is: translations have gaps."""
    return language not in ("fr", "de") or len(OTHER.findall(text)) > len(ENGLISH.findall(text))


def gathered(kind: Kind, files: dict[str, Path], known: set[str]) -> list[dict[str, str]]:
    """Return all documents of a kind; paragraphs that are `known` are left out, and added to them."""
    rows: list[dict[str, str]] = []
    for package, pattern, licence in kind.sources:
        for path in sorted(path for path in files[package].glob(pattern) if path.is_file()):
            for text in documents(path, known):
                if len(text) >= LEAST and translated(text, kind.language):
                    about = {"language": kind.language, "kind": kind.name}
                    rows.append({"text": text, **about, "package": package, "licence": licence})
    if not rows:
        raise UserError(f"{kind.name} ({kind.language}): its packages hold no such file")
    return rows


def mixed(pools: list[list[dict[str, str]]], characters: int) -> list[dict[str, str]]:
    """Take documents in turn, always of the kind that is furthest behind its share.

    A kind that is used up is left out.
    """
    taken: list[dict[str, str]] = []
    written = [0] * len(pools)
    queues = [iter(pool) for pool in pools]
    open_kinds = set(range(len(pools)))
    while open_kinds and sum(written) < characters:
        behind = min(open_kinds, key=lambda place: (written[place] / KINDS[place].share, place))
        row = next(queues[behind], None)
        if row is None:
            open_kinds.discard(behind)
            continue
        taken.append(row)
        written[behind] += len(row["text"])
    return taken


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--characters", default=12_000_000, show_default=True, help="At most about so many.")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, characters: int, seed: int) -> None:
    """Write the corpus; say what is in it, and its digest."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        packages = sorted({package for kind in KINDS for package, *_ in kind.sources})
        unpacked = {package: fetched(package, Path(work)) for package in packages}
        pools, known = [], set[str]()
        for kind in KINDS:
            rows = gathered(kind, {name: where for name, (where, _) in unpacked.items()}, known)
            rng.shuffle(rows)
            pools.append(rows)
    rows = mixed(pools, characters)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_whole(out, text.encode())
    for package, (_, version) in unpacked.items():
        click.echo(f"{package} {version}")
    for kind in KINDS:
        own = [row["text"] for row in rows if (row["kind"], row["language"]) == (kind.name, kind.language)]
        click.echo(f"{kind.name} ({kind.language}): {len(own)} documents, {sum(map(len, own)):,} characters")
    click.echo(f"{out}: {len(text.encode()):,} bytes, sha256 {hashlib.sha256(text.encode()).hexdigest()}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
