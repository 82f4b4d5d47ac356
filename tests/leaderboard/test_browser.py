"""The leaderboard in a real browser: Chromium, the pages opened as files, all other hosts refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from boards import committed, ladder_board, pretrained_board, read, rescored, score_text, small_board, write
from command_line import output_of
from playwright.sync_api import expect

from lrt_bench.leaderboard.entries import read_board
from lrt_bench.results import metrics

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(__file__).parents[2] / "leaderboard" / "node_modules" / "axe-core" / "axe.min.js"
WANTED = os.environ.get("LRT_BENCH_BROWSER") == "required"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
NASTY = "<img src=x onerror=alert(1)>\"'</script><script>alert(1)</script>"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM and not WANTED, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def site(small_run, tmp_path_factory):
    """A built site of two pairs, one row with a hostile name."""
    folder = tmp_path_factory.mktemp("browser")
    results = small_board(small_run, folder / "results")
    record = rescored(read(results / "small" / "ladder" / "method-4.json"), 0.33)
    write(results, record, NASTY, mapping__notes=NASTY, mapping__link="https://example.org/code")
    output_of("leaderboard", "build", "--results", results, "--out", folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def front(small_run, tmp_path_factory):
    """A built site of pretrained, toy and planted pairs, from the committed results, and a ladder."""
    folder = tmp_path_factory.mktemp("front")
    results = ladder_board(small_run, pretrained_board(folder / "results"))
    for pair in ("S-L-early", "S-L", "planted-rotation"):
        for path in committed(pair):
            write(results, read(path))
    more = ("--repository", "https://git.example.org/org/bench")
    output_of("leaderboard", "build", "--results", results, "--out", folder / "site", *more)
    return folder / "site"


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, site):
    """visit("index.html", width=..., of=...) -> a page; at the end nothing may have gone wrong in any."""
    wrong: list[str] = []
    contexts = []

    def opened(path: str, width: int = 1440, of: Path = site, **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append("a script of a stranger ran"), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
        page.goto(f"{of.as_uri()}/{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def column(page, number: int, table: str = "table.results") -> list[str]:
    """What a column of the first table shows, top to bottom."""
    cells = page.locator(f"{table} >> nth=0").locator(f"tbody tr > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def eventually(what, seconds: float = 5.0) -> None:
    """A table sorts a moment after the click: wait until `what()` holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def scores(page) -> list[float]:
    return [float(re.match(r"[−\d.]+", text)[0].replace("−", "-")) for text in column(page, 4)]


def test_sorting_by_head_and_by_keyboard(visit):
    page = visit("index.html")
    page.get_by_role("columnheader", name="Transfer Score").click()
    eventually(lambda: scores(page) == sorted(scores(page), reverse=True))
    page.get_by_role("columnheader", name="Transfer Score").click()
    eventually(lambda: scores(page) == sorted(scores(page)))
    page.get_by_role("button", name=re.compile("^Rank:")).focus()
    page.keyboard.press("Enter")

    def ranks():
        return [int(text.rstrip("=")) for text in column(page, 2) if text[0].isdigit()]

    eventually(lambda: ranks() == sorted(ranks()))
    assert len(set(ranks())) > 5


def test_what_has_no_figure_comes_last_either_way(visit):
    page = visit("index.html")
    for way in (".asc", ".desc"):  # an error: the lowest is the best, and the first click puts it first
        page.get_by_role("columnheader", name="FVU").click()
        eventually(lambda way=way: f"sort=fvu{way}" in page.evaluate("location.href"))
        shown = column(page, 7)
        figures = [text for text in shown if text != "–"]
        assert 5 < len(figures) < len(shown)
        assert shown[: len(figures)] == figures
        assert figures == sorted(figures, key=float, reverse=way == ".desc")


