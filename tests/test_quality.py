"""Check data quality and splits: figures on Kaggle's files, planted flaws, and any frame."""
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import ROOT, run
from disaster_nbdev import quality, split
from disaster_nbdev.core import UserError

# Kaggle's files


def test_repeats_as_the_study_found_them(kaggle):
    assert quality.repeats(kaggle.train, str)["repeats"] == 110
    found = quality.repeats(kaggle.train)
    conflicting = found["conflicting_groups"], found["conflicting_rows"]
    assert found["repeats"] == 778 and conflicting == (83, 306)


def test_test_tweets_with_a_duplicate_in_train(kaggle):
    known = quality.seen_in_train(kaggle.train, kaggle.test)
    assert known.shape == (3_263,) and known.sum() == 470 and round(known.mean(), 3) == 0.144


def test_no_kaggle_tweet_is_compared_as_it_is_for_lack_of_words(kaggle):
    "Kaggle's files have no tweets without words, so their comparison changes no figure."
    texts = [*kaggle.train.text, *kaggle.test.text]
    assert all(quality._DROPPED.sub(" ", text.lower()).split() for text in texts)
    assert max(map(ord, "".join(texts))) <= 0xff
    assert 9_550 < len({quality.normalized(text) for text in texts}) < 9_650


def test_noise_ceiling(kaggle):
    found = quality.noise_ceiling(kaggle.train)
    assert (found["groups"], found["tweets"]) == (346, 1_124)
    assert found["disagreement"] == pytest.approx(0.17015, abs=1e-5)
    assert (round(found["low"], 2), round(found["high"], 2)) == (0.14, 0.21)
    assert (round(found["accuracy_low"], 3), round(found["accuracy_high"], 3)) == (0.830, 0.906)


def test_noise_ceiling_by_drawing_duplicates(kaggle):
    "Drawing a random duplicate for each tweet gives the same disagreement."
    texts = pd.Series([quality.normalized(text) for text in kaggle.train.text])
    groups = [group for group in kaggle.train.target.groupby(texts.to_numpy()).agg(list)
              if len(group) > 1]
    rng, wrong, rounds = np.random.default_rng(1), 0, 40
    for labels in groups:
        for i, label in enumerate(labels):
            others = labels[:i] + labels[i + 1:]
            wrong += (rng.choice(others, rounds) != label).mean()
    assert wrong / sum(map(len, groups)) == pytest.approx(0.170, abs=0.005)


def test_marks(kaggle):
    found = quality.marks(kaggle).set_index("mark")
    counts = found[["train tweets", "test tweets"]].T.to_dict("list")
    assert counts["broken encoding"] == [612, 286] and counts["HTML entity"] == [359, 164]
    assert counts["%20 in the keyword"] == [1_165, 537]
    shares = found.loc["web address", ["label 1 with it", "label 1 without it"]]
    assert shares.astype(float).round(2).tolist() == [0.55, 0.30]


def test_keywords(kaggle):
    names = quality.keywords(kaggle.train)
    assert names[names != ""].nunique() == 221 and (names == "").sum() == 61
    shares = quality.label_shares(kaggle.train, names)
    assert shares.tweets.sum() == 7_613
    assert (shares.tweets * shares["label 1, share"]).sum() == pytest.approx(3_271)
    assert set(quality.keywords(kaggle.test)) <= set(names)


def test_splits_of_kaggles_tweets(kaggle):
    groups = pd.Series(quality.near_duplicate_groups(kaggle.train.text), index=kaggle.train.index)
    sizes = groups.value_counts()
    assert sizes.max() == 29 and 2_000 < sizes[sizes > 1].sum() < 2_150
    for rule, group in [(split.grouped_split, groups),
                        (split.keyword_split, quality.keywords(kaggle.train))]:
        part, validation = rule(kaggle.train)
        sides(kaggle.train, part, validation, group)
        assert len(validation) / 7_613 == pytest.approx(0.2, abs=0.002)
        assert validation.target.mean() == pytest.approx(kaggle.train.target.mean(), abs=0.003)
        again = rule(kaggle.train)
        assert part.equals(again[0]) and validation.equals(again[1])


@pytest.mark.parametrize("cosine, one, other", [
    (0.67, "governor allows parole for california school bus hijacker santa cruz sentinel",
     "governor allows parole for school bus hijacker"),
    (0.50, "i feel like a tornado", "i feel like death"),
    (0.37, "shadow boxing the apocalypse", "the apocalypse is upon us")])
def test_cosines_that_the_notebook_names(kaggle, cosine, one, other):
    texts = sorted({quality.normalized(text) for text in kaggle.train.text})
    described = quality._ngram_vectors(texts)[[texts.index(one), texts.index(other)]].toarray()
    assert round(float(described[0] @ described[1]), 2) == cosine


