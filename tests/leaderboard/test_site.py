"""The built site: what stands on it, what is left out, and that nothing hostile gets through."""

from __future__ import annotations

import csv
import html.parser
import io
import itertools
import json
import math
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from boards import ARRAYS, read, rescored, small_board, write
from command_line import COMMAND, error_of, run
from hub_desk import tree_of
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrt_bench.cli.main import main
from lrt_bench.files.markdown import PAPER
from lrt_bench.files.names import PLAIN, slug
from lrt_bench.leaderboard import downloads, entries, site, views, workers
from lrt_bench.leaderboard.entries import read_board


def build(results: Path, out: Path, *more: str):
    return run("leaderboard", "build", "--results", results, "--out", out, *more)


class Page(html.parser.HTMLParser):
    """The tags, links, ids and cells of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th") or (self._cell and tag not in ("table", "caption"))
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        if self._cell and self.rows:
            self.rows[-1][-1] += data.strip() and f" {data.strip()}"

    @property
    def links(self) -> list[str]:
        return [a[k] for _, a in self.tags for k in ("href", "src") if a.get(k)]

    @property
    def ids(self) -> set[str]:
        return {a["id"] for _, a in self.tags if a.get("id")}


@pytest.fixture(scope="module")
def results(small_run, tmp_path_factory):
    return small_board(small_run, tmp_path_factory.mktemp("board") / "results")


@pytest.fixture(scope="module")
def built(results, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "site"
    done = build(results, out)
    assert done.exit_code == 0, done.output
    return out


def test_every_link_of_every_page_leads_somewhere(built):
    pages = {path.resolve(): Page(path) for path in built.rglob("*.html")}
    assert len(pages) > 20
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert link == PAPER, f"{path}: {link} leaves the site"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path}: {link}"
            if parts.fragment and "=" not in parts.fragment:
                assert parts.fragment in pages[target].ids, f"{path}: {link}"


def test_the_table_is_in_the_html_with_controls_beside_the_mappings(built, results):
    rows = [row for row in Page(built / "index.html").rows if len(row) == 10]
    listed = {(row[0].strip(), row[2].strip()) for row in rows[1:]}
    want = {(r["pair"]["name"], r["mapping"]["name"]) for r in map(read, results.rglob("*.json"))}
    assert listed == want


def plain_p_value(differences: list[float]) -> float:
    """The paired t over tasks, and Hall's correction of it for skewness; the weaker of the two counts."""
    n, mean = len(differences), statistics.fmean(differences)
    if abs(mean) <= 5e-4 or n < 2:
        return 1.0
    deviation = statistics.stdev(differences)
    skewness = 0.0
    if deviation > 1e-12:
        skewness = sum((d - mean) ** 3 for d in differences) * n / (n - 1) / (n - 2) / deviation**3
    effect = mean / max(deviation, 1e-12)
    steps = effect + skewness * effect**2 / 3 + skewness**2 * effect**3 / 27 + skewness / (6 * n)
    if effect * steps <= 0:
        return 1.0
    return 2 * stats.t.sf(math.sqrt(n) * min(abs(effect), abs(steps)), n - 1)


def slow_ranks(records: list[dict]) -> dict[str, int]:
    """The ranks from the JSON files alone, by plain loops: one more than the rows that are found better."""
    shares = {}
    for record in (r for r in records if not r["mapping"]["control"]):
        own = shares[record["mapping"]["name"]] = {}
        for task in (t for t in record["tasks"] if t["steerable"]):
            error, energy, split_error, split_energy = (np.array(task[part]) for part in ARRAYS)
            ceiling = max(1 - split_error.sum() / split_energy.sum(), 0.05)
            value = (1 - error.mean(0).sum() / energy.sum()) / ceiling
            own[task["task"]] = min(max(value, -1), 1)
    tests = {}
    for one, other in itertools.combinations(sorted(shares), 2):
        tests[one, other] = plain_p_value([shares[one][task] - shares[other][task] for task in shares[one]])
    apart, step = set(), len(tests)
    for pair in sorted(tests, key=tests.get):  # Holm: as long as each is small enough for those that are left
        if tests[pair] * step > 0.05:
            break
        apart.add(frozenset(pair))
        step -= 1
    mean = {name: statistics.fmean(own.values()) for name, own in shares.items()}
    return {
        name: 1 + sum(frozenset((name, other)) in apart and mean[other] > mean[name] for other in shares)
        for name in shares
    }


@pytest.mark.parametrize("pair", ["ladder", "rotated"])
def test_ranks_and_ties_on_the_page_are_those_of_an_independent_computation(built, results, pair):
    want = slow_ranks([read(path) for path in (results / "small" / pair).glob("*.json")])
    rows = [row for row in Page(built / "pairs" / f"small--{pair}.html").rows if len(row) == 9]
    shown = {row[1].strip(): row[0].replace(" ", "") for row in rows[1:]}
    for name, rank in want.items():
        tied = list(want.values()).count(rank) > 1
        place = re.match(r"\d+=?", shown[name])[0]  # letters stand behind it
        assert place == (f"{rank}=" if tied else str(rank)), (name, shown)


