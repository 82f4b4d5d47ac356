"""The commands that fit a map between two sites, and that carry a steering vector over it."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.cli.options import CACHE, MODELS, SEED, TEXT, WHERE, check_hub, verbosity, with_options
from lrt_bench.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from lrt_bench.data.datasets import Data
    from lrt_bench.data.suites import CorpusSpec
    from lrt_bench.models.states import Begin
    from lrt_bench.vectors.fitted_map import FittedMap
    from lrt_bench.vectors.forecast.forecast import Forecast
    from lrt_bench.vectors.pair import Pair
    from lrt_bench.vectors.vector import SteeringVector

FILE = click.Path(path_type=Path)
SITE = "MODEL, MODEL:LAYER (from 1) or MODEL:20/26 (a share of the depth)  [default layer: 70%]"
FITTING = (
    click.option("--mapping", help="Built-in name or PATH.py:CLASS.  [default: ridge]"),
    *TEXT,
    click.option("--tokens", type=click.IntRange(min=200), help="Fit on so many.  [default: the suite's]"),
    *MODELS,
    *WHERE,
    *SEED,
    click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True),
    *CACHE,
    click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output."),
)


@click.command()
@click.option("--source", required=True, help=SITE)
@click.option("--target", required=True, help="As --source.")
@click.option("--save", type=FILE, help="Folder to write: map.safetensors, map.json, README.md.")
@click.option("--push", help="Model repository on the Hub, as ORG/NAME: one commit.")
@click.option("--results", type=FILE, help="With --push: results whose scores of this map go with it.")
@click.option("--benchmark", help="With --results: the leaderboard's dataset repository, as ORG/NAME.")
@click.option("--dry-run", is_flag=True, help="With --push: say what would be sent; send nothing.")
@click.option("--verify", is_flag=True, help="With --push: download everything again, and compare.")
@with_options(FITTING)
@verbosity
@one_line_errors
def fit(
    source: str,
    target: str,
    save: Path | None,
    push: str | None,
    results: Path | None,
    benchmark: str | None,
    dry_run: bool,
    verify: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fit a map between two models' layers and keep it, for `transfer --map`.

    `map.json` and the README tell what it was fitted on and how well it explains validation states.
    """
    from lrt_bench.data.hub.repository import check_name

    if save is None and push is None:
        raise UserError("nowhere to keep the map: give --save FOLDER, --push ORG/NAME or both")
    check_hub((source, target), settings)
    from lrt_bench.cli.terminal.screen import print_line
    from lrt_bench.cli.terminal.vectors import print_map
    from lrt_bench.mappings import find_mapping
    from lrt_bench.mappings.moments import Moments
    from lrt_bench.mappings.names import spares_s_yy
    from lrt_bench.vectors.fitted_map import check_corpus_map, check_folder, check_storable

    if save is not None:
        check_folder(save)
    if push is not None:
        check_name(push)
    scores = _scores(push, results, benchmark)
    mapping = settings["mapping"] = settings["mapping"] or "ridge"
    check_corpus_map(mapping, find_mapping(mapping))
    check_storable(mapping, find_mapping(mapping))
    # states that are kept serve a transfer too, whose forecast reads all moments
    spared = settings["no_cache"] and spares_s_yy(mapping)
    pair = _pair(source, target, settings)
    with _computing(pair, settings):
        fitted = _fit(pair, settings, Moments.without_s_yy if spared else Moments.zeros)
    if save is not None:
        fitted.save(save)
    if push is not None:
        from lrt_bench.vectors.hub import push_map

        report = functools.partial(click.echo, err=True)
        push_map(fitted, push, scores=scores, dry_run=dry_run, verify=verify, report=report)
    if as_json:
        click.echo(fitted.card.model_dump_json(indent=1))
        return
    print_map(fitted)
    for kept in (save, push):
        if kept is not None:
            print_line(f"next: lrt-bench transfer --vector FILE --map {kept} --out carried.safetensors")


