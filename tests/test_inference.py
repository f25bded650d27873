"""Check that the NumPy predictor agrees with Keras, and that rounding never changes a label."""
import json
import sys

import numpy as np
import pytest

from conftest import ROOT, run
from disaster_nbdev.fallback import TOLERANCE, computable, is_stable, probabilities, settled
from disaster_nbdev.featurizer import load_featurizer, run_files
from disaster_nbdev.predictor import BLOCK, opened_network, saved_weights

POOLINGS = ("last", "mean", "max", "both", "attention")
KINDS = [(cell, pooling) for cell in ("gru", "lstm", "rnn", "none") for pooling in POOLINGS
         if (cell, pooling) != ("none", "last")]


def settings(cell: str, pooling: str, **changes):
    """Return a small configuration."""
    from disaster_nbdev.run_config import RunConfig
    return RunConfig(cell=cell, pooling=pooling, **{"hidden_size": 12, **changes})


def pair(config, tmp_path, scale=0.6):
    """Return the same random network for Keras and for NumPy; the biases are random too."""
    from disaster_nbdev.model import build
    rng = np.random.default_rng(3)
    model = build(config, rng.normal(size=(50, 7)).astype("float32"))

    def draw(shape): return rng.normal(size=shape) * (scale or len(np.zeros(shape)) ** -0.5)
    model.set_weights([draw(w.shape).astype("float32") for w in model.get_weights()])
    model.save(tmp_path/"model.keras")
    return model, opened_network(saved_weights((tmp_path/"model.keras").read_bytes()), config)


def rows(n: int, seq_len: int, seed: int = 0) -> np.ndarray:
    """Return rows of token ids of random length, padded at the end."""
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


@pytest.mark.parametrize("cell, pooling",
                         [("gru", "last"), ("lstm", "attention"), ("none", "mean")])
def test_the_keyword_branch_agrees_with_keras(cell, pooling, tmp_path):
    from disaster_nbdev.model import predict
    model, network = pair(settings(cell, pooling, keyword_branch=True), tmp_path)
    inputs = {"words": rows(300, 19), "keyword": rows(300, 3, seed=1)}
    np.testing.assert_allclose(network.predict(inputs), predict(model, inputs), atol=2e-5)


