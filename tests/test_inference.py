"""A network of words run by numpy gives what Keras gives, whatever else is scored with a tweet, and without TensorFlow."""
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT
from disaster_nbdev.inference import BLOCK, opened_network
from disaster_nbdev.reader import opened_reader, run_files

POOLINGS = ("last", "mean", "max", "both", "attention")
KINDS = [(cell, pooling) for cell in ("gru", "lstm", "rnn", "none") for pooling in POOLINGS if (cell, pooling) != ("none", "last")]


def settings(cell: str, pooling: str, **changes):
    """A small configuration."""
    from disaster_nbdev.training import RunConfig
    return RunConfig(cell=cell, pooling=pooling, **{"hidden_size": 12, **changes})


def pair(config, tmp_path):
    """The same random network for Keras and for numpy; every weight is drawn, the biases too."""
    from disaster_nbdev.model import build
    rng = np.random.default_rng(3)
    model = build(config, rng.normal(size=(50, 7)).astype("float32"))
    model.set_weights([rng.normal(size=w.shape).astype("float32") * 0.6 for w in model.get_weights()])
    model.save(tmp_path/"model.keras")
    return model, opened_network((tmp_path/"model.keras").read_bytes(), config)


def rows(n: int, seq_len: int, seed: int = 0) -> np.ndarray:
    """Rows of ids, padding at the end, of every length from 1."""
    rng = np.random.default_rng(seed)
    ids, lengths = rng.integers(1, 50, (n, seq_len)), rng.integers(1, seq_len + 1, n)
    return np.where(np.arange(seq_len) < lengths[:, None], ids, 0)


@pytest.mark.parametrize("cell, pooling", KINDS)
def test_every_cell_and_pooling_agrees_with_keras(cell, pooling, tmp_path):
    from disaster_nbdev.model import predict
    model, network = pair(settings(cell, pooling), tmp_path)
    inputs = {"words": rows(300, 19)}
    expected = predict(model, inputs)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(network.predict(inputs), expected, atol=2e-5)


@pytest.mark.parametrize("cell, pooling", [("gru", "last"), ("lstm", "attention"), ("none", "mean")])
def test_the_branch_of_the_keyword_agrees_with_keras(cell, pooling, tmp_path):
    from disaster_nbdev.model import predict
    model, network = pair(settings(cell, pooling, keyword_branch=True), tmp_path)
    inputs = {"words": rows(300, 19), "keyword": rows(300, 3, seed=1)}
    np.testing.assert_allclose(network.predict(inputs), predict(model, inputs), atol=2e-5)


@pytest.mark.parametrize("cell, pooling, hidden_size", [(*kind, size) for kind in KINDS for size in ((5, 64) if kind[0] != "none" else (5,))])
def test_a_row_does_not_depend_on_the_others(cell, pooling, hidden_size, tmp_path):
    _, network = pair(settings(cell, pooling, hidden_size=hidden_size, keyword_branch=True), tmp_path)
    inputs = {"words": rows(2 * BLOCK + 77, 40), "keyword": rows(2 * BLOCK + 77, 3, seed=1)}
    whole = network.predict(inputs)
    some = lambda chosen: network.predict({name: ids[chosen] for name, ids in inputs.items()})
    for size in (1, 100, 256, 300):
        starts = range(0, len(whole), size) if size > 1 else range(20)
        for start in starts: np.testing.assert_array_equal(some(slice(start, start + size)), whole[start:start + size])
    shuffled = np.random.default_rng(0).permutation(len(whole))
    np.testing.assert_array_equal(some(shuffled), whole[shuffled])


def test_saved_runs_agree_with_keras(sample, tmp_path):
    from disaster_nbdev.model import predict
    from disaster_nbdev.training import fit, load_model, network, prepare, save_model
    config = settings("gru", "both", embedding="corpus", cleaning="aware", keyword_branch=True, fused=False, epochs=1, patience=0)
    prepared = prepare(config, sample)
    fit(model := network(config, prepared), prepared, config)
    tweets, mine = sample.test.head(400), save_model(tmp_path/"run", model, prepared.reader)
    for folder in [mine, *sorted(path.parent for path in ROOT.glob("models/kaggle/*/model.keras") if (path.parent/"vocabulary.json").is_file())]:
        files, (model, keras_reader) = run_files(folder), load_model(folder)
        reader, inputs = opened_reader(files), keras_reader.inputs(tweets)
        for name, ids in reader.inputs(tweets).items(): np.testing.assert_array_equal(ids, inputs[name])
        np.testing.assert_allclose(opened_network(files["model.keras"], reader.config).predict(inputs), predict(model, inputs), atol=2e-5)


def test_neither_tensorflow_nor_keras_is_loaded():
    code = ("import sys, disaster_nbdev.inference, disaster_nbdev.reader, disaster_nbdev.scoring; "
            "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'sklearn', 'matplotlib') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