def test_filters_and_search_are_in_the_address_and_come_back_from_it(visit, site):
    page = visit("index.html")
    everything = len(column(page, 1))
    page.select_option("select[name=pair]", "ladder")
    assert set(column(page, 1)) == {"ladder"}
    page.fill("input[name=q]", "method-3")
    assert column(page, 3) == ["method-3"]
    page.get_by_role("columnheader", name="Steering R²").click()
    eventually(lambda: "sort=" in page.evaluate("location.href"))
    address = page.evaluate("location.href")
    assert "pair=ladder" in address
    assert "sort=r2.desc" in address
    again = visit(f"index.html#{address.split('#')[1]}")
    assert column(again, 3) == ["method-3"]
    assert again.input_value("input[name=q]") == "method-3"
    again.get_by_role("button", name="Clear").click()
    expect(again.locator("table.results tbody tr")).to_have_count(everything)
    assert "#" not in again.url


def test_a_kind_leaves_its_controls_beside_it(visit):
    page = visit("index.html")
    page.select_option("select[name=kind]", "non-linear")
    names = column(page, 3)
    assert "mlp" in names
    assert "native" in names
    assert "ridge" not in names
    page.select_option("select[name=kind]", "control")
    assert "mlp" not in column(page, 3)


def test_from_the_index_to_a_mapping_with_its_curves(visit):
    page = visit("index.html")
    page.get_by_role("link", name="ridge", exact=True).last.click()
    page.wait_for_selector("figure[data-chart=curves] svg")
    assert page.locator("h1").inner_text() == "ridge"
    assert page.locator("figure[data-chart=curves] svg").count() >= 3
    assert (
        "lrt-bench evaluate --suite small --pair rotated --mapping ridge" in page.locator("main").inner_text()
    )


def test_two_mappings_are_compared_as_the_ranking_does(visit, site):
    page = visit("index.html")
    for name in ("method-1", "method-3"):
        page.get_by_label(f"compare {name}").check()
    page.get_by_role("link", name="Compare 2 mappings").click()
    row = page.locator("#comparison tbody tr").first
    row.wait_for()
    shown = row.locator("td").last.inner_text().replace("−", "-")
    value, low, high = (float(number) for number in re.findall(r"-?[\d.]+", shown))
    pair = next(pair for pair in read_board(site.parent / "results").pairs if pair.name == "ladder")
    one, other = pair.by_name["method-3"], pair.by_name["method-1"]
    want = (
        one.result.transfer_score - other.result.transfer_score,
        *metrics.interval(one.samples - other.samples),
    )
    np.testing.assert_allclose((value, low, high), want, atol=0.06)
    page.get_by_label("Add a mapping").fill("method-5")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#chosen li")).to_have_count(3)
    assert "m=method-5" in page.url


def test_the_theme_changes_and_is_kept(visit):
    page = visit("index.html", color_scheme="light")

    def background():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = background()
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = background()
    assert light != dark
    page.reload()
    assert background() == dark
    assert (
        visit("index.html", color_scheme="dark").evaluate("getComputedStyle(document.body).backgroundColor")
        == dark
    )


PAGES = [
    "index.html", "pairs.html", "pairs/small--ladder.html", "tasks.html", "tasks/sentiment.html",
    "scaling.html", "compare.html#suite=small&m=ridge&m=mlp", "about.html", "ledger.html",
    "mappings/ridge.html", "mappings/native.html",
]  # fmt: skip


WIDTHS = (1440, 1060, 1024, 960, 768, 721, 390, 320)
FRONT = ["index.html", "pairs.html", "scaling.html", "tokens.html", "pairs/nano--S-L.html", "about.html"]


@pytest.mark.parametrize("path", [*PAGES, *(f"front: {path}" for path in FRONT)])
def test_no_page_is_wider_than_its_window(visit, site, front, path):
    page = visit(path.removeprefix("front: "), of=front if path.startswith("front: ") else site)
    page.wait_for_load_state()
    page.wait_for_timeout(250)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)