def _scores(push: str | None, results: Path | None, benchmark: str | None) -> tuple[Path, str] | None:
    """Return where the scores of a pushed map lie, and whose tasks they are of."""
    from lrt_bench.data.hub.repository import check_name

    if results is None and benchmark is None:
        return None
    if push is None or results is None or benchmark is None:
        raise UserError("--results, --benchmark: give both, and --push: they say what a pushed map scored")
    check_name(benchmark)
    return results, benchmark


def _pair(source: str, target: str, settings: dict[str, Any]) -> Pair:
    """Return the pair that the options name, its models not loaded yet."""
    from lrt_bench.data.datasets import stand_ins
    from lrt_bench.models.loading import Models, check_stand_ins
    from lrt_bench.vectors.pair import Pair

    local = stand_ins(settings["models"], "--model")
    own_code, bos = settings["trust_remote_code"], settings["bos"]
    models = Models(
        settings["dtype"], settings["device"], settings["device_map"], local,
        trust_remote_code=own_code, bos=bos,
    )  # fmt: skip
    pair = Pair(source, target, models)
    check_stand_ins(local, pair.specs)
    return pair


@contextlib.contextmanager
def _computing(pair: Pair, settings: dict[str, Any]) -> Iterator[None]:
    """Compute as `evaluate` does, with its cache: what either kept serves the other."""
    from lrt_bench.evaluation.engines.choice import all_small
    from lrt_bench.evaluation.process_state import one_thread
    from lrt_bench.files.cache.folder import chosen_folder
    from lrt_bench.files.cache.recall import using

    small = all_small(pair.specs, settings["device"], pair.models.local)
    kept = None if settings["no_cache"] else chosen_folder(settings["cache_size"])
    with using(kept), one_thread() if small else contextlib.nullcontext():
        yield


def _data(settings: dict[str, Any]) -> Data:
    """Where data sets by id get their rows."""
    from lrt_bench.data.datasets import Data, stand_ins

    return Data(stand_ins(settings["data"], "--data"))


def _corpus(pair: Pair, settings: dict[str, Any]) -> str | CorpusSpec | None:
    """Return the corpus that the options name, as a spec where they choose its column."""
    from lrt_bench.data.suites import default_suite, find_suite, narrowed

    if settings["corpus_column"] is None:
        return settings["corpus"]
    suite = find_suite(default_suite(*pair.specs))
    return narrowed(suite, corpus=settings["corpus"], column=settings["corpus_column"]).corpus


def _fit(pair: Pair, settings: dict[str, Any], begin: Begin) -> FittedMap:
    """Fit with a progress bar."""
    from lrt_bench import api
    from lrt_bench.cli.terminal.progress import progress

    spec = api.corpus_of(pair, _corpus(pair, settings), settings["tokens"])
    mapping, data = settings["mapping"] or "ridge", _data(settings)
    with progress() as update:
        states = api.states_of(
            pair, spec, seed=settings["seed"], data=data, batch_size=settings["batch_size"],
            progress=lambda share: update("states", share, 1.0), begin=begin,
        )  # fmt: skip
        runs = api.runs_of(pair, mapping, spec, data)
        return api.fit_on(pair, states, mapping, spec.named, settings["seed"], runs)