def test_two_builds_of_the_same_results_are_byte_for_byte_the_same(built, results, tmp_path):
    build(results, tmp_path / "again")
    assert tree_of(built) == tree_of(tmp_path / "again")


def test_workers_write_the_same_site_as_one_process(built, results, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LEAST", 5)
    assert build(results, tmp_path / "shared").exit_code == 0
    assert tree_of(built) == tree_of(tmp_path / "shared")


def mapping(**fields):
    """A change of a record's mapping."""
    return lambda record: record | {"mapping": record["mapping"] | fields}


def energies(change):
    """A change of the first task's energies."""

    def changed(record):
        first, *others = record["tasks"]
        return record | {"tasks": [first | {"energy": change(first["energy"])}, *others]}

    return changed


BAD = {
    "a NaN": (lambda r: r | {"transfer_score": float("nan")}, "transfer_score"),
    "a score that its tasks do not give": (lambda r: r | {"transfer_score": 99.9}, "but its tasks give"),
    "an interval beside its score": (lambda r: r | {"ci95": [-99.0, -98.0]}, "does not hold the score"),
    "more certainty than its tasks allow": (
        lambda r: r | {"ci95": [r["transfer_score"]] * 2},
        "differ too much for less than",
    ),
    "a name of ten thousand letters": (mapping(name="x" * 10_000), "mapping.name"),
    "a name that turns the writing round": (mapping(name="a\u202eb"), "mapping.name"),
    "a script as its link": (mapping(link="javascript:alert(1)"), "mapping.link"),
    "a link that ends its attribute": (mapping(link='https://a.example/"onclick=x'), "mapping.link"),
    "more parameters than can be counted": (mapping(parameters=10**20), "mapping.parameters"),
    "a control's name": (mapping(name="native"), "are the controls, and only they"),
    "fits that its arrays have not": (mapping(seeds=7), "mapping.seeds"),
    "a correlation of 57": (lambda r: r | {"correlation_delta": 57.0}, "correlation_delta"),
    "energies that would overflow": (energies(lambda values: [1e308 for _ in values]), "1e30"),
    "a task's figure that its arrays do not give": (
        lambda r: r | {"tasks": [r["tasks"][0] | {"steering_r2": 0.99999}, *r["tasks"][1:]]},
        "steering_r2",
    ),
    "a state of its own": (lambda r: r | {"state": "verified"}, "state"),
    "a date that is none": (
        lambda r: r | {"provenance": r["provenance"] | {"created": "<b>now</b>"}},
        "provenance.created",
    ),
    "errors of another length": (energies(lambda values: values[1:]), "energy"),
    "a negative square": (energies(lambda values: [-value for value in values]), "energy"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_result_is_named_and_left_out_and_the_rest_is_built(results, tmp_path, case):
    change, message = BAD[case]
    shutil.copytree(results / "small" / "rotated", tmp_path / "results" / "small" / "rotated")
    bad = tmp_path / "results" / "bad.json"
    bad.write_text(json.dumps(change(read(results / "small" / "ladder" / "method-3.json"))))
    done = build(tmp_path / "results", tmp_path / "site")
    assert done.exit_code == 1
    lines = [line for line in done.output.splitlines() if line.startswith("left out:")]
    assert len(lines) == 1
    assert "bad.json" in lines[0]
    assert message in lines[0]
    assert not (tmp_path / "site" / "pairs" / "small--ladder.html").exists()
    assert (tmp_path / "site" / "pairs" / "small--rotated.html").exists()


def test_half_a_file_a_huge_file_a_copy_and_a_link_are_left_out(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    text = (folder / "small" / "ladder" / "method-1.json").read_text()
    (folder / "half.json").write_text(text[: len(text) // 2])
    (folder / "huge.json").write_text(text + " " * 25_000_000)
    (folder / "zcopy.json").write_text(text)
    (folder / "link.json").symlink_to("/etc/passwd")
    (folder / ".hidden.json").write_text("junk")
    done = build(folder, tmp_path / "site")
    assert done.exit_code == 1
    left = sorted(line for line in done.output.splitlines() if line.startswith("left out:"))
    assert [Path(line.split(": ")[1]).name for line in left] == [
        "half.json", "huge.json", "link.json", "zcopy.json",
    ]  # fmt: skip
    assert "the same suite, pair and mapping as" in left[3]


NASTY = '"><img src=x onerror=alert(1)></script><script>alert(1)</script>{{7*7}}${7*7}'


def test_markup_in_names_and_notes_stays_text(results, tmp_path):
    record = read(results / "small" / "ladder" / "method-0.json")
    folder = tmp_path / "results"
    for name in ("native", "random"):
        write(folder, read(results / "small" / "ladder" / f"{name}.json"), pair__name=NASTY, suite=NASTY[:90])
    write(
        folder, record, NASTY, pair__name=NASTY, suite=NASTY[:90],
        mapping__description=NASTY, mapping__notes=NASTY, mapping__authors=[NASTY],
        mapping__licence=NASTY, mapping__rule=NASTY, pair__source__model=NASTY,
        mapping__link="https://example.org/a?b=1&c=2", provenance__torch=NASTY,
    )  # fmt: skip
    write(folder, record, "../../escape", pair__name=NASTY, suite=NASTY[:90])
    write(folder, record, "=1+1", pair__name=NASTY, suite=NASTY[:90])
    done = build(folder, tmp_path / "out" / "site")
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["site"]
    pages = [*(tmp_path / "out" / "site").rglob("*.html")]
    assert len(pages) > 5
    for path in pages:
        page = Page(path)
        assert not [tag for tag, _ in page.tags if tag == "img"], path
        assert not [a for _, a in page.tags if any(key.startswith("on") for key in a)], path
        scripts = [a for tag, a in page.tags if tag == "script"]
        assert all(a.get("src") and not urlsplit(a["src"]).scheme for a in scripts), path
        assert "49" not in re.sub(r"[0-9a-f]{10,}", "", " ".join(row[0] for row in page.rows if row)), path
    rows = list(
        csv.DictReader(io.StringIO((tmp_path / "out" / "site" / "downloads" / "table.csv").read_text()))
    )
    assert "'=1+1" in {row["mapping"] for row in rows}
    ElementTree.parse(tmp_path / "out" / "site" / "feed.xml")


@given(st.lists(st.text(min_size=1, max_size=200), min_size=2, max_size=2, unique=True))
def test_slugs_are_plain_parts_of_a_path_and_differ_where_names_do(names):
    slugs = [slug(name) for name in names]
    assert all(PLAIN.fullmatch(one) and one != ".." for one in slugs)
    assert slugs[0] != slugs[1]


def test_what_cannot_be_compared_is_listed_and_not_ranked(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results / "small" / "ladder", folder / "small" / "ladder")
    record = read(results / "small" / "ladder" / "method-0.json")
    write(folder, record, "incomplete", complete=False)
    write(folder, record, "old-suite", suite_digest="0" * 64)
    write(folder, record, "other-layer", pair__target__layer=3)
    fewer = rescored(record, 0.99)
    fewer["tasks"][0]["steerable"] = False
    write(folder, rescored(fewer, 0.99), "chose-its-tasks")
    stronger = rescored(record, 0.99)
    for task in stronger["tasks"]:
        task["split_energy"] = [10 * value for value in task["split_energy"]]
        task["split_error"] = [10 * value for value in task["split_error"]]
    write(folder, stronger, "other-prompts")
    forged = rescored(record, 0.99)
    for task in forged["tasks"]:
        task["energy"] = [100 * value for value in task["energy"]]
        task["error"] = [[100 * value for value in row] for row in task["error"]]
    write(folder, forged, "forged-energy")
    write(folder, record, "other-alphas", settings__spread=1.0)
    board = read_board(folder)
    pair = board.pairs[0]
    why = {entry.name: entry.unranked for entry in pair.entries if entry.rank is None and entry.unranked}
    assert {name: reason.split(":")[0] for name, reason in why.items()} == {
        "incomplete": "incomplete",
        "old-suite": "another version of the suite or of its tasks",
        "other-layer": "other weights or layers than the pair's native row",
        "chose-its-tasks": "other tasks count as steerable than in the pair's native row",
        "other-prompts": "the native effect differs from that of the pair's native row",
        "forged-energy": "the native effect differs from that of the pair's native row",
        "other-alphas": "other alphas, or another unit of them, than in the pair's native row",
    }
    before = {e.name: e.rank for e in read_board(results).pairs[0].entries if e.rank}
    assert {e.name: e.rank for e in pair.ranked} == before  # strangers' rows move nobody else's rank
    build(folder, tmp_path / "site")
    assert "not ranked" in (tmp_path / "site" / "pairs" / "small--ladder.html").read_text()


def test_an_out_folder_that_is_no_site_is_refused_and_kept(results, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = build(results, tmp_path)
    assert done.exit_code == 2
    assert "holds something that is no site" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_build_that_fails_leaves_the_older_site_and_nothing_else(results, tmp_path, monkeypatch):
    assert build(results, tmp_path / "site").exit_code == 0
    before = (tmp_path / "site" / "index.html").read_bytes()

    def full(self, path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(site._Builder, "_write", full)
    done = build(results, tmp_path / "site")
    assert done.exit_code == 2
    assert "No space left on device" in done.output
    assert (tmp_path / "site" / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_results_is_one_clear_line(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    done = build(tmp_path / folder, tmp_path / "site")
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert "lrt-bench evaluate" in done.output


def test_long_tables_are_cut_in_the_html_and_whole_in_the_data(results, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "HTML_ROWS", 5)
    build(results, tmp_path / "site")
    index = tmp_path / "site" / "index.html"
    assert len([row for row in Page(index).rows if len(row) == 10]) == 1 + 5
    assert "The first 5 are shown" in index.read_text()
    text = (tmp_path / "site" / "data" / "index.js").read_text()
    data = json.loads(text[len('lrt.put("index",') : -len(");\n")])
    assert len(data["tables"][0]["columns"][0]) == len(list(results.rglob("*.json")))


def test_downloads_hold_the_same_table_whatever_is_missing(built, results):
    from pyarrow import parquet

    frame = parquet.read_table(built / "downloads" / "table.parquet")
    listed = json.loads((built / "downloads" / "table.json").read_text())
    assert frame.num_rows == len(listed) == len(list(results.rglob("*.json")))
    assert frame.to_pylist() == listed
    assert str(frame.schema.field("unranked").type) == "string"
    assert str(frame.schema.field("rank").type) == "int64"
    tasks = parquet.read_table(built / "downloads" / "tasks.parquet").to_pylist()
    one = read(results / "small" / "ladder" / "method-2.json")["tasks"][0]
    row = next(t for t in tasks if t["mapping"] == "method-2" and t["task"] == one["task"])
    assert row["steering_r2"] == pytest.approx(one["steering_r2"])
    assert (built / "results" / "small" / "ladder" / "method-2.json").read_bytes() == (
        results / "small" / "ladder" / "method-2.json"
    ).read_bytes()


def test_packed_samples_are_those_of_the_ranking_to_a_hundredth(results):
    import base64

    entry = read_board(results).pairs[0].ranked[0]
    packed = np.frombuffer(base64.b64decode(views.pack_samples(entry.samples)), "<i2") / 100
    np.testing.assert_allclose(packed, entry.samples, atol=0.0051)


def test_the_feed_tells_of_the_newest_results_first(built):
    root = ElementTree.parse(built / "feed.xml").getroot()
    dates = [node.text for node in root.iter(f"{{{downloads.ATOM}}}updated")][1:]
    assert len(dates) > 5
    assert dates == sorted(dates, reverse=True)


def test_the_command_that_reproduces_a_result_is_one_that_the_program_takes(results):
    entries = read_board(results).entries
    assert entries
    for entry in entries:
        command = shlex.split(views.reproduce(entry.result))
        assert command[:2] == ["lrt-bench", "evaluate"]
        context = main.commands["evaluate"].make_context("evaluate", command[2:])
        assert context.params["suite"] == "small"
        assert context.params["pairs"] == (entry.result.pair.name,)


def test_an_ad_hoc_result_is_reproduced_by_its_models_and_layers(results):
    record = read_board(results).entries[0].result
    ad_hoc = record.model_copy(update={"suite": "nano-ad-hoc"})
    command = shlex.split(views.reproduce(ad_hoc))
    context = main.commands["evaluate"].make_context("evaluate", command[2:])
    assert context.params["suite"] == "nano"
    assert context.params["source"] == record.pair.source.model
    assert context.params["target_layer"] == record.pair.target.layer
    assert context.params["corpus"] == record.provenance.corpus


def test_serve_shows_the_site_on_loopback_until_interrupted(built):
    command = [*COMMAND, "leaderboard", "serve", "--out", str(built), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}index.html") as answer:
            assert answer.read() == (built / "index.html").read_bytes()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}../../etc/passwd")
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_serve_without_a_site_says_how_to_make_one(tmp_path):
    assert "leaderboard build" in error_of("leaderboard", "serve", "--out", tmp_path)


@pytest.mark.parametrize("parts", [2, 5, 500])
def test_a_board_is_the_same_however_its_files_are_read(results, tmp_path, monkeypatch, parts):
    """In groups of a large folder, and with the files of one pair in several folders."""
    whole = read_board(results)
    monkeypatch.setattr(entries, "GROUP", parts)
    scattered = tmp_path / "scattered"
    for number, path in enumerate(sorted(results.rglob("*.json"))):
        folder = scattered / f"part-{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{number}.json")
    for board in (read_board(results), read_board(scattered)):
        assert [pair.slug for pair in board.pairs] == [pair.slug for pair in whole.pairs]
        for one, other in zip(board.entries, whole.entries, strict=True):
            assert (one.key, one.rank, one.tied, one.scores) == (
                other.key,
                other.rank,
                other.tied,
                other.scores,
            )
            assert one.ci95 == pytest.approx(other.ci95)