IN_VIEW = """([selector, height]) => [...document.querySelectorAll(selector)].filter(node => {
  const box = node.getBoundingClientRect();
  return box.width && box.top >= 0 && box.bottom <= height && box.left >= 0 && box.right <= innerWidth;
}).map(node => node.innerText)"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_first_screen_says_which_map_is_first_and_by_how_much(visit, front, width, theme):
    page = visit("index.html", width=width, of=front, color_scheme=theme)
    answer, *_ = page.evaluate(IN_VIEW, [".answer", 844])
    assert answer.startswith("From Qwen2.5-Coder-0.5B to Qwen2.5-Coder-1.5B (pretrained models): mlp")
    assert f"{score_text('S-L-early', 'mlp')} of the 100" in answer
    shown = [float(text.replace("−", "-")) for text in page.evaluate(IN_VIEW, [".panel .value", 844])]
    assert len(shown) >= 7
    assert shown[0] > shown[2] > shown[5]
    lines, end = page.locator(".panel .bar").first.evaluate(
        "node => { const at = getComputedStyle(node).backgroundPosition;"
        " const fill = node.querySelector('b').getBoundingClientRect(), own = node.getBoundingClientRect();"
        " return [at, (fill.right - own.left) / own.width]; }"
    )
    assert lines.count("%") == 2  # the floor and the ceiling
    assert end == pytest.approx((shown[0] + 25) / 130, abs=0.01)


LUMINANCE = """(() => {
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const lit = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(text => linear(Number(text) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const of = selector => lit(getComputedStyle(document.querySelector(selector)).backgroundColor);
  const panel = of(".panel"), map = of(".panel tr.best .bar b"), floor = of(".panel tr.control .bar b");
  const whisker = of(".panel .bar i");
  return [[map, panel], [floor, panel], [whisker, panel], [whisker, map], [whisker, floor]]
    .map(([one, other]) => ratio(one, other));
})()"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_stand_out_from_what_is_behind_them(visit, front, theme):
    page = visit("index.html", of=front, color_scheme=theme)
    ratios = page.evaluate(LUMINANCE)
    assert min(ratios) >= 3, ratios


def test_filters_hide_a_suite_without_a_match_and_leave_the_summary_above_them(visit):
    page = visit("index.html")
    panels = page.locator(".panel").count()
    page.fill("input[name=q]", "no such mapping")
    expect(page.locator("section.board:visible")).to_have_count(0)
    assert page.locator("#found").inner_text().startswith("0 of")
    assert page.locator(".panel:visible").count() == panels
    below = "document.getElementById('filters').compareDocumentPosition(document.querySelector('.panel')) & 2"
    assert page.evaluate(below)


def test_a_pair_shows_its_propensity_curves_and_scaling_names_axes_and_pairs(visit, front):
    page = visit("pairs/small--ladder.html")
    page.locator("#curves").scroll_into_view_if_needed()
    page.wait_for_selector("figure[data-chart=curves] svg")
    assert page.locator("figure[data-chart=curves] [stroke='var(--native)']").count() >= 3
    page = visit("scaling.html", of=front)
    page.wait_for_selector("figure[data-chart=scaling] svg")
    drawn = page.locator("figure[data-chart=scaling] svg").first
    for words in ("target / source parameters", "Transfer Score", "S-L-early", "1.5b--0.5b"):
        assert words in drawn.text_content()
    assert "planted-rotation" not in page.locator("main").inner_text()  # its answer is known


def test_a_ladder_is_drawn_a_line_a_map_over_the_tokens_that_were_fitted_on(visit, front):
    page = visit("tokens.html", of=front)
    page.wait_for_selector("figure[data-chart=ladder] svg[role=img]")
    drawn = page.locator("figure[data-chart=ladder] svg[role=img]")
    for words in ("fit tokens (log)", "Transfer Score", "200", "1,000", "5,000"):
        assert words in drawn.text_content()
    assert drawn.locator("[aria-hidden], path[stroke-width='1.8'], g[stroke-width='1.8'] path").count() >= 4
    assert drawn.locator("[stroke-dasharray='4 3']").count() == 1  # shuffled, a control
    assert column(page, 2)[:3] == ["mlp", "ridge", "affine"]


@pytest.mark.skipif(not AXE.is_file() and not WANTED, reason="axe-core is not installed (make vendor)")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, *(f"front: {path}" for path in FRONT)])
def test_no_serious_finding_of_axe(visit, site, front, path, theme):
    where = front if path.startswith("front: ") else site
    page = visit(path.removeprefix("front: "), of=where, color_scheme=theme, bypass_csp=True)
    page.wait_for_timeout(250)
    page.add_script_tag(path=str(AXE))
    violations = page.evaluate("axe.run({preload: false}).then(result => result.violations)")
    serious = [
        (one["id"], [node["html"][:150] for node in one["nodes"][:3]])
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious, json.dumps(serious, indent=1)


def test_a_hostile_name_is_text_wherever_it_stands(visit, site):
    page = visit("index.html")
    assert page.locator("table.results bdi", has_text="<img src=x").count() == 1
    assert page.locator("main img").count() == 0
    page.get_by_label(f"compare {NASTY}").check()
    page.get_by_label("compare method-1", exact=True).check()
    page.get_by_role("link", name="Compare 2 mappings").click()
    page.locator("#comparison tbody tr").first.wait_for()
    assert page.locator("img").count() == 0
    page = visit("index.html")
    page.locator("table.results a", has_text="<img src=x").click()
    page.wait_for_selector("figure svg")
    assert page.locator("h1").inner_text() == NASTY
    assert page.locator("img").count() == 0
    assert (
        page.get_by_role("link", name="https://example.org/code").get_attribute("rel").startswith("nofollow")
    )


def test_the_tables_can_be_read_without_scripts(visit):
    page = visit("index.html", java_script_enabled=False)
    assert "method-3" in column(page, 3)
    assert not page.locator("#filters").is_visible()
    page = visit("pairs/small--ladder.html", java_script_enabled=False)
    assert "method-3" in [text.strip() for text in page.locator("table.results tbody th").all_inner_texts()]


def test_works_under_a_path_of_a_server(chromium, site):
    import functools
    import http.server
    import threading

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site.parent))
    handler.log_message = lambda *unused: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = chromium.new_page()
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/site/mappings/ridge.html")
    page.wait_for_selector("figure[data-chart=curves] svg")
    page.get_by_role("link", name="Leaderboard").first.click()
    assert "method-3" in column(page, 3)
    page.close()
    server.shutdown()
    server.server_close()
    assert not failed


