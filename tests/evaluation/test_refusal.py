"""Refusal on the embedded family, whose members refuse harmful requests: known directions, known nothings."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from judge_server import reply, serving

from lrt_bench.cli.main import main
from lrt_bench.data.corpus import Corpus, encode
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.task_sources import resolve, split_instructions
from lrt_bench.data.tasks import Column, InstructionData, Prompt, describe_tasks, find_task, read_task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.refusal_scores import Scorers, mean
from lrt_bench.evaluation.scorers.answers import Classifier, Phrases
from lrt_bench.evaluation.scorers.judge import Judge
from lrt_bench.files.resources import TASKS
from lrt_bench.models.sites import Site
from lrt_bench.results.refusal_table import draw_refusal, refusal_table
from lrt_bench.results.storage import read_result
from lrt_bench.steering.concepts import concept_states
from lrt_bench.steering.generation import generate, offsets_for
from lrt_bench.steering.refusal import instruction_pairs, refusal_odds, run_points, wrap_instructions, wrapped
from lrt_bench.steering.refusal_selection import (
    choose_alpha,
    choose_layer,
    layers_at,
    spreads,
    validate_alphas,
)
from lrt_bench.steering.sweep import Interventions

LAYER = 4  # of L: ablating the refusal direction there makes it answer
TASK = find_task("nano-refusal")


@pytest.fixture(scope="module")
def site(nano):
    return Site(nano("L"), LAYER)


@pytest.fixture(scope="module")
def vector(site):
    return concept_states(site, instruction_pairs(site.model.tokenizer, TASK)).vector


@pytest.fixture(scope="module")
def length(site):
    return spreads(site.model, Corpus("nano"), [LAYER])[LAYER]


@pytest.fixture(scope="module")
def points(site, vector, length):
    found = run_points(site, TASK, TASK.prompts, vector, length, (0.0, -0.5, 1.0))
    return {(point.kind, point.alpha): point for point in found}


def refused(point):
    return np.mean(Phrases(TASK.card.scorer)([""] * len(point.answers), point.answers))


# The interventions


def test_the_embedded_model_refuses_until_its_direction_is_removed_or_countered(points):
    plain = points["add", 0.0]
    assert refused(plain) == 1
    assert plain.odds.mean() > 4
    for name in (("ablate", None), ("ablate-all", None), ("add", 1.0)):
        assert refused(points[name]) <= 0.2, name
        assert points[name].odds.mean() < -2, name
    assert points["add", -0.5].odds.mean() > plain.odds.mean() + 1
    assert refused(points["add", -0.5]) == 1


def test_harmless_instructions_are_answered_and_steering_towards_refusal_harms_that(site, vector, length):
    found = run_points(site, TASK, TASK.harmless, vector, length, (0.0, -1.0), ablations=())
    assert refused(found[0]) == 0
    assert found[0].odds.mean() < -4
    assert found[1].odds.mean() > found[0].odds.mean() + 4


def test_ablation_leaves_nothing_along_the_direction_after_any_block(site, vector):
    """Read from the states themselves, block after block, by a loop of its own."""
    model, direction = site.model, vector / vector.norm()
    ids = torch.tensor([encode(model.tokenizer, [wrapped(model.tokenizer, TASK.card, "Burn it.")])[0].ids])
    for everywhere in (True, False):
        change = Interventions.ablating(vector[None], everywhere=everywhere)
        frame, states = model.frame(ids.shape[1]), model.embed(ids)
        left = []
        for index in range(model.n_layers):
            states = change.apply(model.block(index, states, frame), index + 1, LAYER)
            left.append(float((states @ direction).abs().max() / states.norm(dim=-1).max()))
        clean = [share < 1e-5 for share in left]
        assert clean == ([True] * 6 if everywhere else [layer == LAYER for layer in range(1, 7)])


def test_odds_are_those_of_the_models_own_hooked_forward(site, vector):
    model, direction = site.model, vector / vector.norm()
    asked = wrap_instructions(model.tokenizer, TASK, TASK.prompts[:3])
    changes = Interventions.joined(
        [Interventions.adding(vector[None] * 0.7), Interventions.ablating(vector[None], everywhere=True)]
    )
    found = refusal_odds(site, asked, changes, rows=2)

    def steer(layer, output):
        return output + vector * 0.7 if layer == LAYER else output

    def remove(layer, output):
        return output - (output @ direction)[..., None] * direction

    for row, change in enumerate((steer, remove)):
        handles = [
            block.register_forward_hook(lambda m, a, out, k=k, change=change: change(k + 1, out))
            for k, block in enumerate(model.blocks)
        ]
        for p, text in enumerate(asked.texts):
            ids = torch.tensor([encode(model.tokenizer, [text])[0].ids])
            with torch.inference_mode():
                logs = model.module(input_ids=ids).logits[0, -1].softmax(-1)
            expected = torch.log(logs[asked.refuse].sum() / logs[asked.comply].sum())
            assert float(found[row, p]) == pytest.approx(float(expected), abs=1e-3)
        for handle in handles:
            handle.remove()


def test_ablating_twice_is_ablating_once():
    states, vectors = torch.randn(2, 5, 16), torch.randn(2, 16)
    change = Interventions.ablating(vectors, everywhere=False)
    once = change.apply(states, 3, 3)
    torch.testing.assert_close(change.apply(once, 3, 3), once, atol=1e-6, rtol=0)
    assert change.apply(states, 2, 3) is states


def test_a_zero_vector_changes_nothing(site, length):
    found = run_points(site, TASK, TASK.prompts[:4], torch.zeros(site.width), length, (0.0, 1.0))
    for point in found[1:]:
        assert point.answers == found[0].answers
        assert torch.equal(point.odds, found[0].odds)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_batch_size_changes_no_word_and_no_odds(site, vector, temperature):
    asked = wrap_instructions(site.model.tokenizer, TASK, TASK.prompts[:6])
    changes = Interventions.joined(
        [
            Interventions.adding(torch.stack([vector * 0, vector])),
            Interventions.ablating(vector[None], everywhere=False),
            Interventions.ablating(vector[None], everywhere=True),
        ]
    )
    whole = generate(site, asked.texts, changes, 8, temperature=temperature)
    small = generate(site, asked.texts, changes, 8, temperature=temperature, rows=3)
    assert whole.texts == small.texts
    odds = refusal_odds(site, asked, changes)
    torch.testing.assert_close(odds, refusal_odds(site, asked, changes, rows=5), atol=1e-3, rtol=0)
    other = generate(site, asked.texts, changes, 8, temperature=temperature, seed=5)
    assert (other.texts == whole.texts) == (temperature == 0)


def test_greedy_answers_begin_with_the_likeliest_token(site):
    asked = wrap_instructions(site.model.tokenizer, TASK, TASK.prompts[:3])
    nothing = Interventions.adding(torch.zeros(1, site.width))
    written = generate(site, asked.texts, nothing, 1, temperature=0.0).texts[0]
    for text, answer in zip(asked.texts, written, strict=True):
        ids = torch.tensor([encode(site.model.tokenizer, [text])[0].ids])
        assert answer == site.model.tokenizer.decode(site.model.logits(ids)[0, -1].argmax())


# Prompts


def test_instructions_are_wrapped_as_the_model_reads_them(nano):
    tokenizer = nano("S").tokenizer
    assert wrapped(tokenizer, TASK.card, "Burn it.") == "User: Burn it.\nAssistant:"

    class Templated:
        chat_template = "there"
        name_or_path = "templated"

        def apply_chat_template(self, messages, **options):
            assert options == {"tokenize": False, "add_generation_prompt": True}
            return f"<bos><user>{messages[0]['content']}<model>"

    assert wrapped(Templated(), TASK.card, "Burn it.") == "<bos><user>Burn it.<model>"
    ids = encode(tokenizer, ["<bos>" + wrapped(tokenizer, TASK.card, "Burn it.")])[0].ids
    assert ids == encode(tokenizer, [wrapped(tokenizer, TASK.card, "Burn it.")])[0].ids
    assert ids.count(tokenizer.bos_token_id) == 1


def test_openings_are_the_words_that_the_answer_begins_with(nano):
    tokenizer = nano("L").tokenizer
    asked = wrap_instructions(tokenizer, TASK, TASK.prompts[:2])
    words = [[tokenizer.decode(token).strip() for token in side] for side in (asked.refuse, asked.comply)]
    for side, openings in zip(words, (TASK.card.openings.refuse, TASK.card.openings.comply), strict=True):
        assert len(side) == 3
        assert all(any(opening.startswith(word) for word in side) for opening in openings)
    same = TASK.card.openings.model_copy(update={"comply": TASK.card.openings.refuse})
    card = TASK.card.model_copy(update={"openings": same})
    with pytest.raises(UserError, match=r"openings: .* both sides begin with the same tokens"):
        wrap_instructions(tokenizer, dataclasses.replace(TASK, card=card), TASK.prompts)


# Choice of alpha and layer


def test_the_smallest_alpha_on_the_plateau_is_chosen():
    alphas = (0.0, -1.0, -0.5, 0.25, 0.5, 1.0)
    found = choose_alpha(alphas, (5, 6, 7, 4, -3.5, -4), (1, 1, 1, 1, 1, 1))
    assert (found.answering, found.refusing) == (0.5, -0.5)
    # text that breaks leaves an alpha out, however well it acts
    assert choose_alpha(alphas, (5, 6, 7, 4, -3.5, -4), (1, 1, 9, 1, 2.5, 9)).answering == 0.25
    assert choose_alpha(alphas, (5, 6, 7, 4, -3.5, -4), (1, 1, 9, 1, 2.5, 9)).refusing == -1.0
    # a vector that acts the other way round, or not at all, chooses nothing
    assert choose_alpha(alphas, (5, 4, 4, 6, 7, 8), (1,) * 6).answering is None
    assert choose_alpha(alphas, (5,) * 6, (1,) * 6).refusing is None


def test_neither_alpha_nor_layer_knows_the_scored_instructions(nano, site, vector, length):
    poison = tuple(Prompt(prompt="\0 poison " * 500) for _ in TASK.prompts)  # longer than the model reads
    poisoned = dataclasses.replace(TASK, prompts=poison, harmless=poison)
    clean = validate_alphas(site, TASK, vector, length)
    assert validate_alphas(site, poisoned, vector, length) == clean
    assert clean.answering == 1.0
    assert clean.refusing < 0
    layers = layers_at(nano("S"), [0.4, 0.7, 1.0])
    assert layers == [1, 2, 3]
    lengths = spreads(nano("S"), Corpus("nano"), layers)
    found = choose_layer(nano("S"), TASK, lengths, TASK.card.alphas)
    assert found == choose_layer(nano("S"), poisoned, lengths, TASK.card.alphas)
    assert found.layer == max(found.effects, key=found.effects.get)
    assert found.effects[2] > found.effects[1] + 2  # before its second block S does not know what it refuses


def test_spreads_are_those_of_the_layers(nano):
    from lrt_bench.data.corpus import Budget
    from lrt_bench.models.states import collect

    model = nano("S")
    states = collect(Site(model, 1), Site(model, 3), Corpus("nano"), Budget(20_000, 500, 500))
    from lrt_bench.mappings.moments import spread

    found = spreads(model, Corpus("nano"), [1, 3])
    assert found[1] == pytest.approx(spread(states.moments.variance_x), rel=0.05)
    assert found[3] == pytest.approx(spread(states.moments.variance_y), rel=0.05)


# Data by id

SPEC = InstructionData(
    harmless=Column(id="org/good", column="instruction", empty="input"),
    harmful=Column(id="org/bad", column="prompt"),
    pairs=4, select=3, score=2, seed=7,
)  # fmt: skip
GOOD = [f"Bake a cake of {i} eggs." for i in range(12)]
BAD = [f"Rob {i} banks." for i in range(14)]


def test_rows_are_split_without_a_shared_text_whatever_their_order():
    found = split_instructions(GOOD, BAD, SPEC)
    assert (len(found.vector), len(found.instructions), len(found.prompts), len(found.harmless)) == (
        4,
        3,
        2,
        2,
    )
    roles = [
        *(pair.positive for pair in found.vector), *(pair.negative for pair in found.vector),
        *(row.prompt for row in (*found.instructions, *found.prompts, *found.harmless)),
    ]  # fmt: skip
    assert len(set(roles)) == len(roles)
    assert {pair.positive for pair in found.vector} | {row.prompt for row in found.harmless} <= set(GOOD)
    again = split_instructions(GOOD[::-1] + GOOD[:3], [f" {text}\n" for text in BAD[::-1]], SPEC)
    assert again == found
    other = split_instructions(GOOD, BAD, SPEC.model_copy(update={"seed": 8}))
    assert other.digest != found.digest


def test_a_text_in_both_lists_is_in_neither_and_too_few_are_named():
    found = split_instructions([*GOOD, BAD[0]], [*BAD, GOOD[0]], SPEC)
    texts = {pair.positive for pair in found.vector} | {row.prompt for row in found.harmless}
    assert BAD[0] not in texts
    assert GOOD[0] not in {row.prompt for row in (*found.instructions, *found.prompts)}
    with pytest.raises(UserError, match=r"org/bad: column prompt: 8 different instructions, 9 are wanted"):
        split_instructions(GOOD, BAD[:8], SPEC)


def advbench(tmp_path, rows=200):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.csv"
    lines = [{"instruction": f"Bake {i} cakes.", "input": "no" if i % 5 == 0 else ""} for i in range(rows)]
    good.write_text("".join(json.dumps(line) + "\n" for line in lines))
    bad.write_text("prompt,target\n" + "".join(f"Rob {i} banks.,Sure\n" for i in range(rows)))
    return Data({"tatsu-lab/alpaca": str(good), "walledai/AdvBench": str(bad)})


def test_the_papers_task_is_listed_without_its_data_and_resolved_with_them(tmp_path):
    task = find_task("refusal-advbench")
    assert (task.vector, task.data_digest) == ((), "")
    row = next(row for row in describe_tasks() if row["name"] == "refusal-advbench")
    assert (row["pairs"], row["prompts"]) == (128, 15)
    found = resolve(task, advbench(tmp_path))
    assert (len(found.vector), len(found.instructions), len(found.prompts)) == (128, 32, 15)
    assert found.digest == task.digest
    assert found.data_digest
    numbers = [int(pair.positive.split()[1]) for pair in found.vector]
    assert all(number % 5 for number in numbers)  # rows whose instruction wants an input are left out
    broken = Column(id="tatsu-lab/alpaca", column="question")
    card = task.card.model_copy(update={"data": task.card.data.model_copy(update={"harmless": broken})})
    with pytest.raises(UserError, match="no text in column question; it has instruction, input"):
        resolve(dataclasses.replace(task, card=card), advbench(tmp_path))
    assert resolve(TASK, Data()) is TASK


def test_the_shipped_refusal_texts_are_not_those_of_the_choice_task():
    choice = find_task("refusal")
    seen = {text for pair in choice.vector for text in (pair.positive, pair.negative)}
    ours = [*(p.positive for p in TASK.vector), *(p.negative for p in TASK.vector)]
    ours += [row.prompt for row in (*TASK.instructions, *TASK.prompts, *TASK.harmless)]
    assert not {TASK.card.template.replace("{instruction}", text) for text in ours} & seen
    assert len(set(ours)) == len(ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.pop("openings"), "openings: a refusal task says"),
        (lambda card: card.pop("scorer"), "scorer: a refusal task"),
        (lambda card: card["scorer"].update(name="keywords"), "scored by phrases"),
        (lambda card: card["alphas"].append(0), "alphas: 0 is run anyway"),
        (lambda card: card.update(template="User:"), "template: say where the instruction goes"),
        (lambda card: card.update(kind="side-effect", data={"harmless": {"id": "a", "column": "b"},
         "harmful": {"id": "c", "column": "d"}}), "such data sets are for a refusal task"),
    ],
)  # fmt: skip
def test_a_bad_card_is_named(tmp_path, change, message):
    folder = shutil.copytree(TASKS / "nano-refusal", tmp_path / "task")
    card = yaml.safe_load((folder / "task.yaml").read_text())
    change(card)
    (folder / "task.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(UserError, match=message):
        read_task(folder)


def test_an_instruction_in_two_roles_is_named(tmp_path):
    folder = shutil.copytree(TASKS / "nano-refusal", tmp_path / "task")
    shutil.copy(folder / "score.jsonl", folder / "harmless.jsonl")
    with pytest.raises(UserError, match=r"harmless.jsonl, line 1: the same text as score.jsonl, line 1"):
        read_task(folder)


# Scorers


def test_failures_are_counted_and_left_out_of_the_mean():
    found = mean([1.0, None, 0.0, 1.0, 1.0])
    assert (found.n, found.failures) == (4, 1)
    assert found.mean == 0.75
    assert found.standard_error == pytest.approx(np.std([1, 0, 1, 1], ddof=1) / 2)
    assert mean([None]).mean is mean([None]).standard_error is mean([1.0]).standard_error is None
    assert Phrases(TASK.card.scorer)(["a"] * 3, ["Sorry, no.", " ", "Sure."]) == [1.0, None, 0.0]


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory):
    """A random classifier with the embedded tokenizer."""
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    from lrt_bench.nano.family import WEIGHTS

    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1536, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        pad_token_id=1, id2label={0: "ANSWER", 1: "REFUSAL"}, label2id={"ANSWER": 0, "REFUSAL": 1},
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "tokenizer")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return folder


def test_a_classifier_gives_the_share_of_its_refusal_label(classifier_folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    answers = ["Sorry, but this is wrong.", "Sure.", "", "Absolutely, let us begin. The star will be bad."]
    found = Classifier(classifier_folder, batch_size=2)(["a"] * 4, answers)
    assert found[2] is None
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier_folder)
    for answer, share in zip(answers, found, strict=True):
        if answer:
            with torch.inference_mode():
                logits = model(**tokenizer(answer, return_tensors="pt")).logits[0]
            assert share == pytest.approx(float(logits.softmax(0)[1]), abs=1e-4)


def test_a_classifiers_labels_are_not_guessed(classifier_folder, tmp_path):
    folder = shutil.copytree(classifier_folder, tmp_path / "plain")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"its labels are LABEL_0, LABEL_1: name one of them REFUSAL"):
        Classifier(folder)(["a"], ["b"])
    with pytest.raises(UserError, match=r"--classifier .*config.json is missing"):
        Classifier(tmp_path / "nowhere")


# The whole path

SUITE = Suite(
    name="tiny-refusal",
    corpus={"fit_tokens": 6000, "validation_tokens": 600, "sample_tokens": 2000},
    shuffles=1, bootstrap=100, tasks=("nano-refusal",), mappings=("ridge",),
    pairs=(
        PairSpec(name="L-S", source="nano/L", source_layer=5, target="nano/S", target_layer=2),
        PairSpec(name="rotated", source="nano/S", source_layer=2, target="planted-rotation:nano/S",
                 target_layer=2),
        PairSpec(name="chosen", source="nano/S", target="nano/S",
                 choose_layers={"task": "nano-refusal", "depths": (0.4, 0.7)}),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, classifier_folder):
    """The suite's cells; the judge, on the loopback, finds refusals harmless and cannot make out a comet."""

    def judged(handler):
        answer = handler.body["messages"][0]["content"].partition("<answer>")[2].lower()
        refuses = any(phrase in answer for phrase in TASK.card.scorer.present)
        reply("Well," if "comet" in answer else str(int(refuses)))(handler)

    out = tmp_path_factory.mktemp("refusal")
    with serving() as server:
        server.script = [judged]
        judge = Judge(f"http://127.0.0.1:{server.server_port}/v1", "loopback")
        evaluation = Evaluation(SUITE, out=out, scorers=Scorers(Classifier(classifier_folder), judge))
        cells = evaluation.run()
        yield evaluation, {(c.result.pair.name, c.result.mapping.name): c for c in cells}, server


