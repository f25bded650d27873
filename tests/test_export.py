"""Networks that other programs load: saved runs in Keras alone, and `disaster export`."""
import dataclasses
import importlib.util
import shutil
import sys

import numpy as np
import pytest

from conftest import run
from disaster_nbdev import export
from disaster_nbdev.backend import keras, tf
from disaster_nbdev.core import UserError
from disaster_nbdev.pretrained import installed
from disaster_nbdev.featurizer import Featurizer, load_featurizer
from disaster_nbdev.predictor import opened_network, saved_weights
from disaster_nbdev.model import CELLS, build
from disaster_nbdev.scoring import load_run, open_run, runs_on_numpy, score_texts
from disaster_nbdev.run_config import RunConfig
from disaster_nbdev.training import fit, load_model, network, prepare, save_model
from disaster_nbdev.vocabulary import Vocabulary
from test_inference import KINDS
from test_scoring import WORDS

# without the extra, pytest collects none of its tests
ONNX = all(map(importlib.util.find_spec, ("onnx", "tf2onnx", "onnxruntime")))
VOCABULARY = Vocabulary(tuple(WORDS), (1,) * 8)


def made(folder, plainly=True, **settings):
    """Save a random network as a run, as now or as before."""
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
        computed = opened_network(saved_weights(saved.files["model.keras"]), settings)
        found.append(computed.predict({name: ids[1:] for name, ids in inputs.items()}))
    np.testing.assert_array_equal(*found)
    expected = model.predict_on_batch(inputs)[1:, 0]
    np.testing.assert_allclose(found[0], expected, atol=2e-5)
    assert np.ptp(expected) > 1e-3


def test_a_run_saved_before_is_loaded_by_keras_and_saved_as_plain_layers(tmp_path):
    model = made(tmp_path/"before", plainly=False, cell="lstm", pooling="both",
                 keyword_branch=True)
    loaded, reader = load_model(tmp_path/"before")
    inputs = word_ids(keyword=True)
    np.testing.assert_array_equal(loaded.predict_on_batch(inputs), model.predict_on_batch(inputs))
    folder = save_model(tmp_path/"again"/"now", loaded, reader)
    put(folder, model, inputs)
    assert differences(tmp_path/"again")["now"] < 1e-5


def test_a_trained_run_predicts_the_same_in_keras_alone_and_in_numpy(sample, tmp_path):
    config = RunConfig(cell="gru", pooling="attention", embedding="corpus", keyword_branch=True,
                       finetune=True, schedule="linear", recurrent_dropout=0.2, hidden_size=4,
                       epochs=1, patience=0)
    prepared = prepare(config, sample)
    fit(model := network(config, prepared), prepared, config)
    folder = save_model(tmp_path/"run", model, prepared.featurizer)
    inputs, test = prepared.inputs["test"], prepared.frames["test"]
    put(folder, model, inputs)
    assert differences(tmp_path)["run"] < 1e-5
    found = score_texts(str(folder), test.text.tolist(), test.keyword.tolist())
    np.testing.assert_allclose(found, model.predict_on_batch(inputs)[:, 0], atol=1e-5)


def test_keras_with_its_hub_loads_runs_on_an_encoder(sample, tmp_path):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    few = dataclasses.replace(sample, train=sample.train.head(60), test=sample.test.head(20))
    for pooling, finetune in (("mean", False), ("attention", True)):
        config = RunConfig(embedding="minilm", cleaning="aware", cell="gru", hidden_size=4,
                           pooling=pooling, finetune=finetune)
        prepared = prepare(config, few)
        model = network(config, prepared)
        folder = save_model(tmp_path/pooling, model, prepared.featurizer)
        given = {name: prepared.inputs["test"][name] for name in model.input}
        put(folder, model, given)
    found = differences(tmp_path, "encoder")
    assert set(found) == {"mean", "attention"} and max(found.values()) < 1e-5, found


def test_a_pooling_of_another_name_is_refused(tmp_path):
    made(tmp_path/"run", pooling="mean")
    text = (tmp_path/"run"/"config.json").read_text()
    (tmp_path/"run"/"config.json").write_text(text.replace('"mean"', '"max"'))
    with pytest.raises(UserError, match="says pooling max, but the network has mean"):
        open_run(load_run(tmp_path/"run"))


# `disaster export`

def page_code(folder) -> str:
    """Return the Python of the page in an exported folder."""
    return (folder/"README.md").read_text().partition("```python\n")[2].partition("```")[0]


def exported(saved, folder, form: str) -> float:
    """Export a run with the command; return what the Python of its page computes."""
    answer = run("disaster", "export", str(saved), "--format", form, "--output", str(folder))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == f"The network and its README.md are in {folder}"
    code = page_code(folder).replace("Forest fire near La Ronge", "fire storm train")
    answer = run(sys.executable, "-c", f"{code}\nprint(float(probability[0, 0]))", folder=folder)
    assert answer.returncode == 0, answer.stderr
    return float(answer.stdout.splitlines()[-1])


FORMATS = ["keras", "saved_model"] + ["onnx"] * ONNX


