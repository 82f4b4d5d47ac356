"""`try`: texts as the model itself writes them under a hook, each token's shift, and the page."""

from __future__ import annotations

import html.parser
import itertools
import json

import pytest
import torch
from command_line import error_of, run
from vector_desk import real_vector

from lrt_bench.data.corpus import encode
from lrt_bench.errors import UserError
from lrt_bench.models.sites import Site
from lrt_bench.nano import grammar
from lrt_bench.vectors.try_page import colour, render_page
from lrt_bench.vectors.tryout import Writing, token_shifts, try_vector
from lrt_bench.vectors.vector import SteeringVector
from lrt_bench.vectors.vector_files import write_vector

PROMPT = "She saw the dog. It was a"


@pytest.fixture(scope="module")
def vector(nano):
    read = real_vector(nano("S"), 2)
    return SteeringVector(read.layers, read.model, "person", {2: 230.0})


@pytest.fixture(scope="module")
def file(vector, tmp_path_factory):
    path = tmp_path_factory.mktemp("vector") / "v.safetensors"
    write_vector(path, vector)
    return path


def hooked_logits(model, ids, offset):
    """Logits [t, vocabulary] of the module's own forward with a hook on its second block."""
    handle = model.blocks[1].register_forward_hook(lambda module, inputs, output: output + offset)
    with torch.inference_mode():
        logits = model.module(input_ids=torch.tensor([ids])).logits[0]
    handle.remove()
    return logits.log_softmax(-1)


def test_greedy_text_and_shifts_are_the_slow_loops(nano, vector):
    model = nano("S")
    shown = try_vector(Site(model, 2), vector, [0.5], [PROMPT], Writing(max_tokens=8))
    assert shown.alphas == (0.0, 0.5)
    offset = 0.5 * 230.0 * vector.at() / vector.at().norm()
    prompt = model.tokenizer(PROMPT)["input_ids"]
    ids: list[int] = []
    for _ in range(8):
        ids.append(int(hooked_logits(model, prompt + ids, offset)[-1].argmax()))
    ids = ids[: ids.index(model.tokenizer.eos_token_id)] if model.tokenizer.eos_token_id in ids else ids
    plain, steered = shown.attempts[0]
    assert steered.text == model.tokenizer.decode(ids)
    assert steered.text != plain.text
    after, before = (hooked_logits(model, prompt + ids, o) for o in (offset, torch.zeros(96)))
    expected = [
        float(after[len(prompt) + k - 1, t] - before[len(prompt) + k - 1, t]) for k, t in enumerate(ids)
    ]
    assert [piece.shift for piece in steered.pieces] == pytest.approx(expected, abs=1e-3)
    assert max(map(abs, expected)) > 0.1
    assert "".join(piece.text for piece in steered.pieces) == steered.text
    assert all(piece.shift == 0 for piece in plain.pieces)


def test_sampling_is_seeded_and_the_unit_is_ones_choice(nano, vector):
    site = Site(nano("S"), 2)

    def texts(**settings):
        return [
            a.text for a in try_vector(site, vector, [0.25], [PROMPT], Writing(8, **settings)).attempts[0]
        ]

    assert texts(temperature=1.0, seed=1) == texts(temperature=1.0, seed=1)
    assert texts(temperature=1.0, seed=1) != texts(temperature=1.0, seed=2)
    own = float(vector.at().norm())
    scaled = SteeringVector({2: vector.at() * 230.0 / own})
    assert (
        try_vector(site, scaled, [0.25], [PROMPT], Writing(8), unit="norm").attempts[0][1].text == texts()[1]
    )
    bare = SteeringVector(vector.layers)
    with pytest.raises(UserError, match="does not say its spread"):
        try_vector(site, bare, [0.25], [PROMPT])
    assert try_vector(site, bare, [0.25], [PROMPT], Writing(1), measure=lambda: 7.0).step == 7.0


def test_characters_of_several_tokens_stay_whole(nano):
    from lrt_bench.vectors.tryout import _pieces

    tokenizer = nano("S").tokenizer
    ids = tokenizer("a ✓ é 狗", add_special_tokens=False)["input_ids"]
    shifts = [1.0] * len(ids)
    pieces = _pieces(tokenizer, ids, shifts)
    assert "".join(piece.text for piece in pieces) == tokenizer.decode(ids)
    assert not any("\N{REPLACEMENT CHARACTER}" in piece.text for piece in pieces)
    assert sum(piece.shift for piece in pieces) == len(ids)
    assert len(pieces) < len(ids)