def orders(n: int) -> list[list[np.ndarray]]:
    """Return ways to take n rows: shuffled, in chunks of several sizes, and one by one."""
    ways = [[np.random.default_rng(0).permutation(n)], [np.arange(n)[::-1]],
            [np.array([row]) for row in range(0, n, n // 20)]]
    return (ways + [[np.arange(n)[start:start + size] for start in range(0, n, size)]
                    for size in (100, 255, 256, 300)])


SIZES = [(*kind, size) for kind in KINDS for size in ((5, 64) if kind[0] != "none" else (5,))]


@pytest.mark.parametrize("cell, pooling, hidden_size", SIZES)
def test_other_rows_change_a_probability_by_rounding_and_never_a_label(cell, pooling, hidden_size,
                                                                       tmp_path):
    _, network = pair(settings(cell, pooling, hidden_size=hidden_size, keyword_branch=True),
                      tmp_path, scale=None)
    n = 2 * BLOCK + 77
    inputs = {"words": rows(n, 40), "keyword": rows(n, 3, seed=1)}
    whole = network.predict(inputs)
    assert np.ptp(whole) > 0.01 and is_stable(network, keyword=True)
    edges = [float(whole[row]) + step for row, step in ((0, -1e-8), (n // 2, 0.0), (n - 1, 1e-8))]

    def scored(chosen):
        given = {name: ids[chosen] for name, ids in inputs.items()}
        return settled(network.predict(given), edges,
                       lambda near: probabilities(network, given, near))
    first = scored(np.arange(n))
    np.testing.assert_allclose(first, whole, rtol=0, atol=TOLERANCE)
    for way in orders(n):
        for chosen in way:
            again = scored(chosen)
            np.testing.assert_allclose(again, first[chosen], rtol=0, atol=TOLERANCE)
            for edge in edges: np.testing.assert_array_equal(again > edge, first[chosen] > edge)


@pytest.mark.parametrize("cell, pooling", KINDS)
def test_numpy_knows_the_networks_of_this_project_and_no_others(cell, pooling, tmp_path):
    from disaster_nbdev.archive import members, parsed, top_layers
    config = settings(cell, pooling, keyword_branch=True)
    pair(config, tmp_path)
    layers = top_layers(parsed(members((tmp_path/"model.keras").read_bytes())["config.json"],
                               "config.json"))
    assert computable(layers, config)
    layers["dense"]["config"]["activation"] = "tanh"
    assert not computable(layers, config)


@pytest.mark.parametrize("cell, pooling", KINDS)
def test_a_tweet_alone_agrees_with_keras(cell, pooling, tmp_path):
    from disaster_nbdev.model import predict
    model, network = pair(settings(cell, pooling, keyword_branch=True), tmp_path, scale=None)
    inputs = {"words": rows(60, 19), "keyword": rows(60, 3, seed=1)}
    inputs["keyword"][5] = 0
    np.testing.assert_allclose(probabilities(network, inputs, np.arange(60)),
                               predict(model, inputs), atol=2e-6)


def test_a_network_whose_errors_grow_is_not_stable(tmp_path):
    _, wild = pair(settings("rnn", "last", hidden_size=64), tmp_path)
    _, tame = pair(settings("rnn", "last", hidden_size=64), tmp_path, scale=None)
    assert not is_stable(wild, keyword=False) and is_stable(tame, keyword=False)


SCORED = """
import json, sys
from disaster_nbdev.scoring import score_texts
run, file = sys.argv[1:]
texts, edges = json.load(open(file))
whole = [score_texts(run, texts, [None] * len(texts), [edge]) for edge in edges]
print(json.dumps([[values.tolist(), (values > edge).astype(int).tolist()]
                  for values, edge in zip(whole, edges)]))
"""


def test_threads_change_a_probability_by_rounding_and_never_a_label(tmp_path):
    from test_scoring import made, tweets
    from disaster_nbdev.scoring import score_texts
    folder, texts = made(tmp_path/"run", cell="lstm", scale=0.3), tweets(1_000).text.tolist()
    given = score_texts(str(folder), texts, [None] * len(texts))
    edges = [float(given[row]) + step for row in (3, 500) for step in (-1e-8, 0.0, 1e-8)]
    (tmp_path/"in.json").write_text(json.dumps([texts, edges]))

    def scored(threads: str) -> list:
        answer = run(sys.executable, "-c", SCORED, str(folder), str(tmp_path/"in.json"),
                     OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
        return json.loads(answer.stdout)
    for (one, label), (other, same) in zip(scored("1"), scored("2")):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE)
        assert label == same


def test_saved_runs_agree_with_keras(sample, tmp_path):
    from disaster_nbdev.model import predict
    from disaster_nbdev.training import fit, load_model, network, prepare, save_model
    config = settings("gru", "both", embedding="corpus", cleaning="aware", keyword_branch=True,
                      fused=False, epochs=1, patience=0)
    prepared = prepare(config, sample)
    fit(model := network(config, prepared), prepared, config)
    tweets, mine = sample.test.head(400), save_model(tmp_path/"run", model, prepared.featurizer)
    for folder in [mine, *sorted(path.parent for path in ROOT.glob("models/kaggle/*/model.keras")
                                 if (path.parent/"vocabulary.json").is_file())]:
        files, (model, keras_reader) = run_files(folder), load_model(folder)
        reader, inputs = load_featurizer(files), keras_reader.inputs(tweets)
        for name, ids in reader.inputs(tweets).items():
            np.testing.assert_array_equal(ids, inputs[name])
        found = opened_network(saved_weights(files["model.keras"]), reader.config).predict(inputs)
        np.testing.assert_allclose(found, predict(model, inputs), atol=2e-5)


def test_neither_tensorflow_nor_keras_is_loaded():
    code = ("import sys\n"
            "from disaster_nbdev import fallback, predictor, scoring\n"
            "heavy = {'tensorflow', 'keras', 'torch', 'jax', 'sklearn', 'matplotlib'}\n"
            "print(sorted(heavy & sys.modules.keys()))")
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"