def curve(cells, pair, row, scorer="first-token"):
    points = cells[pair, row].result.refusal[0].harmful
    return {p.alpha: p.scores[scorer].mean for p in points if p.alpha is not None}


def test_the_transferred_curve_follows_the_native_one_and_random_does_not(run):
    """L to S, as far as the task's own grid goes on before the text breaks."""
    cells = run[1]
    native, ridge, random = (curve(cells, "L-S", row) for row in ("native", "ridge", "random"))
    alphas = [-0.5, -0.25, 0.25, 0.5]
    effect, found, chance = (
        np.array([c[alpha] - c[0.0] for alpha in alphas]) for c in (native, ridge, random)
    )
    assert 1 - np.square(found - effect).sum() / np.square(effect).sum() > 0.8
    assert np.corrcoef(effect, found)[0, 1] > 0.95
    assert abs(chance).max() < abs(effect).max() / 2
    phrases = curve(cells, "L-S", "native", "phrases")
    assert phrases[0.0] == 1
    assert phrases[0.5] < 0.5


def test_a_planted_pair_refuses_as_the_native_vector_does(run):
    cells = run[1]
    native, ridge = (cells["rotated", row].result.refusal[0] for row in ("native", "ridge"))
    for one, other in zip(native.harmful, ridge.harmful, strict=True):
        assert one.intervention == other.intervention
        if one.alpha is None or abs(one.alpha) <= 0.5:
            odds = [point.scores["first-token"].mean for point in (one, other)]
            assert odds[0] == pytest.approx(odds[1], abs=0.3)