def test_no_text_has_no_shift(nano):
    assert token_shifts(Site(nano("S"), 2), [0, 5], [], torch.zeros(96)) == []


class Tags(html.parser.HTMLParser):
    """Every tag with its attributes, and the texts of the cells' spans."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_every_shift_and_runs_nothing(nano, vector):
    hostile = '<script>alert(1)</script> & "It was a'
    shown = try_vector(Site(nano("S"), 2), vector, [-0.5, 0.5], [PROMPT, hostile], Writing(6))
    text = render_page(shown)
    page = Tags(text)
    assert not page.open
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "://" not in text
    names = {tag for tag, _ in page.found}
    assert not names & {"script", "link", "img", "iframe"}
    titles = [attrs["title"] for tag, attrs in page.found if tag == "span" and "title" in attrs]
    pieces = [piece for row in shown.attempts for attempt in row for piece in attempt.pieces]
    assert titles == [f"{piece.shift:+.2f} nats" for piece in pieces]
    assert dict(page.found)["html"] == {"lang": "en"}
    scopes = [attrs.get("scope") for tag, attrs in page.found if tag == "th"]
    assert None not in scopes


@pytest.mark.parametrize("shift", [-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 9.0])
def test_black_text_is_readable_on_every_colour(shift):
    channels = [int(colour(shift)[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert (luminance + 0.05) / (0.0056 + 0.05) > 7  # against #111 (WCAG 2.1)


def test_the_command(file, tmp_path):
    (tmp_path / "prompts.txt").write_text(f"{PROMPT}\n\nThe ship\n")
    steered = ("try", "--model", "nano/S", "--vector", file)
    outcome = run(*steered, "--alpha", 0.5, "--alpha", -0.5, "--max-tokens", 5, "--prompts",
                tmp_path / "prompts.txt", "--html", tmp_path / "t.html")  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    for word in ("0 (unsteered)", "+0.5", "-0.5", "The ship"):
        assert word in outcome.stdout
    assert (tmp_path / "t.html").read_text().startswith("<!doctype html>")
    outcome = run(
        "try", "--model", "nano/S", "--vector", file, "--prompt", "[red]It", "--max-tokens", 3, "--json"
    )
    record = json.loads(outcome.stdout)
    assert record["prompts"] == ["[red]It"]
    assert [attempt["alpha"] for attempt in record["attempts"][0]] == [-0.5, 0.0, 0.5]


def test_where_the_file_does_not_say_it_the_spread_is_measured(nano, vector, tmp_path):
    """Within a tenth of the unit of alpha on other text of the same kind."""
    write_vector(tmp_path / "v.npy", vector)
    outcome = run("try", "--model", "nano/S", "--vector", tmp_path / "v.npy", "--layer", 2, "--alpha", 0.25,
                "--prompt", "It", "--max-tokens", 1, "--json")  # fmt: skip
    texts = itertools.islice(grammar.documents(seed=99), 60)
    ids = [row.ids[:128] for row in encode(nano("S").tokenizer, list(texts))]
    states = torch.cat([nano("S").states(torch.tensor([row]), [2])[2][0, 1:] for row in ids])
    variance = states.double().var(0).sort().values
    assert json.loads(outcome.stdout)["step"] == pytest.approx(float(variance[:-8].sum().sqrt()), rel=0.1)


def test_bad_input_is_one_line(file, tmp_path):
    words = ("try", "--vector", file, "--prompt", "x")
    assert "give at least one --prompt" in error_of("try", "--vector", file, "--model", "nano/S")
    assert "an alpha is no number" in error_of(*words, "--model", "nano/S", "--alpha", "nan")
    assert "no layer 3: it has 2" in error_of(*words, "--model", "nano/S", "--layer", 3)
    assert "96 wide, nano/L is 192" in error_of(*words, "--model", "nano/L")
    assert "nano/Q: no such member" in error_of(*words, "--model", "nano/Q")
    assert "a text of" in error_of(*words, "--model", "nano/S", "--max-tokens", 500)
    assert "a folder is there" in error_of(*words, "--model", "nano/S", "--html", tmp_path)
