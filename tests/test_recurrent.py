"""Fused recurrent layers and batches by length: the same training as Keras's, no row lost."""
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from conftest import slow
from disaster_nbdev import fused_rnn
from disaster_nbdev.core import project_root
from disaster_nbdev.data import load
from disaster_nbdev.model import STEPS_PER_EXECUTION, bucketed, build, predict
from disaster_nbdev.run_config import RunConfig
from disaster_nbdev.training import fit, load_model, network, prepare, save_model


@pytest.fixture(scope="module")
def sample():
    return load(project_root()/"data"/"sample")


def trained(sample, **settings):
    """Train a small network for an epoch on the sample, and predict the test tweets."""
    config = RunConfig(hidden_size=8, learning_rate=1e-3, epochs=1, patience=0, **settings)
    prepared = prepare(config, sample)
    model = network(config, prepared)
    history = fit(model, prepared, config)
    return model, prepared, history, predict(model, prepared.inputs["test"])


SETTINGS = [slow({"cell": "lstm"}), slow({"cell": "gru", "pooling": "both"}),
            {"cell": "gru", "input_dropout": 0.2, "recurrent_dropout": 0.2},
            {"cell": "lstm", "recurrent_dropout": 0.2, "finetune": True}]


@pytest.mark.parametrize("settings", SETTINGS,
                         ids=lambda settings: "-".join(map(str, settings.values())))
def test_an_epoch_ends_where_keras_own_loop_ends(sample, settings, monkeypatch):
    (*_, slow, unfused), ran = trained(sample, fused=False, **settings), []

    def spy(name: str) -> None:
        states = getattr(fused_rnn, name)
        monkeypatch.setattr(fused_rnn, name,
                            lambda *arguments: ran.append(name) or states(*arguments))
    for name in ("lstm_states", "gru_states"): spy(name)
    *_, quick, fused = trained(sample, **settings)
    if not tf.config.list_physical_devices("GPU"):
        assert set(ran) == {f"{settings['cell']}_states"}, "the compiled loop of this cell only"
    np.testing.assert_allclose(fused, unfused, atol=2e-4)
    np.testing.assert_allclose(quick.loss, slow.loss, atol=1e-4)
    assert np.ptp(fused) > 1e-3  # predictions differ between tweets, so agreement means something


SHARING = {"frozen": ({"cell": "gru"}, True),
           "recurrent dropout": ({"cell": "lstm", "recurrent_dropout": 0.2}, True),
           "trained": ({"cell": "gru", "finetune": True}, False)}


@pytest.mark.parametrize("settings, shared", SHARING.values(), ids=SHARING)
def test_frozen_embeddings_carry_their_distinct_words(sample, settings, shared, monkeypatch):
    seen, projected = [], fused_rnn._projected

    def spy(sequences, *others):
        seen.append(hasattr(sequences, "distinct"))
        return projected(sequences, *others)
    monkeypatch.setattr(fused_rnn, "_projected", spy)
    trained(sample, **settings)
    if not tf.config.list_physical_devices("GPU"):
        assert set(seen) == {shared}, "without it training is slower, and nothing else would fail"


def test_only_fused_networks_on_words_take_several_steps_per_execution():
    matrix = np.ones((9, 3), "float32")
    assert build(RunConfig(), matrix).steps_per_execution == STEPS_PER_EXECUTION > 1
    assert (build(RunConfig(fused=False), matrix).steps_per_execution
            == build(RunConfig(pooling="mean"), 3).steps_per_execution == 1)


def test_a_saved_fused_network_is_loaded_and_continued_with_either_loop(sample, tmp_path):
    model, prepared, _, probability = trained(sample, cell="lstm")
    again, reader = load_model(save_model(tmp_path/"run", model, prepared.featurizer))
    np.testing.assert_allclose(predict(again, reader.inputs(sample.test)), probability, rtol=0,
                               atol=1e-6)
    plain = network(dataclasses.replace(prepared.featurizer.config, fused=False), prepared)
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(predict(plain, prepared.inputs["test"]), probability, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 200])
def test_every_epoch_of_buckets_holds_every_row_once_with_its_own_label(rows):
    rng = np.random.default_rng(rows)
    ids = np.zeros((rows, 40), "int32")
    for row, length in enumerate(rng.integers(1, 41, rows)): ids[row, :length] = row + 1
    batches = bucketed({"words": ids}, np.arange(rows), 32, seed=1)
    seen = []
    for _ in range(2):
        drawn = [(words["words"].numpy(), labels.numpy()) for words, labels in batches]
        for words, labels in drawn:
            assert (words[:, 0] == labels + 1).all()  # a row and its label stay together
            for kept, label in zip(words, labels):  # the cut takes padding only
                assert (kept != 0).sum() == (ids[label] != 0).sum()
        seen.append(np.concatenate([labels for _, labels in drawn]))
        assert sorted(seen[-1]) == list(range(rows))
    assert rows < 33 or not np.array_equal(*seen)  # every epoch draws new batches


def test_predictions_keep_the_order_of_the_rows(sample):
    model, prepared, _, probability = trained(sample, cell="gru")
    order = np.random.default_rng(0).permutation(len(probability))
    shuffled = {name: values[order] for name, values in prepared.inputs["test"].items()}
    np.testing.assert_allclose(predict(model, shuffled), probability[order], atol=1e-6)


def test_training_again_gives_the_same_network_up_to_rounding(sample):
    first, second = (trained(sample, cell="gru", input_dropout=0.1)[3] for _ in range(2))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)
    # another seed is another network
    assert np.abs(trained(sample, cell="gru", input_dropout=0.1, seed=1)[3] - first).max() > 1e-3
