"""Seeded changes of valid files: of bytes, of text, of the values that they hold, and of their folder."""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

DEEP = 3000
VALUES: list[Any] = [
    None, True, -1, 0, 1, 7, 1e308, -1e-320, float("nan"), float("inf"), 10**30, 10**400, 0.5, "", " ", "x",
    "0", "[/x]", "[bold]x", "\x1b[31mred", "a\nb", "\u2028", "\x85", "\ud800", "\ufeff", "../../etc/passwd",
    "/", "~", "org/name", "nano", "nano/S:99", "2001-99-99", "é" * 3, "x" * 70_000, [], {}, [[]], [None],
    [1, "x"], {"x": 1}, {"": ""}, [1] * 3, ["x", "x"], [0.1, 0.2], "NaN", "1e5", "null", "\0", "{}",
    "{x", "%s", "<img>",
]  # fmt: skip
YAML_SNIPPETS = [
    "!!python/object/apply:os.system ['true']", "&a [*a]", "*nothing", "!!int ''", "!!int x", "!!float x",
    "!!bool x", "!!timestamp x", "!!binary '*'", "!!null x", "!!set [1]", "!!omap [1]", "!!pairs 1",
    "2001-99-99", "1:99:99", "0x", "0b2", "9" * 6000, "? [", "<<: 5", "<<: [1]", "=", "- - -", "[" * 300,
    "{" * 300, "'", '"\\x', "%YAML 9.9", "---\n...\n---", "\t", "!x y", "! x", "{[a]: b}", "? {a: b}\n: c",
    "0o9", "._", "+_", "-0b_", "0x_", "1e", "@", "`",
]  # fmt: skip
BYTES = [
    b"", b"\0", b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b"\r\n", b"\x0c", b"\x1c",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b'"', b"'", b",", b";", b"\t", b"{", b"}", b"[", b"]",
    b":", b"\\", b"\\ud800", b"\x1b[2J", b"9" * 5001, b"[" * DEEP, b'{"a":' * DEEP, b"x" * 140_000, b"NaN",
    b"-", b"1e999", b"\x80\x02",
]  # fmt: skip

Change = Callable[[bytes, random.Random], bytes]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bytes of the file are others; half of the time near its beginning, where headers are."""
    changed = bytearray(data)
    reach = min(len(changed), 200) if rng.random() < 0.5 else len(changed)
    for _ in range(rng.randint(1, 4)):
        if reach:
            changed[rng.randrange(reach)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The file ends early."""
    return data[: rng.randrange(len(data) + 1)]


