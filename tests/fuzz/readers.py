"""Every reader of files from outside: valid files for it, and the call that reads them."""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "leaderboard" / "results" / "nano" / "S-L"
WEIGHTS = ROOT / "lrt_bench" / "nano" / "weights"
SENTENCES = [f"She saw {n} dogs by the sea. The sailor is wonderful, and it rains." for n in range(24)]


TASKS = "person", "nano-refusal", "write-french", "perplexity", "fidelity", "refusal-advbench"


def nothing(folder: Path) -> None:
    """Mend nothing."""


@dataclass(frozen=True)
class Reader:
    """make : writes valid files into an empty folder.

    read : reads them, as the command line does; raises what it raises.
    mend : makes a changed folder consistent again (a hash that vouches for a file): more of it is read.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    mend: Callable[[Path], None] = nothing


# Tasks and suites.


def make_task(name: str, folder: Path) -> None:
    """A shipped task with few rows."""
    for path in (ROOT / "tasks" / name).iterdir():
        rows = path.read_text().splitlines(keepends=True)
        (folder / path.name).write_text("".join(rows if path.suffix == ".yaml" else rows[:16]))


def read_task(folder: Path) -> None:
    from lrt_bench.data.task_reading.task_folders import find_task

    find_task(str(folder))


def make_suite(name: str, folder: Path) -> None:
    shutil.copy(ROOT / "suites" / f"{name}.yaml", folder / "suite.yaml")


def read_suite(folder: Path) -> None:
    from lrt_bench.data.suites import find_suite

    suite = find_suite(str(folder / "suite.yaml"))
    suite.read_tasks()
    assert suite.digest


# Corpora.


def make_corpus(suffix: str, folder: Path) -> None:
    path = folder / f"texts.{suffix}"
    rows = [{"id": f"row-{n}", "text": text, "score": n / 7} for n, text in enumerate(SENTENCES)]
    if suffix == "txt":
        path.write_text("\n\n".join(SENTENCES))
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    elif suffix == "json":
        path.write_text(json.dumps(rows))
    elif suffix == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)


def make_conversations(folder: Path) -> None:
    roles = "user", "assistant"
    turns = [{"role": role, "content": text} for role, text in zip(roles, SENTENCES[:2], strict=True)]
    rows = [{"conversation_id": n, "messages": turns} for n in range(8)]
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


@functools.cache
def tokenizer() -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(WEIGHTS / "S")


def read_corpus(folder: Path) -> None:
    from lrt_bench.data.corpus import Corpus

    corpus = Corpus(str(next(iter(sorted(folder.iterdir())), folder)), context=64)
    assert corpus.fingerprint()
    for _ in itertools.islice(corpus.pairs(tokenizer(), tokenizer()), 3):
        pass


# Vectors and maps.

VECTOR_FILES = {"safetensors": "v.safetensors", "steering-vectors": "v.pt", "gguf": "v.gguf", "npy": "v.npy"}


def make_vector(format_name: str, folder: Path) -> None:
    import torch

    from lrt_bench.vectors.vector import ModelHint, SteeringVector
    from lrt_bench.vectors.vector_files import write_vector

    layers = {4: torch.linspace(-1, 1, 24)}
    vector = SteeringVector(
        layers, ModelHint("nano/L", "0" * 64, "llama", "layers"), "person", {4: 12.5}, {"of": ["a", {"b": 1}]}
    )
    write_vector(folder / VECTOR_FILES[format_name], vector, format_name)


def read_a_vector(folder: Path) -> None:
    from lrt_bench.vectors.vector_files import notes, read_vector

    path = next(iter(sorted(folder.iterdir())), folder / "v.npy")
    named = "steering-vectors" if path.suffix == ".pt" else None  # a .pt may be of two formats
    vector = read_vector(path, named, layer=4 if path.suffix == ".npy" else None)
    assert vector.layers
    assert notes(path, vector, named) is not None


def make_map(folder: Path) -> None:
    from lrt_bench.cli.main import main

    way = ["--source", "nano/S:2", "--target", "nano/S:2", "--mapping", "ridge", "--tokens", "2000"]
    main(["fit", *way, "--save", str(folder / "map")], standalone_mode=False)


def read_map(folder: Path) -> None:
    from lrt_bench.vectors.fitted_map import load_map

    assert load_map(folder / "map").card


def mend_map(folder: Path) -> None:
    vouch(folder / "map", "map.json", "tensors", "map.safetensors")


# Results, the ledger, submissions.


def make_result(name: str, folder: Path) -> None:
    shutil.copy(RESULTS / f"{name}.json", folder / "result.json")


def command(*words: str) -> None:
    from lrt_bench.cli.main import main

    main(list(words))


def make_propensities(folder: Path) -> None:
    import torch

    from lrt_bench.results.storage import pack_propensities

    data, digest = pack_propensities({"person": torch.rand(2, 6, 9), "tense": torch.rand(2, 6, 9)})
    fields = json.loads((RESULTS / "ridge.json").read_bytes())
    (folder / "result.json").write_text(json.dumps(fields | {"propensities": digest}))
    (folder / "result.safetensors").write_bytes(data)


def read_the_propensities(folder: Path) -> None:
    from lrt_bench.results.storage import read_propensities, read_result

    read_propensities(folder / "result.json", read_result(folder / "result.json"))


def vouch(folder: Path, record: str, field: str, data: str) -> None:
    """A record's field becomes the hash of the changed file that it vouches for."""
    try:
        fields = json.loads((folder / record).read_bytes())
        digest = hashlib.sha256((folder / data).read_bytes()).hexdigest()
        (folder / record).write_text(json.dumps(fields | {field: digest}))
    except (OSError, ValueError, TypeError, RecursionError):
        return


