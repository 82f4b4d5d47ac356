"""The front page: pretrained models first, toy models by their name, known answers apart; links out."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from boards import copy_committed, pretrained_board, read, score_text, write
from command_line import error_of, output_of
from PIL import Image

from lrt_bench.leaderboard.entries import read_board
from lrt_bench.leaderboard.front import kinds, panels
from lrt_bench.leaderboard.front.links import Links
from lrt_bench.leaderboard.front.preview import draw_preview
from lrt_bench.leaderboard.publish import space_address
from lrt_bench.results.schema.records import PairRecord

REPOSITORY, ADDRESS = "https://git.example.org/org/bench", "https://bench.example.org"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The committed toy results, and records of two pretrained models."""
    folder = tmp_path_factory.mktemp("front") / "results"
    copy_committed(folder, "S-L-early", "S-L", "planted-rotation")
    return pretrained_board(folder)


@pytest.fixture(scope="module")
def site(results):
    out = results.parent / "site"
    more = ("--repository", f"{REPOSITORY}/", "--address", ADDRESS)
    output_of("leaderboard", "build", "--results", results, "--out", out, *more)
    return out


def text_of(path: Path) -> str:
    """A page's words, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", path.read_text()))


def test_pretrained_pairs_come_first_and_known_answers_apart(results):
    made = panels.groups(read_board(results))
    assert [group.kind for group in made] == ["pretrained", "toy", "planted"]
    assert [panel.pair.name for panel in made[1].panels] == ["S-L-early", "S-L"]  # the output-level one last
    assert [panel.output_level for panel in made[1].panels] == [False, True]
    lead = panels.lead(made)
    assert lead is not None
    assert lead.title == "Qwen2.5-Coder-0.5B → Qwen2.5-Coder-1.5B"
    assert lead.facts == "pretrained models · 494M → 1.54B parameters · layer 17 of 24 → layer 20 of 28"
    assert [entry.name for entry in lead.first] == ["mlp", "autoencoder"]
    assert lead.hypothesis is not None
    assert lead.hypothesis.name == "affine"
    assert [entry.name for entry in lead.floors] == ["readout", "random"]


def test_without_pretrained_results_a_toy_pair_leads_and_is_called_one(results):
    folder = results.parent / "toys"
    shutil.copytree(results / "nano", folder / "nano")
    lead = panels.lead(panels.groups(read_board(folder)))
    assert lead is not None
    assert lead.pair.name == "S-L-early"
    assert "toy models" in panels.summary(lead)


def test_the_page_gives_the_answer_the_kinds_and_the_floors(site):
    text = text_of(site / "index.html")
    answer = text.index("From Qwen2.5-Coder-0.5B to Qwen2.5-Coder-1.5B (pretrained models)")
    assert f"does {score_text('S-L-early', 'mlp')} of the 100" in text[answer : answer + 250]
    assert " mlp , tied with" in text[answer : answer + 150]
    order = [
        text.index(words) for words in ("Pretrained models ", "Toy models ", "Sanity checks", "All results")
    ]
    assert order == sorted(order)
    assert "no evidence about large models" in text
    assert "the output: a vector that only writes" in text
    tables = re.findall(r'data-table="([^"]+)"', (site / "index.html").read_text())
    assert tables == ["qwen2.5-coder--corpus", "nano--corpus"]
    planted = text[order[2] : order[3]]
    assert "ridge 100.0" in planted
    assert "Rank" not in planted  # a sanity check is no score


def test_links_lead_to_code_documentation_paper_models_and_the_ledger(site):
    about, index = (site / "about.html").read_text(), (site / "index.html").read_text()
    assert f'href="{REPOSITORY}"' in index
    assert f'href="{REPOSITORY}/blob/main/docs/index.md"' in index
    assert 'href="https://arxiv.org/abs/2506.00653"' in index
    assert 'href="ledger.html"' in index
    assert 'href="about.html#submit"' in index
    assert f'href="{REPOSITORY}/blob/main/CONTRIBUTING.md"' in about
    for model in ("0.5B", "1.5B"):
        assert f'href="https://huggingface.co/Qwen/Qwen2.5-Coder-{model}"' in about
    assert (
        f'href="{REPOSITORY}/blob/main/lrt_bench/mappings"' in (site / "mappings" / "ridge.html").read_text()
    )
    assert '<meta property="og:title" content="lrt-bench: which map' in index
    assert f'<meta property="og:url" content="{ADDRESS}/index.html">' in index


def test_every_external_link_is_well_formed(site):
    """An https address of a host, without a space or a quote."""
    found = set()
    for page in site.rglob("*.html"):
        found |= set(re.findall(r'<a [^>]*href="([a-z]+:[^"]*)"', page.read_text()))
    assert len(found) >= 6
    for link in found:
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), link
        assert re.fullmatch(r"[\w./#~%@:+-]+", link), link


def test_a_board_that_is_told_no_address_invents_none(results):
    out = results.parent / "plain"
    output_of("leaderboard", "build", "--results", results / "nano" / "S-L", "--out", out)
    index = (out / "index.html").read_text()
    assert set(re.findall(r'href="(https?:[^"]*)"', index)) == {"https://arxiv.org/abs/2506.00653"}
    assert "og:url" not in index
    assert "og:description" in index


@pytest.mark.parametrize("option", ["--repository", "--address"])
def test_what_is_no_address_is_refused(results, tmp_path, option):
    said = error_of(
        "leaderboard", "build", "--results", results, "--out", tmp_path / "s", option, "javascript:x"
    )
    assert f"{option} javascript:x: want an address" in said
    assert not (tmp_path / "s").exists()


def test_refusal_stands_on_the_page_of_the_pair_where_it_was_measured(results, tmp_path):
    def mean(value):
        return {"mean": value, "standard_error": 0.05, "n": 20, "failures": 0}

    def point(alpha, value, intervention="add"):
        scores = {"phrases": mean(value), "first-token": mean(value - 1)}
        return {"intervention": intervention, "alpha": alpha, "scores": scores, "cross_entropy": mean(1.0)}

    folder = tmp_path / "results"
    shutil.copytree(results / "nano" / "S-L", folder / "nano" / "S-L")
    record = read(folder / "nano" / "S-L" / "ridge.json")
    record["refusal"] = [{
        "task": "refuse-harm", "version": 1, "digest": "0" * 64, "answering": 0.25, "refusing": -0.25,
        "chosen_on": 8, "harmless": [point(-0.25, 0.8)],
        "harmful": [point(0.0, 0.9), point(0.25, 0.125), point(0.5, 0.6), point(None, 0.3, "ablate")],
    }]  # fmt: skip
    write(folder, record)
    output_of("leaderboard", "build", "--results", folder, "--out", tmp_path / "site")
    page = text_of(tmp_path / "site" / "pairs" / "nano--S-L.html")
    part = page[page.index("Refusal: refuse-harm") :]
    assert "harmful, unsteered harmful, alpha +0.25 harmful, ablated harmless, alpha −0.25" in part
    assert "ridge 0.90 ±0.05 0.12 ±0.05 0.30 ±0.05 0.80 ±0.05" in part
    assert "0.60" not in part[: part.index("What") if "What" in part else 900]  # an alpha that was not chosen
    assert "refuse-harm" in text_of(tmp_path / "site" / "mappings" / "ridge.html")
    assert "Refusal" not in text_of(tmp_path / "site" / "mappings" / "mlp.html")


def record_of(source: str, target: str) -> PairRecord:
    side = {"digest": "0", "layer": 3, "depth": 0.5, "width": 8, "parameters": 1_500_000}
    return PairRecord(
        name="x", source={"model": source, **side}, target={"model": target, **side},
        source_coverage=1, target_coverage=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "target", "kind", "title"),
    [
        ("nano/S", "nano/L", "toy", "toy S → toy L"),
        ("nano/S", "Qwen/Q-1", "toy", "toy S → Q-1"),
        ("org/a@main", "org/b", "pretrained", "a → b"),
        ("./my models/a", "b.gguf", "pretrained", "./my models/a → b.gguf"),
        ("org/a", "planted-rotation:org/a", "planted", "a → a after a rotation"),
    ],
)
def test_a_pair_in_words(source, target, kind, title):
    record = record_of(source, target)
    assert kinds.pair_kind(record) == kind
    assert kinds.title(record) == title
    assert "layer 3 of 6" in kinds.facts(record)


@pytest.mark.parametrize(
    ("model", "card"),
    [
        ("Qwen/Qwen2.5-0.5B", "https://huggingface.co/Qwen/Qwen2.5-0.5B"),
        ("org/a@v1.0", "https://huggingface.co/org/a/tree/v1.0"),
        ("nano/S", None),
        ("planted-rotation:org/a", None),
        ("../a", None),
        ("/models/a/b", None),
        ('org/a"onclick=x', None),
    ],
)
def test_a_model_of_the_hub_has_a_card_and_others_have_none(model, card):
    assert kinds.model_card(model) == card


def test_where_a_static_space_is_served():
    assert space_address("Some-Org/lrt_bench.board") == "https://some-org-lrt-bench-board.static.hf.space/"
    assert Links(repository="https://a.example/b/").repository == "https://a.example/b"


def test_what_a_run_told_of_its_weights_is_shown_and_a_strangers_other_values_are_not():
    def result(config):
        return SimpleNamespace(provenance=SimpleNamespace(config=config))

    told = {"org/a": "4-bit <b>GGUF</b>", "org/b": "4-bit <b>GGUF</b>", "org/c": 3}
    assert kinds.weights_told(result({"weights": told})) == ["4-bit <b>GGUF</b>"]
    assert kinds.weights_told(result({"weights": ["4-bit"]})) == []
    assert kinds.weights_told(result(None)) == []


def test_a_shared_link_shows_the_leading_pair_where_the_site_knows_its_address(site, results, tmp_path):
    picture = site / "preview.png"
    with Image.open(picture) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (1200, 630))
        assert len(drawn.convert("RGB").getcolors(1 << 20)) > 50  # something is drawn
    assert picture.stat().st_size < 300_000
    for page in ("index.html", "pairs/" + next((site / "pairs").iterdir()).name):
        text = (site / page).read_text()
        assert f'<meta property="og:image" content="{ADDRESS}/preview.png">' in text
        assert '<meta name="twitter:card" content="summary_large_image">' in text
        assert (
            f"mlp {score_text('S-L-early', 'mlp').partition(' ')[0]}"
            in re.search('"og:image:alt" content="(.*?)"', text)[1]
        )
    output_of("leaderboard", "build", "--results", results, "--out", tmp_path / "site")
    assert not (tmp_path / "site" / "preview.png").exists()  # nothing could name it
    assert "og:image" not in (tmp_path / "site" / "index.html").read_text()


def test_the_picture_is_the_same_when_drawn_again_and_no_name_is_a_formula(results):
    panel = panels.lead(panels.groups(read_board(results)))
    assert panel is not None
    assert draw_preview(panel) == draw_preview(panel)
    entry = panel.rows[0]
    strange = entry.result.mapping.model_copy(update={"name": "a$\\frac{$" + "x" * 60})
    entry = replace(entry, result=entry.result.model_copy(update={"mapping": strange}))
    with Image.open(io.BytesIO(draw_preview(replace(panel, rows=[entry])))) as drawn:
        assert drawn.size == (1200, 630)
