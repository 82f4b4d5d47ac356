"""The decoder relation where the answer is known, against numpy's least squares, and as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import error_of, output_of

from lrt_bench.data.corpus import Corpus
from lrt_bench.errors import UserError
from lrt_bench.evaluation.decoder_relation.relation import greedy, match_by_activations, relate
from lrt_bench.models.autoencoders.sae import SparseAutoencoder
from lrt_bench.models.autoencoders.sae_files import load_sae
from lrt_bench.models.sites import Features
from scripts.nano.train_sae import export

N, D_S, D_T = 400, 24, 40


def gaussian(rows: int, columns: int, seed: int, unit: bool = False) -> torch.Tensor:
    w = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return w / w.norm(dim=1, keepdim=True) if unit else w


def test_an_exact_relation_has_no_error_and_its_nulls_are_far():
    w_s = gaussian(N, D_S, 0)
    relation = relate(("S", w_s), ("T", w_s @ gaussian(D_S, D_T, 1)))
    assert relation.error / relation.norm < 1e-6
    assert relation.share == pytest.approx(1)
    assert relation.beyond == pytest.approx(1)
    for null in (relation.permuted, relation.random):
        assert null.share_range[1] < 0.2
        assert null.p == pytest.approx(1 / 21)
    assert relation.related
    assert "explains 100.00% against" in relation.verdict


def test_unrelated_rows_are_explained_as_far_as_there_are_dimensions():
    relation = relate(("S", gaussian(N, D_S, 0, unit=True)), ("T", gaussian(N, D_T, 1, unit=True)))
    for null in (relation.permuted, relation.random):
        assert null.share_range[0] <= relation.share <= null.share_range[1]
        assert null.share == pytest.approx(D_S / N, rel=0.05)
    assert relation.unrelated_error == pytest.approx((N - D_S) ** 0.5, rel=1e-6)
    assert relation.error == pytest.approx(relation.unrelated_error, rel=0.01)
    assert not relation.related
    assert "no more related than permuted rows" in relation.verdict


def test_a_relation_lost_in_the_order_of_rows_is_no_relation():
    w_s = gaussian(N, D_S, 0)
    w_t = w_s @ gaussian(D_S, D_T, 1)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    relation = relate(("S", w_s), ("T", w_t[order]))
    assert not relation.related
    assert relate(("S", w_s[order]), ("T", w_t[order])).share == pytest.approx(1)


def test_a_mean_that_all_rows_share_is_no_relation():
    """Both decoders' rows point one way on average: a share far above rank / n, which permuting keeps."""
    w_s, w_t = gaussian(N, D_S, 0) + 2, gaussian(N, D_T, 1) + 2
    relation = relate(("S", w_s), ("T", w_t))
    assert relation.share > 0.7
    assert relation.permuted.share > 0.7
    assert relation.random.share < 0.2
    assert not relation.related


@pytest.mark.parametrize("deficient", [False, True])
def test_the_error_is_that_of_numpy(deficient):
    w_s, w_t = gaussian(60, 12, 3), gaussian(60, 7, 4)
    w_t[:, :3] += w_s[:, :3]
    if deficient:
        w_s[:, 5] = 2 * w_s[:, 4]
        w_s[:, 6] = 0
    solution, _, rank, _ = np.linalg.lstsq(w_s.double().numpy(), w_t.double().numpy(), rcond=None)
    error = np.linalg.norm(w_t.numpy() - w_s.double().numpy() @ solution)
    relation = relate(("S", w_s), ("T", w_t))
    assert relation.error == pytest.approx(error, rel=1e-9)
    assert relation.rank == rank == (10 if deficient else 12)
    assert relation.share == pytest.approx(1 - error**2 / np.linalg.norm(w_t.numpy()) ** 2, rel=1e-6)


def test_a_seed_gives_the_same_nulls():
    sides = ("S", gaussian(60, 12, 3)), ("T", gaussian(60, 7, 4))
    assert relate(*sides, seed=1) == relate(*sides, seed=1)
    assert relate(*sides, seed=1).permuted != relate(*sides, seed=2).permuted