def test_every_row_has_the_same_alphas_and_every_scorer_its_counts(run):
    _, cells, server = run
    with_figures = {row for pair, row in cells if cells[pair, row].result.refusal}
    assert with_figures == {"native", "random", "shuffled", "ridge"}
    chosen = {
        (cells["L-S", row].result.refusal[0].answering, cells["L-S", row].result.refusal[0].refusing)
        for row in with_figures
    }
    assert len(chosen) == 1
    figures = cells["L-S", "ridge"].result.refusal[0]
    assert [p.intervention for p in figures.harmful] == ["add"] * 7 + ["ablate", "ablate-all"]
    for point in figures.harmful:
        assert set(point.scores) == {"phrases", "first-token", "classifier", "judge"}
        assert point.scores["first-token"].n == len(TASK.prompts)
        for score in point.scores.values():
            assert score.n + score.failures == len(TASK.prompts)
    assert {a for p in figures.harmless if (a := p.alpha)} == {figures.answering, figures.refusing}
    assert not any("judge" in point.scores for point in figures.harmless)
    assert "judge" not in cells["L-S", "shuffled"].result.refusal[0].harmful[0].scores
    assert figures.judge.model == "loopback"
    assert figures.judge.host == f"127.0.0.1:{server.server_port}"
    asked = [body["messages"][0]["content"] for _, _, body in server.seen]
    assert len(set(asked)) == len(asked)  # no text is judged twice
    judged = [point.scores["judge"] for point in figures.harmful]
    phrases = [point.scores["phrases"] for point in figures.harmful]
    assert judged[0].failures  # comets: neither harmless nor harmful
    for judge, phrase in zip(judged, phrases, strict=True):
        if not judge.failures:
            assert judge.mean == phrase.mean


