"""Test learning from a teacher's soft labels: what the teacher sees, and what the student gets."""
import dataclasses

import numpy as np
import pytest

from disaster_nbdev import baseline, distillation
from disaster_nbdev.core import UserError
from disaster_nbdev.model import accuracy
from disaster_nbdev.quality import near_duplicate_groups
from disaster_nbdev.run_config import RunConfig, validated
from disaster_nbdev.split import parts
from disaster_nbdev.training import batches, fit, network, prepare, targets

STUDENT = RunConfig(teacher="logistic-words", epochs=2, hidden_size=4, patience=0)


class Spy:
    """A teacher that remembers the tweets it was fitted on, and which of them it then labels."""

    fitted: list[set[str]] = []
    labeled: list[tuple[set[str], list[str]]] = []

    def __init__(self, seed: int): self.seen: set[str] = set()

    def fit(self, texts, labels):
        self.seen = set(texts)
        Spy.fitted.append(self.seen)
        return self

    def predict_proba(self, texts):
        Spy.labeled.append((self.seen, list(texts)))
        return np.full((len(texts), 2), 0.5)


@pytest.fixture
def spy(monkeypatch, tmp_path):
    """Register the spy as a baseline for one test, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(baseline.BASELINES, "spy", Spy)
    Spy.fitted, Spy.labeled = [], []
    return Spy


def test_a_teacher_has_seen_no_tweet_that_it_labels(sample, spy):
    frames = parts(sample, "study")
    distillation.soft_labels("spy", frames)
    train, test = set(frames["train"]["text"]), list(frames["test"]["text"])
    *folds, (whole, last) = spy.labeled
    assert len(folds) == distillation.FOLDS and whole == train and last == test
    group = dict(zip(frames["train"]["text"], near_duplicate_groups(frames["train"]["text"])))
    labeled = [text for _, texts in folds for text in texts]
    assert sorted(labeled) == sorted(frames["train"]["text"]), "each tweet is labeled once"
    for seen, texts in folds:
        assert not {group[text] for text in seen} & {group[text] for text in texts}


def test_copies_are_labeled_by_the_teacher_that_has_not_seen_their_tweet(sample, spy):
    frames = parts(sample, "study")
    copies = distillation.augmented(frames["train"], 2)
    soft = distillation.soft_labels("spy", {**frames, "copies": copies})
    assert len(copies) == len(soft["copies"]) == 2 * len(frames["train"])
    texts = list(frames["train"]["text"])
    of = {}
    for row, text in enumerate([*texts, *copies["text"]]):
        of.setdefault(text, set()).add(texts[row % len(texts)])
    labeled = 0
    for seen, given in spy.labeled[:-1]:
        labeled += len(given)
        assert all(of[text] - seen for text in given), "some tweet of this text was not seen"
    assert labeled == 3 * len(texts)


def test_copies_are_altered_and_the_same_in_every_split(sample):
    text = "Forest fire near La Ronge Sask. Canada, all residents asked to leave"
    copies = [distillation.altered(text, copy) for copy in range(6)]
    assert len(set(copies)) == 6 and all(0 < len(copy) < len(text) for copy in copies)
    assert copies[1] in text and copies[3] in text, "a fragment is a part of the tweet"
    table = distillation.augmented(sample.train, 2)
    part = distillation.augmented(sample.train.tail(5), 2)
    assert list(table["text"][-5:]) == list(part["text"][-5:])
    assert distillation.augmented(sample.train, 0).empty


def test_a_teacher_never_sees_a_validation_tweet(sample, spy):
    frames = parts(sample, "grouped")
    distillation.soft_labels("spy", frames)
    held = set(frames["validation"]["text"])
    assert not any(seen & held for seen in spy.fitted)
    assert not any(held & set(texts) for _, texts in spy.labeled)


def test_soft_labels_are_computed_once_for_all_seeds(sample, spy):
    frames = parts(sample, "study")
    first = distillation.soft_labels("spy", frames)
    fits = len(spy.fitted)
    second = distillation.soft_labels("spy", frames)
    assert len(spy.fitted) == fits
    assert set(first) == set(second) == {"train", "copies", "test"}
    for part, soft in first.items(): np.testing.assert_array_equal(soft, second[part])
    other = sample.train.assign(target=1 - sample.train["target"])
    distillation.soft_labels("spy", {**frames, "train": other.loc[frames["train"].index]})
    assert len(spy.fitted) > fits, "other labels are not answered from the cache"


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_targets_mix_true_and_soft_labels(sample, weight):
    config = validated(dataclasses.replace(STUDENT, teacher_weight=weight))
    prepared = prepare(config, sample)
    true, soft = prepared.labels("train"), prepared.soft["train"]
    np.testing.assert_allclose(targets(prepared, config), (1 - weight) * true + weight * soft,
                               atol=1e-6)


def test_unlabeled_tweets_are_learned_with_soft_labels_alone(sample):
    config = validated(dataclasses.replace(STUDENT, teacher_weight=0.0, unlabeled=True,
                                           buckets=False))
    prepared = prepare(config, sample)
    model = network(config, prepared)
    given = batches(model, prepared, config)
    n = len(prepared.frames["train"])
    assert len(given["y"]) == n + len(prepared.frames["test"])
    np.testing.assert_array_equal(given["y"][:n], prepared.labels("train"))
    np.testing.assert_array_equal(given["y"][n:], prepared.soft["test"])
    np.testing.assert_array_equal(given["x"]["words"][n:], prepared.inputs["test"]["words"])
    history = fit(model, prepared, config)
    assert history["accuracy"].between(0.2, 1).all(), "soft labels count as the nearer label"


def test_copies_are_learned_after_the_training_tweets(sample):
    config = validated(dataclasses.replace(STUDENT, augment=2, unlabeled=True, buckets=False))
    prepared = prepare(config, sample)
    given = batches(network(config, prepared), prepared, config)
    n, test = len(prepared.frames["train"]), len(prepared.frames["test"])
    assert len(given["y"]) == len(given["x"]["words"]) == 3 * n + test
    np.testing.assert_array_equal(given["y"][n:3 * n], prepared.soft["copies"])
    encoded = prepared.featurizer.inputs(distillation.augmented(prepared.frames["train"], 2))
    width = encoded["words"].shape[1]
    np.testing.assert_array_equal(given["x"]["words"][n:3 * n, :width], encoded["words"])
    assert set(prepared.inputs) == {"train", "validation", "test"}, "copies are never predicted"


def test_word_vectors_can_be_shortened(sample):
    config = validated(dataclasses.replace(STUDENT, teacher="", embed_dim=7))
    prepared = prepare(config, sample)
    assert prepared.matrix.shape[1] == 7 and not prepared.matrix[0].any()
    with pytest.raises(UserError, match="embed_dim must lie between 1 and 50"):
        prepare(dataclasses.replace(config, embed_dim=51), sample)


def test_without_a_teacher_nothing_changes(sample):
    config = dataclasses.replace(STUDENT, teacher="")
    prepared = prepare(config, sample)
    assert prepared.soft == {}
    np.testing.assert_array_equal(targets(prepared, config), prepared.labels("train"))


def test_accuracy_counts_sides_of_one_half():
    found = accuracy(np.array([0.9, 0.2, 1.0, 0.0]), np.array([[0.6], [0.6], [0.4], [0.5]]))
    np.testing.assert_array_equal(found, [True, False, False, True])


@pytest.mark.parametrize("changes, said", [
    ({"teacher": "professor"}, "Unknown teacher 'professor': choose one of"),
    ({"teacher": "", "unlabeled": True}, "settings of learning from a teacher"),
    ({"teacher": "", "augment": 1}, "settings of learning from a teacher"),
    ({"embedding": "minilm", "embed_dim": 5}, "embed_dim shortens word vectors"),
    ({"teacher": "", "teacher_weight": 0.5}, "settings of learning from a teacher"),
    ({"teacher_weight": 1.5}, "teacher_weight must lie between 0 and 1, not 1.5"),
])
def test_settings_that_do_not_fit_are_one_sentence(changes, said):
    with pytest.raises(UserError, match=said):
        validated(dataclasses.replace(STUDENT, **changes))
