"""The findings page says what its data say, and its statistics are right."""

from __future__ import annotations

import json
import re
import sys

import click
import numpy as np
import pytest
import scipy.stats
from doc_commands import ROOT

from lrt_bench.results import metrics
from lrt_bench.results.storage import read_result

pytestmark = pytest.mark.slow  # whole runs

FINDINGS = ROOT / "docs" / "findings"


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
    summary["maps"]["random"]["all"]["high"] = 60.0
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(click.ClickException, match="no longer bear this out: vectors transfer"):
        page.page(tmp_path)


def test_rank_correlation_is_scipys():
    import analysis

    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = rng.integers(0, 6, 30), rng.normal(size=30)
        assert analysis.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_joint_samples_have_the_scores_in_their_middle(small_run):
    import analysis

    rows = {path.stem: read_result(path) for path in (small_run / "small" / "rotated").glob("*.json")}
    samples = analysis.joint_samples({"rotated": rows, "again": rows})
    for name, result in rows.items():
        drawn = samples["rotated"][name]
        assert result.transfer_score == pytest.approx(drawn.mean(), abs=max(2.0, 3 * drawn.std()))
        errors = {name: {task.task: task.errors for task in result.tasks if task.steerable}}
        low, high = metrics.interval(metrics.bootstrap_scores(errors)[name])
        assert np.percentile(drawn, 2.5) - 5 <= low <= high <= np.percentile(drawn, 97.5) + 5
    # one draw of tasks and prompts for all pairs: a row without fit seeds has the same samples twice
    assert np.array_equal(samples["rotated"]["affine"], samples["again"]["affine"])


def test_tables_keep_what_they_are_written_from(tmp_path):
    import collect
    import page

    rows = [{"pair": "S-L", "fvu": 0.1234567, "rank": None, "control": True, "tokens": 40014}]
    collect.write_table(tmp_path / "rows.csv", rows)
    assert page.read_table(tmp_path / "rows.csv") == [
        {"pair": "S-L", "fvu": 0.12346, "rank": None, "control": True, "tokens": 40014}
    ]
