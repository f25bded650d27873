"""Check that no label outside the training part affects what is learned, except by rounding.

A training of TensorFlow on several threads need not give the same bits twice on every processor.
A leaking label would change far more: one flipped label in the training part moves a prediction
by more than `LEAK`.
"""
import dataclasses

import numpy as np
import pytest

from disaster_nbdev import baseline, calibration, encoder, ensemble
from disaster_nbdev.pretrained import installed
from disaster_nbdev.experiment import baseline_trainer, cross_validate, network_trainer
from disaster_nbdev.single_run import count_weights
from disaster_nbdev.split import grouped_folds, parts
from disaster_nbdev.run_config import RunConfig
from disaster_nbdev.training import fit, network, prepared_frames

ROUNDING, LEAK = 1e-5, 1e-4 # of a probability
SMALL = RunConfig(hidden_size=2, epochs=2, batch_size=256, patience=0, learning_rate=0.01,
                  buckets=True, schedule="linear", pooling="both")


@pytest.fixture(scope="module")
def frames(sample):
    """Return the three parts of the sample, with true and with flipped validation labels."""
    true = parts(sample)
    validation = true["validation"]
    return true, {**true, "validation": validation.assign(target=1 - validation["target"])}


def same(one, other) -> bool:
    """Return whether two arrays differ by no more than rounding."""
    return np.allclose(one, other, rtol=0, atol=ROUNDING)


def test_one_flipped_label_in_the_training_part_is_seen(frames):
    true = frames[0]
    target = true["train"]["target"]
    part = true["train"].assign(target=target.where(np.arange(len(target)) > 0, 1 - target))
    one, other = (network_trainer(SMALL)({**true, "train": given}, 42)["validation"]
                  for given in (true["train"], part))
    assert np.abs(one - other).max() > LEAK


@pytest.mark.parametrize("changes", [
    {}, {"cleaning": "aware", "use_keyword": True, "words_from": "all", "vocabulary_size": 0},
    {"embedding": "corpus"},
    {"teacher": "logistic-words", "augment": 2, "unlabeled": True},
    {"keyword_branch": True, "cell": "none"}, {"buckets": False, "schedule": "constant"}], ids=str)
def test_labels_of_the_validation_part_do_not_touch_a_network(frames, changes):
    true, flipped = (network_trainer(dataclasses.replace(SMALL, **changes))(given, 42)
                    for given in frames)
    assert all(same(true[part], flipped[part]) for part in ("validation", "test"))


def test_labels_of_the_validation_part_do_not_touch_a_network_on_an_encoder(frames):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    config = dataclasses.replace(SMALL, embedding="minilm", epochs=1)
    true, flipped = (network_trainer(config)(given, 42) for given in frames)
    assert all(same(true[part], flipped[part]) for part in ("validation", "test"))


@pytest.mark.parametrize("name", ["logistic-both", "bayes-words"])
def test_labels_of_the_validation_part_do_not_touch_a_baseline(frames, name):
    true, flipped = (baseline_trainer(name)(given, 42) for given in frames)
    assert all(same(true[part], flipped[part]) for part in ("validation", "test"))


def test_centering_and_platt_scaling_know_the_training_part_alone(frames, monkeypatch):
    """Other validation tweets and labels, read before or with the others, change no test tweet."""
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    settings = {**baseline.SETTINGS["svc-sentences"], "center__with_mean": True}
    monkeypatch.setitem(baseline.SETTINGS, "svc-sentences", settings)
    found, true = [], frames[0]
    texts = true["validation"]["text"]
    changed = frames[1]["validation"].assign(text=[f"{text} again" for text in texts])
    for validation in (true["validation"], changed, changed.head(7)):
        monkeypatch.setattr(baseline, "VECTORS", {})
        given = {**true, "validation": validation}
        found.append(baseline_trainer("svc-sentences")(given, 42)["test"])
    # the encoder rounds by the length of a batch, and the machine enlarges this a little
    for other in found[1:]: np.testing.assert_allclose(other, found[0], atol=1e-3)
    fitted = baseline.fit("svc-sentences", true["train"]["text"], true["train"]["target"])
    train = baseline.sentence_features(list(true["train"]["text"]), "minilm")
    np.testing.assert_allclose(fitted["center"].mean_, train.mean(axis=0), atol=1e-5)
    assert (count_weights(fitted) - 1) % (train.shape[1] + 1) == 0