@click.command()
@click.option("--vector", type=FILE, help="A steering vector of the source model.")
@click.option(
    "--concept",
    type=FILE,
    nargs=2,
    help="Instead: POSITIVE.txt NEGATIVE.txt, a text a line, to make it from.",
)
@click.option("--name", help="What the concept is called.  [default: the file's name, or its own]")
@click.option("--source", help=SITE)
@click.option("--target", help="As --source.")
@click.option("--map", "map_spec", help="A fitted map instead of a fit: FOLDER, or ORG/NAME on the Hub.")
@click.option("--out", type=FILE, help="File to write; without it only the summary is printed.")
@click.option("--vector-format", help="Format of --vector, where its suffix does not tell.")
@click.option(
    "--format", "out_format", help="Format of --out: safetensors, steering-vectors, gguf, lm-eval, npy."
)
@click.option(
    "--scale", type=click.Choice(["spread", "map"]), default="spread", show_default=True,
    help="Length: as many spreads as the source's vector had, or as the map gives it.",
)  # fmt: skip
@click.option("--alpha", type=float, help="Length instead: so many spreads, to be added as it is.")
@click.option(
    "--forecast/--no-forecast", "forecasting", default=True, show_default=True,
    help="Say how well it will steer: runs the known concepts on the pair.",
)  # fmt: skip
@with_options(FITTING)
@verbosity
@one_line_errors
def transfer(
    vector: Path | None,
    concept: tuple[Path, Path] | None,
    name: str | None,
    source: str | None,
    target: str | None,
    map_spec: str | None,
    out: Path | None,
    vector_format: str | None,
    out_format: str | None,
    scale: str,
    alpha: float | None,
    forecasting: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Carry a steering vector from one model into another, in the format that your tools read.

    The map is fitted on plain text that both models read (see `fit`), or taken from --map. The vector keeps
    its length in spreads, the unit of alpha: the root mean square norm of a layer's centred states without
    their eight widest dimensions. Steer with h + c v; useful strengths end at about half a spread.
    """
    from dataclasses import replace

    if (vector is None) == (concept is None):
        raise UserError("give the vector as --vector FILE, or --concept POSITIVE.txt NEGATIVE.txt")
    check_hub((source, target), settings)
    from lrt_bench import api
    from lrt_bench.cli.terminal.screen import print_line
    from lrt_bench.cli.terminal.vectors import print_transfer, summary
    from lrt_bench.mappings.moments import Moments
    from lrt_bench.vectors import vector_files as formats

    if out is not None:
        formats.check_out(out, out_format)
    fitted, pair = _planned(map_spec, source, target, vector, vector_format, settings)
    with _computing(pair, settings):
        made = _vector(vector, vector_format, fitted, pair) if vector else _concept(concept, pair, settings)
        made = replace(made, concept=name or made.concept)
        if fitted is None:
            fitted = _fit(pair, settings, Moments.zeros)  # a forecast reads all of them
    if made.model.digest not in (None, fitted.card.source.digest):
        _note(f"the vector is of {made.model.name}, other weights than the map's {fitted.card.source.model}")
    carried = api.transfer(made, fitted, scale="map" if scale == "map" else "spread")
    if alpha is not None:
        carried = carried.of_length(alpha)
    if out is not None:
        formats.write_vector(out, carried, out_format)
        for note in formats.notes(out, carried, out_format):
            _note(note)
    with _computing(pair, settings):
        outlook = _forecast(pair, fitted, made, settings) if forecasting else None
    if as_json:
        about = summary(fitted, made, carried, out) | {"forecast": outlook.record() if outlook else None}
        click.echo(json.dumps(about, indent=1, allow_nan=False))
    else:
        print_transfer(fitted, made, carried, out, pair.specs[1])
        for text in outlook.lines() if outlook else ():
            print_line(text)


def _forecast(
    pair: Pair, fitted: FittedMap, made: SteeringVector, settings: dict[str, Any]
) -> Forecast | None:
    """How well the vector will steer the target, where the map is linear."""
    from lrt_bench import api
    from lrt_bench.vectors.forecast.forecast import Basis, forecast

    if not fitted.linear:
        _note(f"no forecast: {fitted.card.mapping} is not linear, and what is known is of linear maps")
        return None
    states = fitted.states or api.states_of(
        pair, _corpus(pair, settings), tokens=settings["tokens"], seed=settings["seed"],
        data=_data(settings), batch_size=settings["batch_size"],
    )  # fmt: skip
    return forecast(
        pair.source_site, pair.target_site, fitted.mapping, states, made.at(fitted.card.source.layer),
        Basis(seed=settings["seed"], batch_size=settings["batch_size"]),
    )  # fmt: skip


def _note(text: str) -> None:
    """Print a line that is no error on standard error."""
    click.echo(f"note: {text}", err=True)


def _planned(
    map_spec: str | None,
    source: str | None,
    target: str | None,
    vector: Path | None,
    vector_format: str | None,
    settings: dict[str, Any],
) -> tuple[FittedMap | None, Pair]:
    """Return the fitted map, if one is given, and the pair, its models not loaded yet."""
    from lrt_bench.files.names import parse_site
    from lrt_bench.mappings import find_mapping
    from lrt_bench.vectors.fitted_map import check_corpus_map
    from lrt_bench.vectors.hub import find_map
    from lrt_bench.vectors.vector_files import read_vector

    if map_spec is not None:
        if any(settings[name] for name in ("mapping", "corpus", "corpus_column", "tokens")):
            raise UserError("--map is fitted already: leave --mapping, --corpus and --tokens out beside it")
        fitted = find_map(map_spec, lambda line: click.echo(line, err=True))
        return fitted, _pair_of(fitted, source, target, settings)
    if not (source and target):
        raise UserError("give --source MODEL:LAYER and --target MODEL:LAYER, or a fitted map: --map FOLDER")
    mapping = settings["mapping"] or "ridge"
    check_corpus_map(mapping, find_mapping(mapping))
    if vector is not None:
        _check_linear(mapping)
        if parse_site(source)[1] is None:  # then the vector's own
            source = f"{source}:{read_vector(vector, vector_format).layer()}"
    return None, _pair(source, target, settings)


def _check_linear(mapping: str) -> None:
    """Raise UserError, before a fit, where the mapping needs more than a vector."""
    from lrt_bench.mappings import LinearMapping, find_mapping

    if not issubclass(find_mapping(mapping), LinearMapping):
        raise UserError(
            f"--mapping {mapping}: not linear: it carries states, not vectors; give the texts that the "
            "vector is made from (--concept POSITIVE.txt NEGATIVE.txt), or a linear mapping"
        )


def _pair_of(fitted: FittedMap, source: str | None, target: str | None, settings: dict[str, Any]) -> Pair:
    """Return the pair of a fitted map; --source and --target must agree with it where they are given."""
    from lrt_bench.files.names import parse_site

    sides = []
    for flag, given, side in (("source", source, fitted.card.source), ("target", target, fitted.card.target)):
        spec, layer = parse_site(given) if given else (side.model, side.layer)
        if isinstance(layer, int) and layer != side.layer:
            raise UserError(f"--{flag} {given}: the map is of {side.model}, layer {side.layer}")
        sides.append(f"{spec}:{side.layer}")
    return _pair(sides[0], sides[1], settings)


def _vector(path: Path, name: str | None, fitted: FittedMap | None, pair: Pair) -> SteeringVector:
    """Return the vector in a file, at the source's layer.

    Raises UserError where it is of another width.
    """
    from lrt_bench.vectors.vector_files import assumptions, read_vector

    if fitted is not None:
        side = fitted.card.source
        model, layer, width = side.model, side.layer, side.width
    else:
        site = pair.source_site
        model, layer, width = site.model.name, site.layer, site.width
    vector = read_vector(path, name, layer)
    if vector.width != width:
        raise UserError(f"{path}: {vector.width} wide, and {model} is {width}: not a vector of that model")
    for note in assumptions(vector):
        _note(f"{path}: {note}")
    return vector


def _concept(concept: tuple[Path, Path] | None, pair: Pair, settings: dict[str, Any]) -> SteeringVector:
    """Return the vector of two files of texts, made in the source model."""
    from lrt_bench.api import concept_vector
    from lrt_bench.data.corpus import encode
    from lrt_bench.files.text import read_lines

    assert concept is not None
    texts = _texts(concept)
    for path in concept:  # a text without a token is told with its line
        places = [f"--concept {path}, line {number}" for number, _ in read_lines(path)]
        encode(pair.source_site.model.tokenizer, [text for _, text in read_lines(path)], places=places)
    return concept_vector(
        pair.source_site, *texts, concept=concept[0].stem, batch_size=settings["batch_size"]
    )


def _texts(concept: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """Return the lines of both files; empty ones are left out."""
    from lrt_bench.files.text import read_lines

    sides = []
    for path in concept:
        sides.append([line for _, line in read_lines(path)])
        if not sides[-1]:
            raise UserError(f"--concept {path}: no text there; give a text a line")
    return sides[0], sides[1]
