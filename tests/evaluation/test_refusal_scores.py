"""A row's refusal figures: scorers side by side, counted failures, the whole path on the embedded family."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from refusal import REFUSAL_SUITE, TASK, advbench

from lrt_bench.cli.terminal.answer import print_outcome
from lrt_bench.cli.terminal.drawing import ranked_pairs
from lrt_bench.cli.terminal.formats import write
from lrt_bench.cli.terminal.pairs import pair_listings
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.refusal_scores import mean
from lrt_bench.evaluation.scorers.answers import Classifier, Phrases

pytestmark = pytest.mark.slow  # whole runs


def test_failures_are_counted_and_left_out_of_the_mean():
    score = mean([1.0, None, 0.0, 1.0, 1.0])
    assert (score.n, score.failures) == (4, 1)
    assert score.mean == 0.75
    assert score.standard_error == pytest.approx(np.std([1, 0, 1, 1], ddof=1) / 2)
    assert mean([None]).mean is mean([None]).standard_error is mean([1.0]).standard_error is None
    assert Phrases(TASK.card.scorer)(["a"] * 3, ["Sorry, no.", " ", "Sure."]) == [1.0, None, 0.0]


def test_a_classifier_gives_the_share_of_its_refusal_label(classifier_folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    answers = ["Sorry, but this is wrong.", "Sure.", "", "Absolutely, let us begin. The star will be bad."]
    labels = Classifier(classifier_folder, batch_size=2)(["a"] * 4, answers)
    assert labels[2] is None
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier_folder)
    for answer, share in zip(answers, labels, strict=True):
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


def curve(cells, pair, row, scorer="first-token"):
    points = cells[pair, row].result.refusal[0].harmful
    return {p.alpha: p.scores[scorer].mean for p in points if p.alpha is not None}


def test_the_transferred_curve_follows_the_native_one_and_random_does_not(refusal_run):
    """L to S, as far as the task's own grid goes on before the text breaks."""
    cells = refusal_run[1]
    native, ridge, random = (curve(cells, "L-S", row) for row in ("native", "ridge", "random"))
    alphas = [-0.5, -0.25, 0.25, 0.5]
    effect, carried, chance = (
        np.array([c[alpha] - c[0.0] for alpha in alphas]) for c in (native, ridge, random)
    )
    assert 1 - np.square(carried - effect).sum() / np.square(effect).sum() > 0.8
    assert np.corrcoef(effect, carried)[0, 1] > 0.95
    assert abs(chance).max() < abs(effect).max() / 2
    phrases = curve(cells, "L-S", "native", "phrases")
    assert phrases[0.0] == 1
    assert phrases[0.5] < 0.5


def test_a_planted_pair_refuses_as_the_native_vector_does(refusal_run):
    cells = refusal_run[1]
    native, ridge = (cells["rotated", row].result.refusal[0] for row in ("native", "ridge"))
    for one, other in zip(native.harmful, ridge.harmful, strict=True):
        assert one.intervention == other.intervention
        if one.alpha is None or abs(one.alpha) <= 0.5:
            odds = [point.scores["first-token"].mean for point in (one, other)]
            assert odds[0] == pytest.approx(odds[1], abs=0.3)


def test_every_row_has_the_same_alphas_and_every_scorer_its_counts(refusal_run):
    _, cells, server = refusal_run
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
    contents = [body["messages"][0]["content"] for _, _, body in server.seen]
    assert len(set(contents)) == len(contents)  # no text is judged twice
    judged = [point.scores["judge"] for point in figures.harmful]
    phrases = [point.scores["phrases"] for point in figures.harmful]
    assert judged[0].failures  # comets: neither harmless nor harmful
    for judge, phrase in zip(judged, phrases, strict=True):
        if not judge.failures:
            assert judge.mean == phrase.mean


def test_the_terminal_shows_the_refusal_table_and_says_who_moved_refusals_furthest(refusal_run, capsys):
    """A pair of refusal tasks alone is no pair on which nothing is steerable."""
    cells = [cell for (pair, _), cell in refusal_run[1].items() if pair == "L-S"]
    print_outcome(cells, [], [])
    text = " ".join(capsys.readouterr().out.split())
    assert "not steerable" not in text
    assert "mapping unsteered answering refusing" in text
    assert "nano-refusal: furthest towards answering is ridge" in text
    assert "native" in text.partition("(controls: ")[2]
    for form, begins in (("csv", "suite,pair,task,row"), ("json", "["), ("latex", "%")):
        write(pair_listings(ranked_pairs(cells)[0]), form)
        assert capsys.readouterr().out.startswith(begins)


def test_layers_are_chosen_where_the_pair_says_so_and_the_result_tells_how(refusal_run):
    record = refusal_run[1]["chosen", "ridge"].result.pair
    assert (record.source.layer, record.target.layer) == (2, 2)
    assert set(record.layers_chosen.target) == {1, 2}
    assert refusal_run[1]["L-S", "ridge"].result.pair.layers_chosen is None


def test_finished_cells_are_kept_for_the_same_scorers_only(refusal_run, tmp_path):
    evaluation, _, _ = refusal_run
    again = Evaluation(REFUSAL_SUITE, RunConfig(out=evaluation.config.out), scorers=evaluation.scorers).run()
    assert not any(cell.computed for cell in again)
    suite = REFUSAL_SUITE.model_copy(update={"pairs": REFUSAL_SUITE.pairs[2:]})
    for path in (evaluation.config.out / "tiny-refusal" / "chosen").iterdir():
        target = tmp_path / "tiny-refusal" / "chosen" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    other = Evaluation(suite, RunConfig(out=tmp_path)).run()
    assert all(cell.computed for cell in other)


def test_a_task_by_data_set_id_runs_and_its_data_are_in_the_key(tmp_path):
    suite = REFUSAL_SUITE.model_copy(
        update={"tasks": ("refusal-advbench",), "pairs": REFUSAL_SUITE.pairs[1:2]}
    )
    card = find_task("refusal-advbench").card
    small = card.data.model_copy(update={"pairs": 6, "select": 4, "score": 3})
    folder = tmp_path / "small"
    folder.mkdir()
    changes = {"data": small, "new_tokens": 4, "alphas": (-0.25, 0.25), "name": "small"}
    text = yaml.safe_dump(card.model_copy(update=changes).model_dump(mode="json"))
    (folder / "task.yaml").write_text(text)
    suite = suite.model_copy(update={"tasks": (str(folder),)})
    config = RunConfig(out=tmp_path / "out", mappings=["ridge"])
    cells = Evaluation(suite, config, data=advbench(tmp_path, 40)).run()
    figures = next(cell.result.refusal[0] for cell in cells if cell.result.mapping.name == "ridge")
    assert figures.data_digest
    assert figures.harmful[0].scores["first-token"].n == 3
    assert all(cell.result.complete for cell in cells)
    assert not any(c.computed for c in Evaluation(suite, config, data=advbench(tmp_path, 40)).run())
    assert all(c.computed for c in Evaluation(suite, config, data=advbench(tmp_path, 50)).run())
