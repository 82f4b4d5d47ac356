"""The command that relates two sparse autoencoders' decoders (the paper's figure 2)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.cli.options import verbosity
from lrt_bench.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from lrt_bench.cli.terminal.layout import Listing
    from lrt_bench.evaluation.decoder_relation.relation import Matching, Relation
    from lrt_bench.models.autoencoders.sae import SparseAutoencoder
    from lrt_bench.models.sites import Features


@click.command(name="decoder-relation")
@click.option("--source-sae", required=True, help="nano/S:3, a folder or file, org/repo:path[@revision].")
@click.option("--target-sae", required=True, help="The same, of the target model.")
@click.option(
    "--match",
    type=click.Choice(["index", "activations"]),
    default="index",
    show_default=True,
    help="Which features stand in one row: those of one index, or those active on the same tokens.",
)
@click.option("--source", help="MODEL or MODEL:LAYER that --source-sae reads, for activations.")
@click.option("--source-layer", type=int, help="Its layer, counted from 1.")
@click.option("--target", help="MODEL or MODEL:LAYER that --target-sae reads.")
@click.option("--target-layer", type=int, help="Its layer, counted from 1.")
@click.option("--corpus", default="nano", show_default=True, help="Text that activations are read on.")
@click.option("--tokens", type=click.IntRange(min=100), default=60_000, show_default=True)
@click.option("--draws", type=click.IntRange(min=20), default=20, show_default=True, help="Of each null.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for relation.json and relation.svg.")
@click.option("--json", "as_json", is_flag=True, help="The whole record on standard output.")
@verbosity
@one_line_errors
def decoder_relation(
    source_sae: str,
    target_sae: str,
    match: str,
    source: str | None,
    source_layer: int | None,
    target: str | None,
    target_layer: int | None,
    corpus: str,
    tokens: int,
    draws: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Least squares between two decoders, both ways, beside permuted and random rows (paper, figure 2)."""
    from lrt_bench.cli.terminal.formats import write
    from lrt_bench.cli.terminal.progress import progress
    from lrt_bench.evaluation.decoder_relation.relation import relate
    from lrt_bench.models.autoencoders.sae_files import load_sae

    saes = load_sae(source_sae), load_sae(target_sae)
    rows, matching = [sae.w_dec for sae in saes], None
    with progress() as update:
        if match == "activations":
            update("matching", 0, 1)
            sites = [
                _features(sae, model, layer, side)
                for sae, model, layer, side in (
                    (saes[0], source, source_layer, "source"), (saes[1], target, target_layer, "target")
                )
            ]  # fmt: skip
            matching = _matched(sites, corpus, tokens)
            rows = [rows[0][matching.source], rows[1][matching.target]]
        sides = [(sae.name, w) for sae, w in zip(saes, rows, strict=True)]
        relations = [
            relate(a, b, draws, seed, lambda done, a=a, b=b: update(f"{a[0]} -> {b[0]}", done, 1))  # type: ignore[misc]
            for a, b in (sides, sides[::-1])
        ]
    record = _record(saes, relations, match, matching, corpus, tokens, seed)
    if out:
        _write(out, record, relations)
    if as_json:
        click.echo(json.dumps(record, indent=1, allow_nan=False))
        return
    write([_listing(relations)], "table")
    if matching is not None:
        click.echo(f"{record['matched']} features matched, median correlation {record['correlation']:.3f}")
    for relation in relations:
        click.echo(relation.verdict)


def _features(sae: SparseAutoencoder, model: str | None, layer: int | None, side: str) -> Features:
    """Return the site whose coefficients are read: the one given, or the one that an embedded name gives."""
    from lrt_bench.files.names import parse_site
    from lrt_bench.models.autoencoders.sae_files import EMBEDDED
    from lrt_bench.models.loading import load_model
    from lrt_bench.models.sites import Features

    if named := EMBEDDED.fullmatch(sae.name):
        model, layer = model or named["model"], layer or int(named["layer"])
    if model is not None:
        model, given = parse_site(model)
        layer = given if isinstance(given, int) else layer
    if model is None or layer is None:
        raise UserError(f"--match activations reads {sae.name} at its model: give --{side}, --{side}-layer")
    return Features(load_model(model), layer, sae=sae)


def _matched(sites: list[Features], corpus: str, tokens: int) -> Matching:
    from lrt_bench.data.corpus import Corpus
    from lrt_bench.evaluation.decoder_relation.relation import match_by_activations

    matching = match_by_activations(sites[0], sites[1], Corpus(corpus), tokens)
    if not len(matching.source):
        raise UserError(f"--corpus {corpus}: no feature of the two is active on the same tokens")
    return matching


def _record(
    saes: tuple[SparseAutoencoder, SparseAutoencoder],
    relations: list[Relation],
    match: str,
    matching: Matching | None,
    corpus: str,
    tokens: int,
    seed: int,
) -> dict[str, Any]:
    """Return what relation.json holds."""
    from lrt_bench._version import __version__

    record: dict[str, Any] = {
        "lrt_bench": __version__,
        "saes": [{"name": sae.name, "digest": sae.digest, "features": sae.width, "d": sae.d} for sae in saes],
        "match": match,
        "seed": seed,
    }
    if matching is not None:
        record |= {
            "corpus": corpus,
            "tokens": tokens,
            "matched": len(matching.source),
            "correlation": float(matching.correlation.median()),
        }
    record["directions"] = [
        asdict(relation) | {name: getattr(relation, name) for name in ("beyond", "related", "verdict")}
        for relation in relations
    ]
    return record


def _listing(relations: list[Relation]) -> Listing:
    from lrt_bench.cli.terminal.layout import Column, Listing

    rows = [_row(relation) for relation in relations]
    columns = [Column(name, True, place) for place, name in enumerate(rows[0])]
    columns[0] = Column("direction", least=20)
    return Listing(tuple(columns), [tuple(row.values()) for row in rows], rows)


def _row(relation: Relation) -> dict[str, str]:
    permuted, random = relation.permuted, relation.random
    return {
        "direction": f"{relation.source} -> {relation.target}",
        "n": str(relation.features),
        "error": f"{relation.error:.3f}",
        "permuted": f"{permuted.error:.3f} +- {1.96 * permuted.error_sd:.3f}",
        "random": f"{random.error:.3f} +- {1.96 * random.error_sd:.3f}",
        "unrelated": f"{relation.unrelated_error:.3f}",
        "explained": f"{relation.share:.2%}",
        "permuted explain": f"{permuted.share:.2%}",
        "random explain": f"{random.share:.2%}",
    }


def _write(folder: Path, record: dict[str, Any], relations: list[Relation]) -> None:
    from lrt_bench.evaluation.decoder_relation.figure import draw_relation
    from lrt_bench.files.whole import write_whole

    write_whole(folder / "relation.json", (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    draw_relation(relations, folder / "relation.svg")