def mend_propensities(folder: Path) -> None:
    vouch(folder, "result.json", "propensities", "result.safetensors")


def show_result(folder: Path) -> None:
    command("show", str(folder / "result.json"))


def make_results(folder: Path) -> None:
    place = folder / "nano" / "S-L"
    place.mkdir(parents=True)
    for name in ("ridge", "native", "random", "affine"):
        shutil.copy(RESULTS / f"{name}.json", place)


def summarise_results(folder: Path) -> None:
    command("summary", str(folder))


def build_board(folder: Path) -> None:
    out = folder.with_name(folder.name + "-site")
    command("leaderboard", "build", "--results", str(folder), "--out", str(out))


@functools.cache
def board() -> object:
    from lrt_bench.leaderboard.entries import read_board

    return read_board(RESULTS)


def make_ledger(folder: Path) -> None:
    shutil.copy(ROOT / "leaderboard" / "ledger.csv", folder)


def read_the_ledger(folder: Path) -> None:
    from lrt_bench.leaderboard import ledger

    lines = ledger.read_ledger(folder / "ledger.csv")
    assert ledger.changes(board(), lines) is not None
    ledger.give_states(board(), lines)


def make_submission(folder: Path) -> None:
    from lrt_bench.submissions.scaffold import new_submission

    new_submission("demo", folder)
    fill_in(folder / "demo")


def fill_in(folder: Path) -> None:
    """Write over what the scaffold leaves to its author, as `submit check` asks for."""
    card = (folder / "submission.yaml").read_text().partition("notes:")[0]
    for left, own in (
        ("Your Name", "Ada"),
        ("One line for", "Maps"),
        ("example.org/your-paper-or-code", "a.org"),
    ):
        card = card.replace(left, own)
    (folder / "submission.yaml").write_text(card + "notes: It rotates.\n")