@pytest.mark.parametrize(
    ("rows", "message"),
    [((50, 60), "S has 50 features, T has 60"), ((8, 8), "any target would be fitted exactly")],
)
def test_rows_that_cannot_be_related_are_one_line(rows, message):
    with pytest.raises(UserError, match=message):
        relate(("S", gaussian(rows[0], 12, 0)), ("T", gaussian(rows[1], 5, 1)))


def test_greedy_matching_is_that_of_a_loop():
    r = gaussian(15, 11, 5)
    taken, left = [], r.clone()
    while (value := float(left.max())) > 0:
        i, j = divmod(int(left.argmax()), 11)
        taken.append((i, j, value))
        left[i], left[:, j] = -1, -1
    matching = greedy(r)
    pairs = zip(
        matching.source.tolist(), matching.target.tolist(), matching.correlation.tolist(), strict=True
    )
    assert sorted(pairs) == sorted(taken)


def shuffled(sae: SparseAutoencoder, order: torch.Tensor) -> SparseAutoencoder:
    """The same autoencoder, its features in another order."""
    return SparseAutoencoder(
        "shuffled", sae.w_enc[:, order], sae.b_enc[order], sae.w_dec[order], sae.b_dec,
        top_k=sae.top_k, apply_b_dec_to_input=True,
    )  # fmt: skip


def test_matching_by_activations_finds_features_again(nano):
    sae = load_sae("nano/S:3")
    order = torch.randperm(sae.width, generator=torch.Generator().manual_seed(0))
    sides = [Features(nano("S"), 3, sae=side) for side in (sae, shuffled(sae, order))]
    matching = match_by_activations(sides[0], sides[1], Corpus("nano"), 5_000)
    assert len(matching.source) > 0.9 * sae.width
    right = order[matching.target] == matching.source
    assert right.double().mean() > 0.95
    assert matching.correlation[right].min() > 0.999


def invoke(*arguments: str) -> str:
    return output_of("decoder-relation", *arguments)


def test_the_command_writes_record_and_figure(tmp_path):
    out = tmp_path / "figures" / "relation"
    text = invoke("--source-sae", "nano/S:3", "--target-sae", "nano/L:5", "--out", str(out))
    assert "nano/S:3 -> nano/L:5" in text
    record = json.loads((out / "relation.json").read_text())
    forth, back = record["directions"]
    assert (forth["rank"], back["rank"]) == (96, 192)
    assert forth["features"] == 768
    assert record["saes"][0]["digest"] == load_sae("nano/S:3").digest
    assert forth["verdict"] in text
    assert (out / "relation.svg").read_text().count("permuted rows") >= 2
    printed = invoke("--source-sae", "nano/S:3", "--target-sae", "nano/L:5", "--json")
    assert json.loads(printed) == record


def test_the_command_matches_by_activations(tmp_path, nano):
    """A decoder in another order: no relation by index, the whole of it by activations."""
    sae = load_sae("nano/S:3")
    order = torch.randperm(sae.width, generator=torch.Generator().manual_seed(0))
    export(shuffled(sae, order), tmp_path / "other", torch.float32)
    sides = "--source-sae", "nano/S:3", "--target-sae", str(tmp_path / "other")
    assert not json.loads(invoke(*sides, "--json"))["directions"][0]["related"]
    words = "--match", "activations", "--target", "nano/S", "--target-layer", "3", "--tokens", "5000"
    record = json.loads(invoke(*sides, *words, "--json"))
    assert record["directions"][0]["share"] > 0.9
    assert record["directions"][0]["related"]


def test_mistakes_on_the_command_line_are_one_line(tmp_path: Path):
    export(load_sae("nano/S:3"), tmp_path, torch.float32)
    sides = "--source-sae", "nano/L:5", "--target-sae", str(tmp_path)
    for arguments, message in (
        ((*sides, "--match", "activations"), "give --target, --target-layer"),
        (
            (*sides, "--match", "activations", "--target", "nano/M", "--target-layer", "2"),
            "nano/M is 128 wide",
        ),
        (("--source-sae", "nano/S:1", "--target-sae", "nano/L:5"), "no such embedded sparse autoencoder"),
    ):
        assert message in error_of("decoder-relation", *arguments)