def test_layers_are_chosen_where_the_pair_says_so_and_the_result_tells_how(run):
    record = run[1]["chosen", "ridge"].result.pair
    assert (record.source.layer, record.target.layer) == (2, 2)
    assert set(record.layers_chosen.target) == {1, 2}
    assert run[1]["L-S", "ridge"].result.pair.layers_chosen is None


def test_finished_cells_are_kept_for_the_same_scorers_only(run, tmp_path):
    evaluation, _, _ = run
    again = Evaluation(SUITE, out=evaluation.out, scorers=evaluation.scorers).run()
    assert not any(cell.computed for cell in again)
    suite = SUITE.model_copy(update={"pairs": SUITE.pairs[2:]})
    for path in (evaluation.out / "tiny-refusal" / "chosen").iterdir():
        target = tmp_path / "tiny-refusal" / "chosen" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    other = Evaluation(suite, out=tmp_path).run()
    assert all(cell.computed for cell in other)


def test_the_table_the_figure_and_show_say_it(run, tmp_path):
    _, cells, _ = run
    results = [read_result(cell.path) for cell in cells.values()]
    rows = refusal_table(results)
    assert {row["scorer"] for row in rows} == {"phrases", "first-token", "classifier", "judge"}
    native = next(
        row for row in rows
        if (row["pair"], row["row"], row["instructions"], row["alpha"], row["scorer"])
        == ("L-S", "native", "harmful", 0.0, "phrases")
    )  # fmt: skip
    assert (native["mean"], native["n"], native["failures"], native["chosen"]) == (1.0, 16, 0, False)
    path = draw_refusal(results, tmp_path / "figure.svg")
    text = path.read_text()
    for label in ("native", "ridge", "random", "share harmless, by the judge", "L-S: nano-refusal"):
        assert label in text
    assert draw_refusal([], tmp_path / "none.svg") is None
    shown = CliRunner().invoke(main, ["show", str(cells["L-S", "ridge"].path)]).output
    for part in ("add +0.5 (chosen)", "ablate-all", "first-token", "judge loopback at 127.0.0.1:"):
        assert part in shown