def make_weights_submission(folder: Path) -> None:
    import torch

    from lrt_bench.mappings import FixedLinear

    FixedLinear(torch.eye(192, 96), torch.zeros(192)).save(folder / "weights.safetensors")
    weights = str(folder / "weights.safetensors")
    from lrt_bench.cli.main import main

    words = ["submit", "new", "demo", "--into", str(folder), "--weights", weights, "--pair", "S-L"]
    main(words, standalone_mode=False)
    (folder / "weights.safetensors").unlink()
    fill_in(folder / "demo")


def check_submission(folder: Path) -> None:
    command("submit", "check", str(folder / "demo"))


# Models, sparse autoencoders, other records.


def make_sae(folder: Path) -> None:
    for path in (WEIGHTS / "sae-S-2").iterdir():
        shutil.copy(path, folder)


def read_sae(folder: Path) -> None:
    from lrt_bench.models.autoencoders.sae_files import load_sae

    assert load_sae(str(folder)).digest


def make_gemma_sae(folder: Path) -> None:
    import numpy as np

    shapes = {"W_enc": (5, 9), "W_dec": (9, 5), "b_enc": (9,), "b_dec": (5,), "threshold": (9,)}
    arrays = {name: np.linspace(0.1, 1, int(np.prod(shape)), dtype="f4") for name, shape in shapes.items()}
    np.savez(folder / "params.npz", **{name: array.reshape(shapes[name]) for name, array in arrays.items()})


def make_model(folder: Path) -> None:
    for path in (WEIGHTS / "S").iterdir():
        if path.name != "training.json":
            shutil.copy(path, folder)


def read_model(folder: Path) -> None:
    from lrt_bench.models.loading import load_model

    assert load_model(str(folder)).digest


def make_layers(folder: Path) -> None:
    from lrt_bench.cli.main import main

    suite = folder / "small.yaml"
    from small import SMALL_SUITE

    suite.write_text(SMALL_SUITE)
    options = ["--suite", str(suite), "--every", "2", "--out", str(folder / "out")]
    main(["sweep-layers", *options], standalone_mode=False)
    shutil.copy(next((folder / "out").rglob("layers.json")), folder / "layers.json")
    shutil.rmtree(folder / "out")
    suite.unlink()


def read_layers(folder: Path) -> None:
    from lrt_bench.evaluation.layer_sweep.record import read_sweep

    assert read_sweep(folder / "layers.json")


READERS = {
    reader.name: reader
    for reader in (
        *(
            Reader(f"task-{name}", functools.partial(make_task, name), read_task)
            for name in (
                "person",
                "nano-refusal",
                "write-french",
                "perplexity",
                "fidelity",
                "refusal-advbench",
            )
        ),
        *(
            Reader(f"suite-{name}", functools.partial(make_suite, name), read_suite)
            for name in ("nano", "paper-instruct", "cross-family")
        ),
        *(
            Reader(f"corpus-{suffix}", functools.partial(make_corpus, suffix), read_corpus)
            for suffix in ("txt", "jsonl", "json", "csv", "parquet")
        ),
        Reader("corpus-conversations", make_conversations, read_corpus),
        *(
            Reader(f"vector-{name}", functools.partial(make_vector, name), read_a_vector)
            for name in VECTOR_FILES
        ),
        Reader("map", make_map, read_map, mend_map),
        Reader("result-ridge", functools.partial(make_result, "ridge"), show_result),
        Reader("result-native", functools.partial(make_result, "native"), show_result),
        Reader("results-summary", make_results, summarise_results),
        Reader("results-board", make_results, build_board),
        Reader("propensities", make_propensities, read_the_propensities, mend_propensities),
        Reader("ledger", make_ledger, read_the_ledger),
        Reader("submission", make_submission, check_submission),
        Reader("submission-weights", make_weights_submission, check_submission),
        Reader("sae", make_sae, read_sae),
        Reader("sae-gemma", make_gemma_sae, read_sae),
        Reader("model", make_model, read_model),
        Reader("layers", make_layers, read_layers),
    )
}
