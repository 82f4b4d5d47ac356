"""The findings page says what its data say, and its statistics are right."""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import click
import numpy as np
import pytest
import scipy.stats
from doc_commands import ROOT

from lrt_bench.mappings.names import BUILT_IN

pytestmark = pytest.mark.slow  # whole runs

FINDINGS = ROOT / "docs" / "findings"
RESULTS = ROOT / "leaderboard" / "results"


@pytest.fixture(scope="module", autouse=True)
def _scripts():
    sys.path.insert(0, str(FINDINGS))
    yield
    sys.path.remove(str(FINDINGS))


def test_the_page_and_its_figures_follow_from_the_data(tmp_path):
    import page

    page.write(FINDINGS / "data", tmp_path)
    written = (tmp_path / "findings.md").read_text()
    assert written == (ROOT / "docs" / "findings.md").read_text()
    figures = sorted(path.name for path in (tmp_path / "findings").glob("*.svg"))
    assert figures == sorted(path.name for path in FINDINGS.glob("*.svg"))
    assert sorted(re.findall(r"\(findings/(\w+\.svg)\)", written)) == figures
    alternatives = re.findall(r"!\[([^\]]*)\]", written)
    assert len(alternatives) == len(figures)
    for alternative in alternatives:
        assert len(alternative.split()) > 8


def test_a_claim_that_the_data_do_not_bear_out_ends_it(tmp_path):
    import page

    summary = json.loads((FINDINGS / "data" / "summary.json").read_text())
    summary["maps"]["random"]["early"]["high"] = 60.0
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(click.ClickException, match="no longer bear this out: maps transfer"):
        page.page(tmp_path)


def script(path):
    loader = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(loader)
    sys.modules[loader.name] = module
    sys.path.insert(0, str(path.parent))  # as python has it where the script is run
    try:
        loader.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def test_the_page_on_pretrained_pairs_follows_from_the_results():
    pretrained = script(ROOT / "docs" / "pretrained" / "pretrained_pairs.py")
    assert pretrained.page(RESULTS) == (ROOT / "docs" / "pretrained.md").read_text()


def test_the_page_on_maps_and_the_recommendation_follow_from_the_results():
    maps = script(ROOT / "docs" / "maps" / "maps_page.py")
    assert maps.page(RESULTS) == (ROOT / "docs" / "maps.md").read_text()
    readme = (ROOT / "README.md").read_text()
    assert maps.with_recommendation(readme, maps.recommendation(RESULTS)) == readme
    apart = ("concepts.", "target.", "unaligned.")  # tracks of their own
    ranked = {name for name, (module, _, _) in BUILT_IN.items() if not module.startswith(apart)}
    assert set(maps.SOURCES) == ranked
    assert set(maps.RUN_TARGET) == {
        name for name, entry in BUILT_IN.items() if entry[0].startswith("target.")
    }


def test_rank_correlation_is_scipys():
    import analysis

    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = rng.integers(0, 6, 30), rng.normal(size=30)
        assert analysis.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_an_interval_is_scipys():
    import analysis

    values = np.random.default_rng(0).normal(3, 2, 17)
    figure = analysis.estimate(values)
    expected = scipy.stats.t.interval(0.95, 16, values.mean(), scipy.stats.sem(values))
    assert (figure["low"], figure["high"]) == pytest.approx(expected)
    assert figure["value"] == pytest.approx(values.mean())


def test_a_mean_over_pairs_is_over_the_concepts_that_count_on_all():
    import analysis

    shares = {("one", "mlp"): {"a": 10.0, "b": 50.0}, ("two", "mlp"): {"a": 30.0, "c": 90.0}}
    shares |= {(pair, "affine"): dict.fromkeys(tasks, 5.0) for (pair, _), tasks in shares.items()}
    assert analysis.over_pairs(shares, "mlp", ("one", "two")) == {"a": 20.0}
    assert analysis.difference(shares, "mlp", "affine", ["one"])["value"] == pytest.approx(25)


def test_tables_keep_what_they_are_written_from(tmp_path):
    import page
    import run

    rows = [{"pair": "S-L", "fvu": 0.1234567, "rank": None, "control": True, "tokens": 40014}]
    run.write_table(tmp_path / "rows.csv", rows)
    assert page.read_table(tmp_path / "rows.csv") == [
        {"pair": "S-L", "fvu": 0.12346, "rank": None, "control": True, "tokens": 40014}
    ]


def test_the_page_on_probes_follows_from_its_table(tmp_path):
    objects = script(ROOT / "docs" / "objects" / "page.py")
    objects.main(["--out", str(tmp_path / "objects.md")], standalone_mode=False)
    assert (tmp_path / "objects.md").read_text() == (ROOT / "docs" / "objects.md").read_text()