def spliced(data: bytes, rng: random.Random) -> bytes:
    """A part is taken out, said again, or has something strange put in."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    end = min(end, start + 400)
    inside = rng.choice([b"", data[start:end] * 2, rng.choice(BYTES), rng.choice(BYTES)])
    return data[:start] + inside + data[end if rng.random() < 0.5 else start :]


def recoded(data: bytes, rng: random.Random) -> bytes:
    """The same text in another encoding, or with other ends of lines."""
    text = data.decode("utf-8", "replace")
    return rng.choice([
        lambda: text.encode("utf-16"), lambda: text.encode("utf-8-sig"), lambda: text.encode("utf-32"),
        lambda: text.encode("latin-1", "replace") + b"\xe9", lambda: text.replace("\n", "\r\n").encode(),
        lambda: text.replace("\n", "\r").encode(), lambda: text.replace(" ", "\u2028").encode(),
        lambda: text.replace(",", ";").encode(), lambda: text.replace(",", "\t").encode(),
        lambda: ("\n" * 5 + text).encode(), lambda: b"", lambda: b"\n", lambda: rng.randbytes(300),
    ])()  # fmt: skip


def lines_moved(data: bytes, rng: random.Random) -> bytes:
    """A line is lost, stands twice, is blank, or stands elsewhere."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    line = lines.pop(place)
    for extra in rng.choice([[], [line, line], [b""], [line + line], [line[: len(line) // 2]]]):
        lines.insert(rng.choice([place, rng.randrange(len(lines) + 1)]), extra)
    return b"\n".join(lines)


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from nodes(value[key])


def revalued(value: Any, rng: random.Random) -> Any:
    """The same value with one to three parts replaced, removed, doubled, renamed or deepened."""
    holder = [copy.deepcopy(value)]
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = list(nodes(holder))
        shallow = [place for place in places if place[0] is holder[0]]
        container, key = rng.choice(shallow if shallow and rng.random() < 0.3 else places)
        how = rng.randrange(7)
        if how == 0 and container is not holder:
            del container[key]
        elif how == 1 and isinstance(container, dict):
            container[rng.choice(["x", "", "name", "\x1b[1m", "[/x]", "__class__"])] = rng.choice(VALUES)
        elif how == 2 and isinstance(container, list):
            container.insert(0, container[key])
        elif how == 3 and isinstance(container, dict):
            container[rng.choice(["x", "", str(key) + " ", str(key).upper()])] = container.pop(key)
        elif how == 4 and isinstance(container[key], (int, float)) and not isinstance(container[key], bool):
            number = container[key]
            container[key] = rng.choice([-number, number * 10**12, str(number), number + 7])
        else:
            container[key] = copy.deepcopy(rng.choice(VALUES))
    return holder[0]


def json_changed(data: bytes, rng: random.Random) -> bytes:
    """JSON with other values; now and then a key stands twice."""
    text = json.dumps(revalued(json.loads(data), rng), ensure_ascii=rng.random() < 0.9)
    if rng.random() < 0.1 and text.startswith("{"):
        text = "{" + rng.choice(['"x": 1, ', text[1 : text.find(",") + 1]]) + text[1:]
    return text.encode("utf-8", "surrogatepass")


def json_lines_changed(data: bytes, rng: random.Random) -> bytes:
    """JSON lines, some of which have other values."""
    lines = data.splitlines()
    for _ in range(rng.choice([1, 1, 2])):
        place = rng.randrange(len(lines))
        lines[place] = json_changed(lines[place], rng).replace(b"\n", b" ")
    return b"\n".join(lines) + b"\n"


def yaml_changed(data: bytes, rng: random.Random) -> bytes:
    """YAML with other values, or with a snippet that its readers dislike."""
    if rng.random() < 0.5:
        lines = data.decode().splitlines()
        place = rng.randrange(len(lines))
        snippet = rng.choice(YAML_SNIPPETS)
        key = lines[place].partition(":")[0] + ": " if ":" in lines[place] and rng.random() < 0.8 else ""
        lines[place] = key + snippet
        return "\n".join(lines).encode()
    value = revalued(yaml.safe_load(data), rng)
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=rng.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def safetensors_changed(data: bytes, rng: random.Random) -> bytes:
    """Safetensors whose header says something else of the same bytes."""
    length = int.from_bytes(data[:8], "little")
    header = revalued(json.loads(data[8 : 8 + length]), rng)
    text = json.dumps(header).encode()
    said = rng.choice([len(text), len(text), len(text), 0, len(text) + 9, 2**40, 2**63])
    return struct.pack("<Q", said) + text + data[8 + length :]


def archive_changed(data: bytes, rng: random.Random) -> bytes:
    """A zip archive, one member of which is changed, lost or doubled; its checksums are right."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = [(name, archive.read(name)) for name in archive.namelist()]
    place = rng.randrange(len(members))
    name, content = members.pop(place)
    content = rng.choice([flipped, cut, spliced])(content, rng)
    members[place:place] = rng.choice([[(name, content)], [(name, content)], [], [("x", content)]])
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as other:
        for name, content in members:
            other.writestr(name, content)
    return changed.getvalue()


STRUCTURED: dict[str, Change] = {
    ".json": json_changed,
    ".jsonl": json_lines_changed,
    ".yaml": yaml_changed,
    ".safetensors": safetensors_changed,
    ".npz": archive_changed,
    ".pt": archive_changed,
}
TEXT = (".json", ".jsonl", ".yaml", ".csv", ".txt", ".py", ".md")


def changed(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """The bytes of a valid file of this suffix, made invalid, or differently valid."""
    draw = rng.random()
    if suffix in STRUCTURED and draw < 0.6:
        try:
            return STRUCTURED[suffix](data, rng)
        except Exception:  # it was changed before, and is no longer of its format
            return flipped(data, rng)
    ways: list[Change] = [flipped, cut, spliced]
    if suffix in TEXT:
        ways += [recoded, lines_moved, spliced]
    return rng.choice(ways)(data, rng)


def change_folder(folder: Path, rng: random.Random) -> str:
    """Change one file of a folder, now and then two, or the folder itself. Says which."""
    said = []
    for _ in range(rng.choice([1, 1, 1, 1, 2])):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            break
        path = rng.choice(files)
        if rng.random() < 0.06:
            said.append(f"{path.relative_to(folder)} {_replaced(path, rng)}")
        else:
            path.write_bytes(changed(path.read_bytes(), path.suffix, rng))
            said.append(f"{path.relative_to(folder)} changed")
    return ", ".join(said)


def _replaced(path: Path, rng: random.Random) -> str:
    way = rng.choice(["removed", "a folder", "a dangling link", "a link to itself", "doubled"])
    if way == "doubled":
        shutil.copy(path, path.with_name("copy-of-" + path.name))
        return way
    path.unlink()
    if way == "a folder":
        path.mkdir()
    elif way == "a dangling link":
        path.symlink_to("nowhere")
    elif way == "a link to itself":
        path.symlink_to(path.name)
    return way