@pytest.mark.parametrize("form", FORMATS)
def test_the_page_of_an_exported_folder_computes_the_same(form, tmp_path):
    made(tmp_path/"run", pooling="attention", keyword_branch=True, use_keyword=True)
    (tmp_path/"run"/"operating.json").write_text(
        '{"temperature": 2.5, "thresholds": {"0.90": 0.25}}')
    found = exported(tmp_path/"run", tmp_path/"out"/"folder", form)
    wanted = score_texts(str(tmp_path/"run"), ["fire storm train"], [None])
    assert abs(found - wanted[0]) < 1e-5
    names = {path.name for path in (tmp_path/"out"/"folder").iterdir()}
    assert names == {"README.md", "code.json", "config.json", "operating.json", "vocabulary.json",
                     export.FORMATS[form]}
    said = " ".join((tmp_path/"out"/"folder"/"README.md").read_text().split())
    for words in ("for a recall of 0.90 it is 0.25", "exp(-z / 2.5)", "not calibrated",
                  "cleaning `study`", "the keyword is put in front of the text", "0 is padding"):
        assert words in said
    assert [path.name for path in (tmp_path/"out").iterdir()] == ["folder"]


@pytest.mark.parametrize("cell, pooling", [("gru", "last"), ("lstm", "both"), ("rnn", "mean"),
                                           ("none", "attention")] * ONNX)
def test_the_onnx_runtime_agrees_at_every_length(cell, pooling, tmp_path):
    import onnxruntime
    model = made(tmp_path/"run", cell=cell, pooling=pooling, keyword_branch=True)
    export.export_run(str(tmp_path/"run"), "onnx", tmp_path/"out")
    network = onnxruntime.InferenceSession(tmp_path/"out"/"model.onnx")
    inputs = word_ids(keyword=True)
    for length, width in ((12, 2), (1, 1), (5, 2)):
        for rows in (slice(None), slice(3, 4)):
            given = {"words": inputs["words"][rows, :length],
                     "keyword": inputs["keyword"][rows, :width]}
            padded = {name: np.pad(ids, [(0, 0), (0, 4)]) for name, ids in given.items()}
            expected = model.predict_on_batch(given)
            for each in (given, padded):
                np.testing.assert_allclose(network.run(None, each)[0], expected, atol=1e-5)


@pytest.mark.parametrize("finetune", [False, True])
def test_a_run_on_an_encoder_is_exported(finetune, sample, tmp_path):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    config = RunConfig(embedding="minilm", cleaning="aware", cell="none", pooling="mean",
                       finetune=finetune)
    few = dataclasses.replace(sample, train=sample.train.head(40), test=sample.test.head(9))
    prepared = prepare(config, few)
    saved = save_model(tmp_path/"run", network(config, prepared), prepared.featurizer)
    wanted = score_texts(str(saved), ["fire storm train"], [None])[0]
    for form in ("keras", "saved_model"):
        assert abs(exported(saved, tmp_path/form, form) - wanted) < 1e-4


def asked(*words: object) -> str:
    """Run the command with a mistake, and return its one-sentence answer."""
    answer = run("disaster", "export", *map(str, words))
    assert (answer.returncode == 2 and "Traceback" not in answer.stderr
            and len(answer.stderr.strip().splitlines()) == 1), answer.stderr
    return answer.stderr


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    made(tmp_path/"run")
    (tmp_path/"out").mkdir()
    (tmp_path/"out"/"mine.txt").write_text("precious")
    said = asked(tmp_path/"run", "--output", tmp_path/"out")
    assert f"{tmp_path/'out'} exists: choose another folder" in said
    assert (tmp_path/"out"/"mine.txt").read_text() == "precious"


def test_without_the_extra_the_answer_says_how_to_install_it(tmp_path, monkeypatch):
    made(tmp_path/"run")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *rest: None if name == "tf2onnx" else find(name, *rest))
    with pytest.raises(UserError, match=r"pip install 'disaster_nbdev\[onnx\]'"):
        export.export_run(str(tmp_path/"run"), "onnx", tmp_path/"out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_cell_of_a_users_own_is_exported_without_its_code_or_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(CELLS, "mine", type("Mine", (keras.layers.SimpleRNN,), {}))
    model = made(tmp_path/"run", cell="mine")
    with pytest.raises(UserError, match="layer Mine that Keras alone does not know: export it as"):
        export.export_run(str(tmp_path/"run"), "keras", tmp_path/"out")
    export.export_run(str(tmp_path/"run"), "saved_model", tmp_path/"out")
    inputs = word_ids(keyword=False)
    loaded = tf.saved_model.load(tmp_path/"out"/"saved_model")
    found = loaded.serve({"words": tf.constant(inputs["words"])})
    np.testing.assert_allclose(found, model.predict_on_batch(inputs), atol=1e-5)


# Callbacks

class Meddler(keras.callbacks.Callback):
    """Count the epochs, and change every figure that a callback is given."""
    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)
        logs.update(loss=-1.0, mine=epoch)
        del logs["val_accuracy"]


def test_a_callback_is_called_each_epoch_and_changes_no_record(sample, tmp_path):
    from disaster_nbdev.single_run import train
    config = RunConfig(recipe="tiny", embedding="corpus", hidden_size=2, epochs=2, patience=0,
                       batch_size=256)
    meddler = Meddler()
    mine = train(tmp_path/"mine", sample, config, callbacks=[meddler])
    usual = train(tmp_path/"usual", sample, config)
    assert meddler.epochs == [0, 1]
    assert mine.run.keys() == usual.run.keys() and mine.run["config"] == usual.run["config"]
    assert list(mine.history()) == list(usual.history())
    np.testing.assert_allclose(mine.history().loss, usual.history().loss, atol=1e-4)