def test_an_index_of_ten_thousand_rows_is_light_and_sorts(chromium, small_run, tmp_path):
    """Ten thousand rows: the data of a small board, repeated in the index's own form."""
    results = small_board(small_run, tmp_path / "results")
    output_of("leaderboard", "build", "--results", results, "--out", tmp_path / "site")
    path = tmp_path / "site" / "data" / "index.js"
    data = json.loads(path.read_text()[len('lrt.put("index",') : -len(");\n")])
    columns = data["tables"][0]["columns"]
    times = 10_000 // len(columns[0]) + 1
    rng = np.random.default_rng(0)
    for index in range(8, len(columns)):
        columns[index] = [
            round(float(value), 3) for value in rng.uniform(0, 100, times * len(columns[index]))
        ]
    for index in range(8):
        columns[index] = columns[index] * times
    data["lists"]["name"] += [f"method-number-{index}" for index in range(10_000)]
    columns[1] = rng.integers(0, len(data["lists"]["name"]), len(columns[0])).tolist()
    path.write_text(f'lrt.put("index",{json.dumps(data, separators=(",", ":"))});\n')
    page = chromium.new_page()
    loaded: list[int] = []
    page.on(
        "requestfinished", lambda request: loaded.append(Path(request.url[7:].split("#")[0]).stat().st_size)
    )
    page.goto(f"{(tmp_path / 'site').as_uri()}/index.html")
    assert sum(loaded) < 1_500_000
    assert page.locator("#found").inner_text().startswith("10")
    page.get_by_role("columnheader", name="Transfer Score").click()
    eventually(lambda: scores(page)[0] == pytest.approx(max(columns[8]), abs=0.05))
    shown = scores(page)
    assert len(shown) == 100  # a page of the table
    assert shown == sorted(shown, reverse=True)
    page.close()