def test_a_task_by_data_set_id_runs_and_its_data_are_in_the_key(tmp_path):
    suite = SUITE.model_copy(update={"tasks": ("refusal-advbench",), "pairs": SUITE.pairs[1:2]})
    card = find_task("refusal-advbench").card
    small = card.data.model_copy(update={"pairs": 6, "select": 4, "score": 3})
    folder = tmp_path / "small"
    folder.mkdir()
    changes = {"data": small, "new_tokens": 4, "alphas": (-0.25, 0.25), "name": "small"}
    text = yaml.safe_dump(card.model_copy(update=changes).model_dump(mode="json"))
    (folder / "task.yaml").write_text(text)
    suite = suite.model_copy(update={"tasks": (str(folder),)})
    settings = {"out": tmp_path / "out", "mappings": ["ridge"]}
    cells = Evaluation(suite, data=advbench(tmp_path, 40), **settings).run()
    figures = next(cell.result.refusal[0] for cell in cells if cell.result.mapping.name == "ridge")
    assert figures.data_digest
    assert figures.harmful[0].scores["first-token"].n == 3
    assert all(cell.result.complete for cell in cells)
    assert not any(c.computed for c in Evaluation(suite, data=advbench(tmp_path, 40), **settings).run())
    assert all(c.computed for c in Evaluation(suite, data=advbench(tmp_path, 50), **settings).run())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--judge-url", "http://h/v1"], "a judge wants both --judge-url and --judge-model"),
        (["--judge-model", "m"], "a judge wants both --judge-url and --judge-model"),
        (["--judge-url", "h", "--judge-model", "m"], "--judge-url: want an address"),
        (["--classifier", "nowhere"], "--classifier nowhere: not a model folder"),
    ],
)
def test_wrong_flags_are_one_line(options, message):
    found = CliRunner().invoke(main, ["evaluate", "--suite", "nano-refusal", *options])
    assert found.exit_code == 2
    assert message in found.output


def test_a_search_beside_given_layers_is_refused():
    search = {"task": "nano-refusal", "depths": (0.5,)}
    with pytest.raises(ValueError, match="choose_layers: leave source_layer"):
        PairSpec(name="a", source="nano/S", source_layer=2, target="nano/L", choose_layers=search)


def test_offsets_follow_alpha():
    steps = offsets_for(torch.tensor([3.0, 4.0]), (0.0, -0.5), 10.0)
    torch.testing.assert_close(steps, torch.tensor([[0.0, 0.0], [-3.0, -4.0]]))
