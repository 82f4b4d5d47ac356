"""`fit` and `transfer`: known answers, the figures of `evaluate`, maps kept and maps tampered with."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from command_line import error_of, run
from hub_desk import Desk
from hub_desk import desk as desk
from vector_desk import real_vector, texts_of

from lrt_bench import api
from lrt_bench.data.suites import find_suite
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.mappings import FixedLinear, name_of
from lrt_bench.models.loading import Models
from lrt_bench.models.sites import Site
from lrt_bench.results import metrics
from lrt_bench.vectors.fitted_map import load_map
from lrt_bench.vectors.map_card import read_card
from lrt_bench.vectors.vector import SteeringVector
from lrt_bench.vectors.vector_files import read_vector, write_vector

pytestmark = pytest.mark.slow  # whole runs

TASK, TOKENS = "person", 1600
SUITE = f"""
name: few
corpus: {{source: nano, fit_tokens: {TOKENS}, validation_tokens: {TOKENS // 8}, sample_tokens: {TOKENS}}}
shuffles: 1
fit_seeds: 1
bootstrap: 100
over_steering: []
tasks: [{TASK}]
mappings: [ridge, mlp]
pairs:
  - {{name: S-L, source: nano/S, source_layer: 3, target: nano/L, target_layer: 5}}
"""


@pytest.fixture(scope="module")
def concept(tmp_path_factory) -> tuple[Path, Path]:
    """A task's texts as two files."""
    folder = tmp_path_factory.mktemp("concept")
    paths = folder / "person.txt", folder / "other.txt"
    for path, texts in zip(paths, texts_of(find_task(TASK)), strict=True):
        path.write_text("\n".join(texts) + "\n\n")
    return paths


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The rows of `evaluate` on the pair: {mapping: result}."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "few.yaml").write_text(SUITE)
    cells = Evaluation(find_suite(str(folder / "few.yaml")), RunConfig(out=folder / "out")).run()
    return {cell.result.mapping.name: cell.result for cell in cells}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A fitted map of the pair, by the command."""
    path = tmp_path_factory.mktemp("map") / "S-L"
    outcome = run("fit", "--source", "nano/S:3", "--target", "nano/L:5", "--tokens", TOKENS, "--save", path)
    assert outcome.exit_code == 0, outcome.output
    assert "R2 0." in outcome.stdout
    return path


def steering_r2(site: Site, vector: torch.Tensor, spread: float) -> float:
    """Steering R2 of a vector against the native one on the task, by full forwards of the module."""
    task, model = find_task(TASK), site.model
    native = real_native(site)
    alphas = [alpha for alpha in find_suite("nano").alphas if alpha]
    rows = []
    for choice in task.choices:
        ids = model.tokenizer(choice.prompt)["input_ids"]
        options = [model.tokenizer(choice.prompt + o)["input_ids"][len(ids)]
                   for o in (choice.positive, choice.negative)]  # fmt: skip
        states = model.states(torch.tensor([ids]), [site.layer])[site.layer]
        steps = [torch.zeros(site.width)]
        steps += [a * spread * v / v.norm() for v in (vector, native) for a in alphas]
        steered = states + torch.stack(steps)[:, None]
        logits = model.head.all(model.finish(model.resume(steered, site.layer))[:, -1])
        m = logits[:, options[0]] - logits[:, options[1]]
        rows.append((m[1:] - m[0]).view(2, len(alphas)))
    both = torch.stack(rows).double().numpy()
    return metrics.steering_r2(both[None, :, 0], both[:, 1])


def real_native(site: Site) -> torch.Tensor:
    positive, negative = texts_of(find_task(TASK))
    return api.concept_vector(site, positive, negative).at()


@pytest.mark.slow
@pytest.mark.parametrize("mapping", ["ridge", "mlp"])
def test_a_carried_vector_steers_as_the_table_says(nano, table, concept, tmp_path, mapping):
    out = tmp_path / "v.safetensors"
    outcome = run(
        "transfer", "--no-forecast", "--concept", *concept, "--source", "nano/S:3", "--target", "nano/L:5",
        "--mapping", mapping, "--tokens", TOKENS, "--out", out, "--json",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    record, vector, row = json.loads(outcome.stdout), read_vector(out), table[mapping]
    assert (vector.concept, vector.model.name, vector.layer()) == ("person", "nano/L", 5)
    spread = vector.spread[5]
    assert spread == pytest.approx(row.settings.spread, rel=1e-6)
    figures = row.tasks[0]
    assert steering_r2(Site(nano("L"), 5), vector.at(), spread) == pytest.approx(
        figures.steering_r2, abs=1e-3
    )
    assert figures.steering_r2 > 0.3, "nothing was carried over: the test says little"
    # the length: as many spreads as in the source, which the map itself would have made shorter
    lengths = {side: record[side]["norm"] / record[side]["spread"] for side in ("source", "target")}
    assert lengths["target"] == pytest.approx(lengths["source"], rel=1e-5)
    native = real_native(Site(nano("L"), 5)).norm()
    by_map = record["norm_ratio"] * lengths["source"] * spread
    assert by_map / native == pytest.approx(figures.norm_ratio, rel=1e-3)
    assert record["useful_coefficient"] * record["target"]["norm"] == pytest.approx(spread / 2)


def test_a_planted_pair_carries_a_vector_to_its_known_place(nano, tmp_path):
    """The target is the source in a wider basis Q: the vector must come out as Q v, spread and all."""
    vector = real_vector(nano("S"), 2)
    pair = api.Pair("nano/S:2", "planted-widening:nano/S:2")
    carried = api.transfer(vector, api.fit(pair, "affine", tokens=2000), scale="map")
    expected = pair.target_site.model.basis @ vector.at()
    torch.testing.assert_close(carried.at(), expected, atol=0.02, rtol=1e-3)
    before = float(vector.at().norm()) / carried.provenance["source"]["spread"]
    after = float(expected.norm()) / carried.spread[2]
    assert carried.provenance["norm_ratio"] == pytest.approx(after / before, rel=1e-3)


def test_a_kept_map_is_the_fit_itself(folder, concept, tmp_path):
    card = json.loads((folder / "map.json").read_text())
    assert (card["source"]["layer"], card["target"]["model"], card["mapping"]) == (3, "nano/L", "ridge")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "map.json", "map.safetensors"]
    assert isinstance(FixedLinear.load(folder / "map.safetensors"), FixedLinear)  # what `submit new` takes
    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert front["library_name"] == "lrt-bench"
    ways = {
        "kept": ("--map", folder),
        "fresh": ("--source", "nano/S:3", "--target", "nano/L:5", "--tokens", TOKENS),
    }
    bare = "--no-forecast", "--concept"
    for name, way in ways.items():
        assert run("transfer", *bare, *concept, *way, "--out", tmp_path / f"{name}.npy").exit_code == 0
    kept, fresh = (read_vector(tmp_path / f"{name}.npy", layer=5).at() for name in ways)
    torch.testing.assert_close(kept, fresh, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["autoencoder", "affine-waves", "relative", "blend"])
def test_a_map_that_is_not_linear_is_kept_whole_and_wants_contrast_states(nano, tmp_path, name):
    pair = api.Pair("nano/S:3", "nano/S2:2")
    fitted = api.fit(pair, name, tokens=400)
    fitted.save(tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    vector = real_vector(nano("S"), 3)
    before, after = api.transfer(vector, fitted).at(), api.transfer(vector, loaded).at()
    torch.testing.assert_close(before, after)
    bare = SteeringVector(vector.layers)
    with pytest.raises(Exception, match="is not linear: it carries states, not vectors"):
        api.transfer(bare, loaded)
    write_vector(tmp_path / "v.npy", bare)
    assert f"{name}: not linear" in error_of(
        "transfer", "--vector", tmp_path / "v.npy", "--source", "nano/S:3", "--target", "nano/S2",
        "--mapping", name,
    )  # fmt: skip


def test_the_papers_rule_survives_the_folder(nano, tmp_path):
    fitted = api.fit(api.Pair("nano/S:3", "nano/S2:2"), "affine-paper", tokens=400)
    fitted.save(tmp_path / "map")
    vector = real_vector(nano("S"), 3)
    carried = api.transfer(vector, load_map(tmp_path / "map"), scale="map").at()
    expected = fitted.mapping.weight @ vector.at().double() + fitted.mapping.bias
    torch.testing.assert_close(carried.double(), expected, rtol=1e-4, atol=1e-2)
    card = tmp_path / "map" / "map.json"
    card.write_text(card.read_text().replace('"affine-with-bias"', '"affine-paper"'))
    former = load_map(tmp_path / "map")
    assert former.card.mapping == "affine-paper"
    torch.testing.assert_close(api.transfer(vector, former, scale="map").at(), carried)


def test_a_map_trained_as_the_paper_does_is_fitted_and_kept(nano, tmp_path):
    write_vector(tmp_path / "v.safetensors", real_vector(nano("S"), 3))
    options = "--source", "nano/S:3", "--target", "nano/S2:2", "--mapping", "affine-adamw", "--tokens", 400
    fitted = run("fit", *options, "--save", tmp_path / "map")
    assert fitted.exit_code == 0, fitted.output
    mapping = load_map(tmp_path / "map").mapping
    assert name_of(mapping) == "affine-adamw"
    kept = "--map", tmp_path / "map"
    for carry, out in ((options, "fitted"), (kept, "kept")):
        done = run("transfer", "--no-forecast", "--vector", tmp_path / "v.safetensors", *carry,
                   "--out", tmp_path / f"{out}.safetensors")  # fmt: skip
        assert done.exit_code == 0, done.output
    torch.testing.assert_close(
        *(read_vector(tmp_path / f"{out}.safetensors").at() for out in ("fitted", "kept"))
    )


def test_a_length_of_ones_own(folder, nano, tmp_path):
    write_vector(tmp_path / "v.safetensors", real_vector(nano("S"), 3))
    out = tmp_path / "half.pt"
    outcome = run("transfer", "--no-forecast", "--vector", tmp_path / "v.safetensors", "--map", folder,
                "--alpha", -0.5, "--out", out, "--format", "lm-eval")  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    hook = torch.load(out, weights_only=True)["layers.4"]
    spread = load_map(folder).card.target.spread
    assert float(hook["steering_vector"].norm()) == pytest.approx(spread / 2, rel=1e-5)


def test_names_from_files_are_neither_markup_nor_escape_codes(folder, concept):
    shown = run(
        "transfer", "--no-forecast", "--concept", *concept, "--map", folder, "--name", "[/x]\x1b[31m[bold]"
    )
    assert shown.exit_code == 0, shown.output
    assert "[/x]" in shown.output
    assert "[bold]" in shown.output
    assert "\x1b[31m" not in shown.output


# Bad input.

SITES = ("--source", "nano/S:3", "--target", "nano/L:5")


def bad(tmp_path: Path) -> list[tuple[tuple[object, ...], str]]:
    v, out = tmp_path / "v.safetensors", ("--out", tmp_path / "o.safetensors")
    carry = ("transfer", "--vector", v)
    return [
        (("transfer", *SITES), "give the vector as --vector FILE, or --concept"),
        (carry, "give --source MODEL:LAYER and --target"),
        ((*carry, *SITES, "--out", tmp_path / "o.pt"), "may be steering-vectors or lm-eval"),
        (("transfer", "--vector", tmp_path / "absent.npy", *SITES, *out), "absent.npy: no such file"),
        ((*carry, *SITES, *out), "the vector has no layer 3: it has 2"),
        ((*carry, "--source", "nano/L:2", "--target", "nano/S"), "96 wide, and nano/L is 192"),
        ((*carry, "--source", "nano/S:0", "--target", "nano/S2"), "nano/S:0: layer 0: give one"),
        ((*carry, "--source", "nano/S:2", "--target", "nano/S2:9"), "target: layer 9 is out of"),
        ((*carry, "--map", tmp_path), "no map there: map.json is missing"),
        ((*carry, "--map", "no-such"), "--map no-such: no such folder, and not a repository"),
        ((*carry, "--map", "a/b", "--mapping", "ridge"), "--map is fitted already"),
        (("transfer", "--concept", tmp_path / "empty.txt", v, *SITES), "empty.txt: no text there"),
        (("transfer", "--concept", v, v, *SITES), "is not UTF-8"),
        (("fit", *SITES), "nowhere to keep the map"),
        (("fit", *SITES, "--save", tmp_path), "holds something that is no map"),
        (("fit", *SITES, "--save", tmp_path / "m", "--mapping", "rigde"), "rigde: no such mapping"),
        (("fit", *SITES, "--push", "no name"), "not a repository on the Hub"),
        (("fit", *SITES, "--save", tmp_path / "m", "--model", "org/x=y"), "--model org/x: no model of these"),
    ]  # fmt: skip


def test_bad_input_is_one_line(nano, tmp_path):
    write_vector(tmp_path / "v.safetensors", real_vector(nano("S"), 2))
    (tmp_path / "empty.txt").write_text("\n\n")
    before = sorted(tmp_path.iterdir())
    for arguments, message in bad(tmp_path):
        assert message in error_of(*arguments), arguments
    assert sorted(tmp_path.iterdir()) == before


def _tamper(change):
    def tampered(path: Path) -> None:
        card = json.loads((path / "map.json").read_text())
        change(card, path)
        (path / "map.json").write_text(json.dumps(card))

    return tampered


def _sealed(card: dict, path: Path) -> None:
    """Let the card vouch for whatever lies there."""
    card["tensors"] = hashlib.sha256((path / "map.safetensors").read_bytes()).hexdigest()


def _narrow(card: dict, path: Path) -> None:
    card["source"]["width"] = 1 << 20


def _other(card: dict, path: Path) -> None:
    (path / "map.safetensors").write_bytes(b"\xff" * 64)
    _sealed(card, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card, path: card.update(tensors="0" * 64), "not the file that map.json tells of"),
        (lambda card, path: card.update(extra=1), "extra"),
        (lambda card, path: card["source"].update(spread=-1), "spread"),
        (lambda card, path: card["target"].update(width=1 << 30), "width"),
        (_narrow, "weight is"),
        (lambda card, path: card.update(mapping="mlp"), "want exactly"),
        (_other, "its header claims"),
        (lambda card, path: (path / "map.safetensors").unlink(), "map.safetensors is missing"),
    ],
)
def test_a_map_that_was_tampered_with_is_one_line(folder, tmp_path, change, message):
    shutil.copytree(folder, tmp_path / "map")
    _tamper(change)(tmp_path / "map")
    (tmp_path / "p.txt").write_text("a\n")
    assert message in error_of("transfer", "--concept", tmp_path / "p.txt", tmp_path / "p.txt", "--map",
                               tmp_path / "map")  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cosine", 7),
        ("cosine", float("nan")),
        ("r2", 1.5),
        ("r2_without_top8", 10**400),
        ("fit_tokens", 10**30),
        ("validation_tokens", -1),
        ("source_coverage", 1.01),
        ("parameters", 1e400),
        ("seed", "first"),
        ("created", "yesterday"),
        ("mapping", ""),
        ("corpus", "nano\x1b[31m"),
        ("tensors", "abc"),
        ("source.spread", 0),
        ("source.layer", 1 << 20),
        ("target.model", "a\nb"),
        ("target.width", "96.5"),
    ],
)
def test_a_card_out_of_bounds_names_its_field(folder, tmp_path, field, value):
    card = json.loads((folder / "map.json").read_text())
    *parents, name = field.split(".")
    (card[parents[0]] if parents else card)[name] = value
    with pytest.raises(UserError, match=rf"map\.json: field {field}") as caught:
        read_card(json.dumps(card).encode(), tmp_path / "map.json")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff\xfe{}", b"[" * 10**5, b'{"a": "\\ud800"}', b"9" * 10**4], ids=repr
)
def test_a_card_that_is_no_json_is_one_line(tmp_path, data):
    with pytest.raises(UserError, match=r"map\.json: ") as caught:
        read_card(data, tmp_path / "map.json")
    assert "\n" not in str(caught.value)


def test_a_cards_field_that_stands_twice_is_named(folder, tmp_path):
    card = (folder / "map.json").read_text()
    twice = card.replace('"seed":', '"seed": 3, "seed":', 1)
    with pytest.raises(UserError, match=r"map\.json: field 'seed' stands twice"):
        read_card(twice.encode(), tmp_path / "map.json")


def test_a_maps_digest_covers_its_card_and_its_tensors(folder, concept, tmp_path):
    """Each file of the folder changed: the map is refused, or is another map, and the vector says which."""
    before = load_map(folder)
    assert before.digest == load_map(folder).digest
    shutil.copytree(folder, tmp_path / "map")
    card = json.loads((folder / "map.json").read_text())
    (tmp_path / "map" / "map.json").write_text(json.dumps(card | {"seed": 5}))
    assert load_map(tmp_path / "map").digest != before.digest
    tensors = bytearray((folder / "map.safetensors").read_bytes())
    tensors[-1] ^= 1
    (tmp_path / "map" / "map.safetensors").write_bytes(tensors)
    with pytest.raises(UserError, match="not the file that map"):
        load_map(tmp_path / "map")
    out = tmp_path / "v.safetensors"
    run("transfer", "--no-forecast", "--concept", *concept, "--map", folder, "--out", out)
    assert read_vector(out).provenance["map"]["digest"] == before.digest


def test_a_map_of_ones_own_class_that_is_not_linear_cannot_be_kept(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from lrt_bench import Mapping\n"
        "class Mine(Mapping):\n"
        "    def fit(self, states): pass\n"
        "    def __call__(self, h): return h\n"
    )
    line = error_of("fit", *SITES, "--mapping", f"{tmp_path}/mine.py:Mine", "--save", tmp_path / "m")
    assert "only linear maps that carry v to A v can be saved" in line


# The Hub.


@pytest.mark.slow
def test_a_map_goes_to_the_hub_and_comes_back(desk: Desk, folder: Path, concept, tmp_path):
    place = "acme/s-to-l"
    desk.hub.put("model", "acme/damaged", {"map.json": b"{}", "map.safetensors": b"nothing"})
    desk.hub.put("model", "acme/other", {"weights.bin": b"theirs"})
    desk.hub.fail("POST", "/commit/", status=503)  # once: then the second try makes the one commit
    mine, texts = {"folder": str(folder)}, list(map(str, concept))
    steps = [
        {"push": place, "verify": True, **mine}, {"push": place, **mine}, {"find": place},
        {"find": "acme/damaged"}, {"find": "acme/other"}, {"find": "acme/absent"},
        {"push": "acme/other", **mine},
        {"cli": ["transfer", "--no-forecast", "--concept", *texts, "--map", place,
                 "--out", str(tmp_path / "v.npy")]},
    ]  # fmt: skip
    pushed, again, card, *refused, done = desk.run("maps", steps=steps, xet=True).value
    assert (pushed["kind"], pushed["url"]) == ("model", f"{desk.hub.endpoint}/{place}")
    assert again["commit"] is None
    assert desk.hub.commits("model", place) == 1
    assert card == json.loads((folder / "map.json").read_text())
    assert "map.json: " in refused[0]
    assert "no map there: map.safetensors is missing" in refused[1]
    assert "no such model" in refused[2]
    assert "holds something else (weights.bin)" in refused[3]
    assert done is None
    files = desk.hub.files("model", place)
    assert files["map.safetensors"] == (folder / "map.safetensors").read_bytes()
    assert f"--map {place}".encode() in files["README.md"]

    again = run(
        "transfer", "--no-forecast", "--concept", *concept, "--map", folder, "--out", tmp_path / "w.npy"
    )
    assert again.exit_code == 0
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "w.npy").read_bytes()


@pytest.mark.slow
def test_a_forecast_comes_with_the_vector(concept):
    way = "--concept", *concept, "--source", "nano/S:2", "--target", "planted-rotation:nano/S:2"
    outcome = run("transfer", *way, "--tokens", TOKENS, "--json")
    assert outcome.exit_code == 0, outcome.output
    forecast = json.loads(outcome.stdout)["forecast"]
    assert forecast["steering_r2"] > 0.9, "a rotation is linear"
    assert "person" in forecast["left_out"], "the concept's own measurement was looked at"
    outcome = run("transfer", *way, "--tokens", 400, "--mapping", "mlp", "--json")
    assert json.loads(outcome.stdout)["forecast"] is None
    assert "no forecast: mlp is not linear" in outcome.stderr


def test_models_are_loaded_once_each():
    models = Models()
    pair = api.Pair("nano/S:3", "nano/S:2", models)
    assert pair.source_site.model is pair.target_site.model