def test_report_of_kaggles_tweets(kaggle):
    value = quality.report(kaggle).set_index("what")["value"]
    assert value["training tweets that repeat an earlier one exactly"] == "110 (1.4%)"
    assert value["test tweets with a duplicate in train"] == "470 (14.4%)"
    assert value["duplicates with both labels"] == "83 texts, 306 tweets"
    assert value["best possible accuracy on tweets with duplicates"] == "83.0% to 90.6%"
    assert value["broken encoding: training, test tweets"] == "612, 286"


# The sample: data/README.md says what was planted


def test_planted_repeats(sample):
    raw, found = quality.repeats(sample.train, str), quality.repeats(sample.train)
    assert (raw["repeats"], raw["conflicting_groups"]) == (17 + 11, 11)
    assert found["repeats"] > raw["repeats"] and found["conflicting_groups"] >= 11
    same = sample.test[quality.seen_in_train(sample.train, sample.test)]
    assert len(same) == 31 and not same.text.isin(sample.train.text).all()


def test_planted_repeats_are_near_duplicates(sample):
    texts = pd.concat([sample.train, sample.test]).text.reset_index(drop=True)
    groups = pd.Series(quality.near_duplicate_groups(texts))
    assert (groups.groupby(texts).nunique() == 1).all()
    assert len(texts) - groups.nunique() >= 17 + 11 + 48


def test_sample_splits(sample):
    groups = pd.Series(quality.near_duplicate_groups(sample.train.text), index=sample.train.index)
    for rule, group in [(split.grouped_split, groups),
                        (split.keyword_split, quality.keywords(sample.train))]:
        part, validation = rule(sample.train)
        sides(sample.train, part, validation, group)
        assert len(validation) / len(sample.train) == pytest.approx(0.2, abs=0.05)


def test_sample_report(sample):
    found = quality.report(sample)
    assert list(found) == ["what", "value", "why it matters"]
    assert found.map(lambda text: isinstance(text, str) and text != "").all(axis=None)


# Any text, any frame


def sides(train: pd.DataFrame, part: pd.DataFrame, validation: pd.DataFrame,
          group: pd.Series) -> None:
    "Check that each row is on one side, unchanged, no group on both, and both labels on both."
    together = pd.concat([part, validation]).sort_index()
    assert together.equals(train.sort_index())
    assert not set(group[part.index]) & set(group[validation.index])
    assert part.target.nunique() == validation.target.nunique() == 2


@given(st.text(max_size=80))
@example("&#" + "9" * 5_000 + ";")
@example("\ud800 lone \udfff surrogates")
@example("İstanbul ﬁre \u202egnidliub\u202c \0")
def test_marks_make_no_other_tweet(text):
    "Links, mentions, retweet marks, ASCII case and white space do not count if words are left."
    same = quality.normalized(f"storm {text} surge")
    assert quality.normalized(f"RT @ana:  STORM\n{text} Surge !!! http://t.co/Ab1") == same
    assert same.startswith("storm") and same == " ".join(same.split())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=12), st.floats(0.05, 1), st.randoms())
@example(["", " ", "\0", "\ud800", "é", "🔥", "a"], 0.5, None)
@example(["fire in the hills"] * 12, 0.5, None)
def test_groups_of_any_texts(texts, threshold, random):
    "Duplicates share a group, numbers follow first appearance, and order does not matter."
    groups = quality.near_duplicate_groups(texts, threshold)
    keys = [quality.normalized(text) for text in texts]
    assert groups.dtype == "int64" and len(groups) == len(texts)
    assert list(dict.fromkeys(groups.tolist())) == list(range(len(set(groups.tolist()))))
    assert all(groups[keys.index(key)] == group for key, group in zip(keys, groups))
    order = list(range(len(texts)))
    if random: random.shuffle(order)
    moved = quality.near_duplicate_groups([texts[i] for i in order], threshold)
    assert len({*zip(groups[order].tolist(), moved.tolist())}) == len(set(groups.tolist()))


@pytest.mark.parametrize("block", [1, 100, 4_000_000])
def test_groups_do_not_depend_on_the_blocks(sample, monkeypatch, block):
    "A chain of near-duplicates is one group, however few rows are compared at a time."
    texts = [f"the bridge over the river at wells is closed by {'flooding ' * (i % 3)}mark {i // 3}"
             for i in range(30)]
    texts += sample.train.text[:100].tolist()
    whole = quality.near_duplicate_groups(texts, 0.3)
    monkeypatch.setattr(quality, "BLOCK_SIZE", block)
    assert quality.near_duplicate_groups(texts, 0.3).tolist() == whole.tolist()


def test_groups_are_the_components_of_all_cosines(sample):
    "Against scikit-learn's own cosines, without blocks, dropped columns or links between blocks."
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import TfidfVectorizer
    tweets = pd.concat([sample.train.text[:300], sample.test.text])
    texts = [quality.normalized(text) for text in tweets]
    distinct = sorted(set(texts))
    rows = TfidfVectorizer(analyzer="char", ngram_range=(5, 5), lowercase=False,
                           sublinear_tf=True).fit_transform(distinct)
    similar = (rows @ rows.T).toarray() >= 0.25
    number = dict(zip(distinct, connected_components(similar, directed=False)[1]))
    expected = pd.factorize(np.array([number[text] for text in texts]))[0]
    assert quality.near_duplicate_groups(texts, 0.25).tolist() == expected.tolist()
    assert 1 < len(set(expected)) < len(distinct)


