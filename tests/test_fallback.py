"""Check that Keras scores what NumPy does not implement: a user's cell, and encoders."""
import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from disaster_nbdev import fallback, model, scoring
from disaster_nbdev.backend import keras
from disaster_nbdev.pretrained import installed
from disaster_nbdev.score_file import score_file
from disaster_nbdev.scoring import load_run, runs_on_numpy, score, score_texts
from disaster_nbdev.run_config import RunConfig
from disaster_nbdev.training import fit, load_model, network, prepare, save_model
from test_scoring import got, put, said, tweets


class MinimalRNN(keras.layers.SimpleRNN):
    """Represent a cell under its own name, registered nowhere."""


@keras.saving.register_keras_serializable("tests")
class Leaky(keras.layers.Layer):
    """Represent a cell for `keras.layers.RNN`: a moving mean of its input."""
    def __init__(self, units: int, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape): self.kernel = self.add_weight((shape[-1], self.units), name="kernel")

    def call(self, inputs, states, training=False):
        state = 0.5 * states[0] + 0.5 * keras.ops.tanh(inputs @ self.kernel)
        return state, [state]

    def get_config(self): return {**super().get_config(), "units": self.units}


def leaky(units, dropout=0, recurrent_dropout=0, **options):
    return keras.layers.RNN(Leaky(units), **options)


KINDS = {"subclass": MinimalRNN, "factory": leaky}


@pytest.fixture(scope="module", params=KINDS)
def run(request, sample, tmp_path_factory):
    """Return a run with a cell added in one line, trained for an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model.CELLS, "mine", KINDS[request.param])
        config = RunConfig(cell="mine", pooling="mean", embedding="corpus", hidden_size=3, epochs=1,
                           patience=0, learning_rate=0.01)
        prepared = prepare(config, sample)
        fit(trained := network(config, prepared), prepared, config)
        yield save_model(tmp_path_factory.mktemp("run")/"mine", trained, prepared.featurizer)


def test_a_new_cell_is_scored_as_keras_predicts(run, sample):
    assert not runs_on_numpy(load_run(run))
    network, reader = load_model(run)
    wanted = model.predict(network, reader.inputs(sample.test))
    found = score(sample.test, run)
    np.testing.assert_allclose(found.probability, wanted, atol=1e-6)
    assert np.ptp(wanted) > 1e-3


def test_a_new_cell_is_scored_in_this_process_whatever_the_workers(run, sample, tmp_path,
                                                                   monkeypatch):
    source, told = put(pd.concat([sample.test] * 60), tmp_path/"in.csv"), []

    def tell(text, passing=False): told.append(text)
    monkeypatch.setattr("disaster_nbdev.score_file.processes",
                        lambda *_: pytest.fail("a worker does not know the cell"))
    score_file(str(source), str(tmp_path/"out.csv"), run, workers=2, tell=tell)
    assert len(got(tmp_path/"out.csv")) == 60 * len(sample.test) > 16_384
    warning = ("Keras scores this run, which is slower: NumPy does not know all of its network "
               "(cell mine).")
    assert [text for text in told if "slower" in text] == [warning]


@pytest.mark.parametrize("step", [-1e-8, 0.0, 1e-8])
def test_other_tweets_do_not_change_the_label_of_a_new_cell(run, sample, step):
    texts = sample.test.text.tolist()
    given = score_texts(str(run), texts, [None] * len(texts))
    for row in (0, 100, 300):
        edge = float(given[row]) + step
        whole = score_texts(str(run), texts, [None] * len(texts), [edge])
        reverse = score_texts(str(run), texts[::-1], [None] * len(texts), [edge])[::-1]
        alone = score_texts(str(run), texts[row:row + 1], [None], [edge])
        np.testing.assert_allclose(reverse, whole, rtol=0, atol=1e-6)
        assert ((whole > edge) == (reverse > edge)).all() and (alone > edge) == (whole[row] > edge)


def test_a_cell_that_is_gone_is_one_sentence(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path/"run")
    monkeypatch.delitem(model.CELLS, "mine")
    scoring.open_run.cache_clear()
    source = put(tweets(3), tmp_path/"in.csv")
    sentence = said(lambda: score_file(str(source), str(tmp_path/"out.csv"), tmp_path/"run"))
    assert "there is no cell 'mine'; this program has lstm, gru, rnn, none" in sentence
    assert "train it" not in sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "run"]


def test_another_activation_of_a_known_cell_is_left_to_keras(sample, tmp_path, monkeypatch):
    def relu_cell(units, **options):
        return keras.layers.SimpleRNN(units, activation="relu", **options)
    monkeypatch.setitem(model.CELLS, "rnn", relu_cell)
    config = RunConfig(cell="rnn", embedding="corpus", hidden_size=3)
    prepared = prepare(config, sample)
    made = save_model(tmp_path/"run", built := network(config, prepared), prepared.featurizer)
    assert not runs_on_numpy(load_run(made))
    np.testing.assert_allclose(score(sample.test, made).probability,
                               model.predict(built, prepared.inputs["test"]), atol=1e-6)


@pytest.mark.parametrize("finetune, bound", [(False, fallback.ENCODER_TOLERANCE), (True, 1e-6)])
def test_other_tweets_do_not_change_the_label_of_an_encoder(finetune, bound, sample, tmp_path):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    config = RunConfig(embedding="minilm", cleaning="aware", pooling="mean", cell="none",
                       finetune=finetune)
    few = dataclasses.replace(sample, train=sample.train.head(80), test=sample.test.head(40))
    prepared = prepare(config, few)
    made = save_model(tmp_path/"run", network(config, prepared), prepared.featurizer)
    texts = few.test.text.tolist()
    given = score_texts(str(made), texts, [None] * 40)
    np.testing.assert_allclose(given, model.predict(load_model(made)[0], prepared.inputs["test"]),
                               atol=bound)
    for row, step in [(3, 0.0), (20, 1e-8)]:
        edge = float(given[row]) + step
        whole = score_texts(str(made), texts, [None] * 40, [edge])
        parts = np.concatenate([score_texts(str(made), texts[part], [None] * 20, [edge])
                                for part in (slice(20), slice(20, 40))])
        alone = score_texts(str(made), texts[row:row + 1], [None], [edge])
        np.testing.assert_allclose(parts, whole, rtol=0, atol=bound)
        assert ((whole > edge) == (parts > edge)).all() and (alone > edge) == (whole[row] > edge)
