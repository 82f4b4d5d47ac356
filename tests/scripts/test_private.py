"""A private family follows from its secret and lies outside the repository; an unsound one is refused."""

from __future__ import annotations

import hashlib
import shutil
import stat
from dataclasses import replace

import pytest

from lrt_bench.data.suites import find_suite
from lrt_bench.errors import UserError
from lrt_bench.files.resources import PACKAGE
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.nano import lexicon
from lrt_bench.nano.family import FAMILY
from lrt_bench.nano.language import PUBLIC
from lrt_bench.unseen.family import MANIFEST, Pair, commitment, read_family
from scripts.nano.private import Plan, language_of, make_family, secret_of, write_corpus, write_tasks

pytestmark = pytest.mark.slow

SECRET = "0123456789 not to be guessed"
TINY = Plan(
    sizes=(replace(FAMILY["S"], width=32, layers=1, intermediate=32, tokens=6 * 4 * 128, batch=4),),
    pairs=(Pair(source="S", source_layer=1, target="S", target_layer=1),),
    tasks=("sentiment", "topic-dogs", "refusal"), documents=40, least=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private") / "one"
    return folder, make_family(TINY, folder, SECRET)


def test_all_of_it_follows_from_the_secret(family, tmp_path):
    folder, manifest = family
    again = make_family(TINY, tmp_path / "again", SECRET)
    assert again.members == manifest.members
    for name in ("corpus.jsonl", "tasks/topic-dogs/vector.jsonl", "tasks/refusal/score.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    write_tasks(TINY, SECRET + "!", tmp_path / "other" / "tasks")
    write_corpus(TINY, SECRET + "!", tmp_path / "other" / "corpus.jsonl")
    for name in ("corpus.jsonl", "tasks/topic-dogs/vector.jsonl", "tasks/refusal/score.jsonl"):
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_its_words_are_the_public_ones_in_other_places():
    words = language_of(SECRET).words
    nouns = {name: set(table["en"]["nouns"]) for name, table in words.TOPICS.items()}
    public = {name: set(table["en"]["nouns"]) for name, table in lexicon.TOPICS.items()}
    assert set().union(*nouns.values()) == set().union(*public.values())
    assert sum(nouns[name] == public[name] for name in nouns) < 2
    dealt, public = words.ADJECTIVES["en"], lexicon.ADJECTIVES["en"]
    assert sorted(dealt["positive"] + dealt["negative"]) == sorted(public["positive"] + public["negative"])
    assert lexicon.TOPICS["dogs"]["en"]["nouns"][0] == "dog/dogs"  # the public tables are as they were
    assert next(PUBLIC.documents(3)) != next(language_of(SECRET).documents(3))


def test_the_commitment_is_what_the_page_says(family):
    want = hashlib.sha256(b"lrt-bench private family\n" + SECRET.encode()).hexdigest()
    assert family[1].commitment == want == commitment(SECRET)


def test_the_secret_is_for_its_owner_alone_and_a_drawn_one_is_kept(family, tmp_path):
    assert stat.S_IMODE((family[0] / "secret.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE(family[0].stat().st_mode) == 0o700
    drawn = secret_of(tmp_path, None)
    assert len(drawn) > 40
    assert (tmp_path / "secret.txt").read_text().strip() == drawn == secret_of(tmp_path, None)


def test_it_is_read_as_a_suite_of_its_own(family):
    read = read_family(family[0])
    suite = read.suite(find_suite("nano"))
    assert [task.name for task in suite.read_tasks()] == ["sentiment", "topic-dogs", "refusal"]
    assert suite.alphas == find_suite("nano").alphas
    assert Site(load_model(suite.pairs[0].source), 1).width == 32
    assert str(family[0]) not in suite.name


def test_a_member_that_was_changed_is_refused(family, tmp_path):
    shutil.copytree(family[0], tmp_path / "copy")
    (tmp_path / "copy" / "S" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"not the model of private\.json"):
        read_family(tmp_path / "copy")


def test_members_that_cannot_be_steered_do_not_pass_the_gate(family, tmp_path):
    shutil.copytree(family[0], tmp_path / "copy")
    manifest = make_family(replace(TINY, least=0.9), tmp_path / "copy", SECRET)
    assert not manifest.gate  # 24 steps make no model
    with pytest.raises(UserError, match="not steerable enough"):
        read_family(tmp_path / "copy")


@pytest.mark.parametrize(
    ("folder", "secret", "why"),
    [
        (PACKAGE.parent / "private", SECRET, "inside the repository"),
        ("fresh", "short", "22 visible characters or more"),
        ("taken", SECRET, "of another secret"),
    ],
)
def test_what_would_be_no_secret_is_refused(tmp_path, folder, secret, why):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "secret.txt").write_text("another one, as long as that\n")
    with pytest.raises(UserError, match=why):
        make_family(TINY, tmp_path / folder, secret)
    assert not (PACKAGE.parent / "private").exists()


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"no {MANIFEST}"):
        read_family(tmp_path)