frames = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6, 7]),
                            st.integers(0, 1)), min_size=1, max_size=60)


def frame(rows: list[tuple[int, int, int]]) -> pd.DataFrame:
    "Return training rows: equal numbers are duplicates, 0 is a text without words or no keyword."
    return pd.DataFrame({"id": range(len(rows)),
                         "keyword": [f"oil%20spill{k}" if k else None for _, k, _ in rows],
                         "location": None,
                         "text": [f"{chr(96 + n % 26) * 6} {n} http://t.co/{i}" if n else ""
                                  for i, (n, _, _) in enumerate(rows)],
                         "target": [label for *_, label in rows]},
                        index=np.arange(len(rows)) * 3 + 5) # with gaps


@settings(max_examples=60, deadline=None)
@given(frames)
@example([(i, i % 7, i % 2) for i in range(30)])
def test_splits_of_any_frame(rows):
    "A split keeps groups whole and both labels on both sides, or says in a sentence why it cannot."
    train = frame(rows)
    groups = pd.Series(quality.near_duplicate_groups(train.text), index=train.index)
    for rule, group in [(split.grouped_split, groups),
                        (split.keyword_split, quality.keywords(train))]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try: part, validation = rule(train)
            except UserError as error:
                assert str(error).endswith(".")
                continue
        sides(train, part, validation, group)
        assert part.equals(rule(train)[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(50, 200), st.integers(0, 1_000))
def test_size_and_share_where_groups_are_small(n, seed):
    "Where no group is large, the parts are a fifth and four fifths, with the share of the whole."
    rng = np.random.default_rng(seed)
    train = frame([(int(rng.integers(1, n)), 1, i % 2) for i in range(n)])
    train = train.assign(keyword=[f"k{i // 3}" for i in range(n)])
    for rule in (split.keyword_split, split.grouped_split):
        _, validation = rule(train)
        assert abs(len(validation) / n - 0.2) < 0.06 and abs(validation.target.mean() - 0.5) < 0.1


@settings(max_examples=50, deadline=None)
@given(frames)
def test_figures_of_any_frame(rows):
    "Counts fit together, and the bounds of the accuracy are in order."
    train = frame(rows)
    found = quality.repeats(train)
    assert found["repeats"] == found["rows"] - found["groups"]
    assert found["repeats"] == train.text.map(quality.normalized).duplicated().sum()
    assert 2 * found["conflicting_groups"] <= found["conflicting_rows"] <= found["rows"]
    ceiling = quality.noise_ceiling(train, resamples=20)
    assert (ceiling["disagreement"] is None) == (found["groups"] == 0)
    if found["groups"]:
        assert 0 <= ceiling["low"] <= ceiling["high"] <= 1
        assert 0.5 <= ceiling["accuracy_low"] <= ceiling["accuracy_high"] <= 1
        assert (ceiling["disagreement"] > 0) == (found["conflicting_groups"] > 0)


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(UserError, match="above 0 and at most 1"):
        quality.near_duplicate_groups(["fire"], threshold)


LOADED = """
import sys, disaster_nbdev.MODULE
prefixes = ("disaster_nbdev.", "sklearn", "matplotlib", "filelock", "tensorflow")
print(*sorted(name for name in sys.modules if name.startswith(prefixes)))
"""


@pytest.mark.parametrize("module, loaded", [
    ("core", ["core"]), ("csvfile", ["core", "csvfile"]), ("data", ["core", "csvfile", "data"]),
    ("quality", ["core", "csvfile", "data", "quality"]), ("process", ["process"]),
    ("provenance", ["core", "provenance"])])
def test_a_foundation_module_imports_little(module, loaded):
    "Importing one loads only the modules below it, and no heavy library."
    said = run(sys.executable, "-c", LOADED.replace("MODULE", module)).stdout
    assert said.split() == [f"disaster_nbdev.{name}" for name in loaded]


WINDOWS = """
import os, signal, sys
sys.modules["fcntl"] = None
del signal.SIGHUP, os.O_NOFOLLOW
from pathlib import Path
from disaster_nbdev import core, process, scoring
core.atomic_write(Path("a.txt"), "new")
with core.atomic_folder(Path("run")) as fresh: core.atomic_write(fresh/"b.txt", "new")
print(*sorted(str(path) for path in Path().rglob("*.txt")), len(process.ENDING))
"""


def test_the_package_can_be_imported_without_fcntl(tmp_path):
    "Windows has no `fcntl`, no SIGHUP and no O_NOFOLLOW."
    answer = run(sys.executable, "-c", WINDOWS, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert answer.stdout.split() == ["a.txt", str(Path("run")/"b.txt"), "2"], answer.stderr