def test_what_an_encoder_says_of_a_tweet_does_not_depend_on_the_tweets_read_with_it(sample):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    texts = encoder.tidy(sample.train["text"].head(40))
    alone = np.concatenate([encoder.layer_means("minilm", [text]) for text in texts[:5]])
    np.testing.assert_allclose(encoder.layer_means("minilm", texts)[:5], alone, atol=1e-5)


def test_early_stopping_chooses_an_epoch_and_nothing_else(frames):
    """The validation loss decides when to stop; what was learned until then is the same."""
    config = dataclasses.replace(SMALL, patience=1, epochs=3)
    losses = []
    for given in frames:
        prepared = prepared_frames(config, given)
        losses.append(fit(network(config, prepared), prepared, config)["loss"].to_numpy())
    both = min(map(len, losses))
    assert same(losses[0][:both], losses[1][:both])


def test_what_is_prepared_knows_no_label(sample):
    labels = np.random.default_rng(0).permutation(sample.train["target"].to_numpy())
    config = RunConfig(cleaning="aware", words_from="all", vocabulary_size=0, embedding="corpus",
                       split="keyword")
    true = parts(sample, "keyword")
    train = true["train"].assign(target=labels[:len(true["train"])])
    one, other = (prepared_frames(config, given) for given in (true, {**true, "train": train}))
    assert one.vocabulary == other.vocabulary and same(one.matrix, other.matrix)
    assert all(np.array_equal(one.inputs[part]["words"], other.inputs[part]["words"])
               for part in one.inputs)


def test_a_fold_is_predicted_without_its_own_labels(sample):
    whole = cross_validate(baseline_trainer("logistic-words"), sample, folds=3)
    held = whole.fold == 1
    target = sample.train["target"]
    flipped = dataclasses.replace(
        sample, train=sample.train.assign(target=target.where(~held, 1 - target)))
    fold = {"train": flipped.train[~held], "validation": flipped.train[held]}
    again = baseline_trainer("logistic-words")(fold, 43)["validation"]
    assert same(again, whole.out_of_fold[held])


def test_no_near_duplicate_is_on_both_sides_of_a_fold(sample):
    from disaster_nbdev.quality import near_duplicate_groups
    groups = near_duplicate_groups(sample.train["text"])
    for kept, held in grouped_folds(sample.train): assert not set(groups[kept]) & set(groups[held])


def test_stacking_predicts_a_tweet_without_its_label(sample, monkeypatch):
    rng, labels = np.random.default_rng(0), sample.train["target"].to_numpy()
    said = np.stack([labels + rng.normal(size=len(labels)), rng.normal(size=len(labels))], axis=1)
    folds = list(grouped_folds(sample.train, 5, 42))
    # the same folds, whatever the labels
    monkeypatch.setattr("disaster_nbdev.ensemble.grouped_folds", lambda *_: iter(folds))
    held = folds[2][1]
    target = np.where(np.isin(np.arange(len(labels)), held), 1 - labels, labels)
    flipped = dataclasses.replace(sample, train=sample.train.assign(target=target))
    one, other = (ensemble.stacked(said, said[:3], given, 42)[0] for given in (sample, flipped))
    assert same(one[held], other[held]) and not same(one, other)


def test_temperature_scaling_in_folds_does_not_see_the_label_it_is_evaluated_on(monkeypatch):
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 500), rng.uniform(0.01, 0.99, 500)
    part = calibration.stratified_folds(labels, 5, 42)
    # the same parts, whatever the labels
    monkeypatch.setattr(calibration, "stratified_folds", lambda *_: part)
    one, other = (calibration.cross_scaled(given, probabilities)
                  for given in (labels, np.where(part == 2, 1 - labels, labels)))
    assert same(one[part == 2], other[part == 2]) and not same(one, other)
