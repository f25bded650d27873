"""Networks that other programs load: saved runs in Keras alone, and `disaster export`."""
import shutil
import sys

import numpy as np
import pytest

from conftest import run
from disaster_nbdev.encoder import installed
from disaster_nbdev.featurizer import Featurizer, load_featurizer
from disaster_nbdev.predictor import opened_network
from disaster_nbdev.scoring import load_run, open_run, runs_on_numpy, score_texts
from disaster_nbdev.vocabulary import Vocabulary
from test_inference import KINDS
from test_scoring import WORDS

VOCABULARY = Vocabulary(tuple(WORDS), (1,) * 8)


def made(folder, plainly=True, **settings):
    """Save a random network as a run, as now or as before."""
    from disaster_nbdev.model import build
    from disaster_nbdev.training import RunConfig, save_model
    config, rng = RunConfig(hidden_size=4, **settings), np.random.default_rng(1)
    model = build(config, rng.normal(size=(9, 3)).astype("float32"))
    model.set_weights([rng.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    save_model(folder, model, Featurizer(config, VOCABULARY))
    if not plainly: model.save(folder/"model.keras")
    return model


def word_ids(keyword: bool) -> dict[str, np.ndarray]:
    """Return rows of several lengths, with padding; one has no word at all."""
    rng = np.random.default_rng(2)
    ids = np.where(np.arange(12) < rng.integers(0, 13, (40, 1)), rng.integers(1, 9, (40, 12)), 0)
    ids[0] = 0
    inputs = {"words": ids.astype("int32")}
    if keyword: inputs["keyword"] = ids[::-1, :2].astype("int32")
    return inputs


def put(folder, model, inputs) -> None:
    """Write what another program is to compute."""
    np.savez(folder/"inputs.npz", **inputs)
    np.save(folder/"expected.npy", model.predict_on_batch(inputs))


ALONE = """
import pathlib, sys, warnings
warnings.simplefilter("error")
import keras, numpy as np
if "encoder" in sys.argv[2:]: import keras_hub
for folder in sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/model.keras")):
    model = keras.models.load_model(folder/"model.keras")
    found = model.predict_on_batch(dict(np.load(folder/"inputs.npz")))
    print(folder.name, np.abs(found - np.load(folder/"expected.npy")).max())
assert not any(name.startswith("disaster") for name in sys.modules)
"""


def differences(folder, *words) -> dict[str, float]: # run -> the largest difference
    """Load every run of a folder with plain Keras in a process of its own."""
    answer = run(sys.executable, "-c", ALONE, str(folder), *words)
    assert answer.returncode == 0, answer.stderr
    return {name: float(value) for name, value in map(str.split, answer.stdout.splitlines())}


def test_keras_alone_loads_every_kind_of_network(tmp_path):
    for number, (cell, pooling) in enumerate(KINDS):
        keyword, folder = number % 2 > 0, tmp_path/f"{cell}-{pooling}"
        settings = {"cell": cell, "pooling": pooling, "keyword_branch": keyword,
                    "finetune": keyword, "input_dropout": 0.2, "recurrent_dropout": 0.2}
        put(folder, made(folder, **settings), word_ids(keyword))
    found = differences(tmp_path)
    assert len(found) == len(KINDS)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("cell, pooling", KINDS)
def test_numpy_computes_what_is_saved_now_and_what_was_saved_before(cell, pooling, tmp_path):
    settings = {"cell": cell, "pooling": pooling, "keyword_branch": True}
    model, inputs = made(tmp_path/"now", **settings), word_ids(keyword=True)
    shutil.copytree(tmp_path/"now", tmp_path/"before")
    model.save(tmp_path/"before"/"model.keras")
    found = []
    for folder in (tmp_path/"now", tmp_path/"before"):
        saved = load_run(folder)
        assert runs_on_numpy(saved)
        settings = load_featurizer(saved.files).config
        network = opened_network(saved.files["model.keras"], settings)
        found.append(network.predict({name: ids[1:] for name, ids in inputs.items()}))
    np.testing.assert_array_equal(*found)
    expected = model.predict_on_batch(inputs)[1:, 0]
    np.testing.assert_allclose(found[0], expected, atol=2e-5)
    assert np.ptp(expected) > 1e-3


def test_a_run_saved_before_is_loaded_by_keras_and_saved_as_plain_layers(tmp_path):
    from disaster_nbdev.training import load_model, save_model
    model = made(tmp_path/"before", plainly=False, cell="lstm", pooling="both",
                 keyword_branch=True)
    loaded, reader = load_model(tmp_path/"before")
    inputs = word_ids(keyword=True)
    np.testing.assert_array_equal(loaded.predict_on_batch(inputs), model.predict_on_batch(inputs))
    folder = save_model(tmp_path/"again"/"now", loaded, reader)
    put(folder, model, inputs)
    assert differences(tmp_path/"again")["now"] < 1e-5


def test_a_trained_run_predicts_the_same_in_keras_alone_and_in_numpy(sample, tmp_path):
    from disaster_nbdev.training import RunConfig, fit, network, prepare, save_model
    config = RunConfig(cell="gru", pooling="attention", embedding="corpus", keyword_branch=True,
                       finetune=True, schedule="linear", recurrent_dropout=0.2, hidden_size=4,
                       epochs=1, patience=0)
    prepared = prepare(config, sample)
    fit(model := network(config, prepared), prepared, config)
    folder = save_model(tmp_path/"run", model, prepared.reader)
    inputs, test = prepared.inputs["test"], prepared.frames["test"]
    put(folder, model, inputs)
    assert differences(tmp_path)["run"] < 1e-5
    found = score_texts(str(folder), test.text.tolist(), test.keyword.tolist())
    np.testing.assert_allclose(found, model.predict_on_batch(inputs)[:, 0], atol=1e-5)


def test_keras_with_its_hub_loads_runs_on_an_encoder(sample, tmp_path):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    from dataclasses import replace
    from disaster_nbdev.training import RunConfig, network, prepare, save_model
    few = replace(sample, train=sample.train.head(60), test=sample.test.head(20))
    for pooling, finetune in (("mean", False), ("attention", True)):
        config = RunConfig(embedding="minilm", cleaning="aware", cell="gru", hidden_size=4,
                           pooling=pooling, finetune=finetune)
        prepared = prepare(config, few)
        model = network(config, prepared)
        folder = save_model(tmp_path/pooling, model, prepared.reader)
        given = {name: prepared.inputs["test"][name] for name in model.input}
        put(folder, model, given)
    found = differences(tmp_path, "encoder")
    assert set(found) == {"mean", "attention"} and max(found.values()) < 1e-5, found


def test_a_pooling_of_another_name_is_refused(tmp_path):
    from disaster_nbdev.core import UserError
    made(tmp_path/"run", pooling="mean")
    text = (tmp_path/"run"/"config.json").read_text()
    (tmp_path/"run"/"config.json").write_text(text.replace('"mean"', '"max"'))
    with pytest.raises(UserError, match="says pooling max, but the network has mean"):
        open_run(load_run(tmp_path/"run"))
