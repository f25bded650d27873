"""Damaged or malicious saved runs: one sentence that names the file, exit code 2, no output."""
import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from conftest import run
from disaster_nbdev.core import UserError
from disaster_nbdev.pretrained import installed
from disaster_nbdev.score_file import score_file
from disaster_nbdev.scoring import score_texts
from disaster_nbdev.training import load_model
from test_scoring import command, made, put, tweets


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a small undamaged run."""
    folder = made(tmp_path_factory.mktemp("run")/"toy", ranks={"fire": 1})
    (folder/"operating.json").write_text(
        json.dumps({"temperature": 2.0, "thresholds": {"0.90": 0.4, "0.95": 0.3}}))
    return folder


def archive(folder, changes: dict, compression: int = zipfile.ZIP_STORED) -> None:
    """Rewrite model.keras with changed files; None removes a file."""
    with zipfile.ZipFile(folder/"model.keras") as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(folder/"model.keras", "w", compression) as new:
        for name, data in (files | changes).items():
            if data is not None: new.writestr(name, data)


def weights(folder, change) -> None:
    """Change the HDF5 file in model.keras."""
    with zipfile.ZipFile(folder/"model.keras") as old:
        content = io.BytesIO(old.read("model.weights.h5"))
    with h5py.File(content, "r+") as file: change(file)
    archive(folder, {"model.weights.h5": content.getvalue()})


def replaced(file, make) -> None:
    """Replace the embedding's dataset by another."""
    del file["layers/embedding/vars/0"]
    make(file["layers/embedding/vars"])


def virtual(group) -> None:
    """Create a dataset made of parts of another file."""
    layout = h5py.VirtualLayout((9, 3), "float32")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "a", (9, 3))
    group.create_virtual_dataset("0", layout)


def link(kind, *where):
    """Return a change that replaces the embedding's dataset by a link."""
    return lambda file: replaced(file, lambda group: group.__setitem__("0", kind(*where)))


def dataset(*arguments, **options):
    """Return a change that replaces the embedding's dataset."""
    def make(group): group.create_dataset("0", *arguments, **options)
    return lambda file: replaced(file, make)


def linked_group(file) -> None:
    """Add a group of another file."""
    file["more"] = h5py.ExternalLink("/tmp/other.h5", "/")


EXTERNAL = {"external": [("/etc/hostname", 0, 108)]}
WEIGHTS = {
    "external": (dataset((9, 3), "float32", **EXTERNAL), "lies in another file"),
    "virtual": (lambda file: replaced(file, virtual), "is put together from other files"),
    "external link": (link(h5py.ExternalLink, "/tmp/other.h5", "/a"), "is a link to another place"),
    "soft link": (link(h5py.SoftLink, "/layers/dense/vars/0"), "is a link to another place"),
    "a linked group": (linked_group, "is a link to another place"),
    "200 TiB": (dataset((55 << 40, 1), "float32"), "does not hold so many numbers"),
    "a bomb": (dataset(data=np.zeros((1 << 20, 3), "float32"), compression="gzip"),
               "in pieces or compressed"),
    "text": (dataset(data="fire"), "does not hold numbers"),
    "not a number": (dataset(data=np.full((9, 3), np.nan, "float32")), "not finite"),
    "fewer words": (dataset(data=np.zeros((8, 3), "float32")),
                    "vocabulary.json has 8 words, but the network knows 7"),
    "other width": (dataset(data=np.zeros((9, 4), "float32")), "have the shapes"),
    "no matrix": (dataset(data=np.zeros(27, "float32")), "have the shapes"),
    "nothing": (lambda file: file.__delitem__("layers"), "holds no layers"),
    "no embedding": (lambda file: file.__delitem__("layers/embedding"), "no weights of embedding"),
    "an odd name": (lambda file: file.create_dataset("layers/dense/vars/x", data=1.0),
                    "is not a path of weights"),
}


def described(change):
    """Return a change of the description of the network in model.keras."""
    def write(folder):
        with zipfile.ZipFile(folder/"model.keras") as old:
            network = json.loads(old.read("config.json"))
        change(network["config"]["layers"])
        archive(folder, {"config.json": json.dumps(network)})
    return write


def changed_layer(name: str, **changes):
    """Return a change of the description of one layer."""
    def change(layers):
        next(layer for layer in layers if layer["name"] == name).update(changes)
    return described(change)


def changed_settings(layer_name: str, **changes):
    """Return a change of the settings of one layer."""
    def change(layers):
        layer = next(layer for layer in layers if layer["name"] == layer_name)
        layer["config"].update(changes)
    return described(change)


def rewritten(change):
    """Return a change of the bytes of model.keras."""
    def write(folder):
        path = folder/"model.keras"
        path.write_bytes(change(path.read_bytes()))
    return write


def with_file(name: str, content: bytes | None, compression: int = zipfile.ZIP_STORED):
    """Return a change of one file in model.keras; None removes it."""
    return lambda folder: archive(folder, {name: content}, compression)


UNKNOWN_LAYER = "which this program does not know"
ARCHIVES = {
    "no zip": (rewritten(lambda data: b"PK\x03\x04 nothing"), "not a whole zip archive"),
    "half": (rewritten(lambda data: data[:3000]), "not a whole zip archive"),
    "a changed byte": (
        rewritten(lambda data: data.replace(b"bidirectional_gru", b"bidirectional_gry")),
        "not a whole zip archive"),
    "zip bomb": (with_file("model.weights.h5", bytes(30 << 20), zipfile.ZIP_DEFLATED),
                 "would unpack to"),
    "no weights": (with_file("model.weights.h5", None), "holds no model.weights.h5"),
    "no HDF5": (with_file("model.weights.h5", b"fire"), "not a whole HDF5 file"),
    "a strange file": (with_file("../../run.sh", b"x"), "which Keras does not write"),
    "deep": (with_file("config.json", b"[" * 100_000),
             "config.json in model.keras is nested too deeply"),
    "deep objects": (with_file("config.json", b'{"a":' * 100_000),
                     "config.json in model.keras is nested too deeply"),
    "a list": (with_file("config.json", b"[]"), "must hold an object, not a list"),
    "no layers": (with_file("config.json", b"{}"), "describes no network"),
    "a cell of another name": (changed_settings("bidirectional_gru", name="bidirectional_lstm"),
                               "says cell gru, but the network has lstm"),
    "an unknown class": (
        changed_layer("dense", class_name="Evil", module="os", registered_name="Evil"),
        f"a layer Evil, {UNKNOWN_LAYER}"),
    "a class of another module": (
        changed_layer("dense", class_name="Popen", module="subprocess", registered_name=None),
        f"a layer Popen, {UNKNOWN_LAYER}"),
    "code": (changed_layer("dropout", class_name="Lambda", module="keras.layers"),
             "holds a Lambda layer, which is code"),
    "a huge layer": (changed_settings("dense", units=10**12), "declares units 1000000000000"),
    "no number": (changed_settings("dense", units="16"), "declares units 16"),
}

RUN = '{"embedding": "glove", "cleaning": "study", "cell": "gru"'
NOT_A_VOCABULARY = "vocabulary.json is not a saved vocabulary"
ENCODER_RUN = RUN.replace("glove", "minilm") + "}"
CONFIGS = [ # content of config.json, what the message says
    (b"[" * 100_000, "config.json is nested too deeply"),
    (b"\xff\xfe", "config.json is not valid JSON"), (b"", "config.json is not valid JSON"),
    (b'"glove"', "config.json must hold an object, not text"),
    (b"{}", "config.json says no embedding"),
    (RUN + ', "use_keyword": 1}',
     "config.json: use_keyword must be true or false, not a whole number"),
    (RUN + ', "pooling": null}', "config.json: pooling must be text, not null"),
    (RUN.replace("study", "fine") + "}", "config.json: there is no cleaning 'fine'"),
    (RUN + ', "cell": "lstm"}', "the name 'cell' occurs twice"),
    (RUN + ', "dropout": NaN}', "NaN is not finite"),
    (RUN + ', "keyword_branch": true}', "would read keyword, words, but the network reads words"),
    (ENCODER_RUN, "names the encoder minilm, but vocabulary.json belongs to a network of words"),
    (RUN.replace("gru", "none") + ', "pooling": "mean"}',
     "says cell none, but the network has gru"),
]
VOCABULARIES = [
    b"[" * 100_000, b'{"size": null, "words": "firewood", "counts": [1, 1, 1, 1, 1, 1, 1, 1]}',
    b'{"size": null, "words": ["a", "a"], "counts": [1, 1]}',
    b'{"size": true, "words": [], "counts": []}',
    b'{"size": null, "words": ["a"], "counts": [1.5]}',
    b'{"size": null, "words": [1], "counts": [1]}',
    b'{"size": null, "words": ["a", "b"], "counts": [1]}',
    b'{"size": -3, "words": ["a"], "counts": [1]}', b'{"words": ["a"], "counts": [1]}',
    b"null", b"\xff"]
RANKS = [b"[]", b'{"fire": "1"}', b'{"fire": true}', b'{"fire": 1.5}', b'{"fire": -1}',
         b'{"fire": 1e999}', b'{"fire": NaN}']
THRESHOLDS = [
    b"3", b'{"temperature": true}', b'{"temperature": Infinity}', b'{"temperature": 1e999}',
    b'{"temperature": 0}', b'{"temperature": ' + b"9" * 400 + b"}",
    b'{"temperature": ' + b"9" * 5000 + b"}", b'{"thresholds": {"0.90": true}}',
    b'{"thresholds": {"0.90": NaN}}', b'{"thresholds": "0.5"}', b'{"thresholds": {"0.90": 1e300}}']
JSON = [ # file, content, what the message says
    *[("config.json", content if isinstance(content, bytes) else content.encode(), sentence)
      for content, sentence in CONFIGS],
    *[(name, b"[" * 100_000, f"{name} is nested too deeply")
      for name in ("ranks.json", "operating.json")],
    *[("vocabulary.json", content, NOT_A_VOCABULARY) for content in VOCABULARIES],
    ("vocabulary.json", b'{"size": null, "words": ["a"], "counts": [1]}',
     "vocabulary.json has 1 words, but the network knows 8"),
    *[("ranks.json", content, "ranks.json") for content in RANKS],
    *[("operating.json", content, "operating.json") for content in THRESHOLDS],
]


def refused(folder, tmp_path, sentence: str) -> None:
    """Check that scoring refuses the run by name and does not touch the output."""
    source = put(tweets(5), tmp_path/"in.csv")
    (tmp_path/"out.csv").write_text("precious")
    with pytest.raises(UserError) as caught:
        score_file(str(source), str(tmp_path/"out.csv"), folder, workers=2)
    said = str(caught.value)
    assert sentence in said and str(folder) in said and "\n" not in said and len(said) < 600, said
    assert "train it" not in said
    assert (tmp_path/"out.csv").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv", "run"]
    with pytest.raises(UserError): score_texts(str(folder), ["fire"], [None])


def keras_refuses(folder) -> None:
    """Check that loading the run with Keras, as for fine-tuning, is refused the same way."""
    with pytest.raises(UserError) as caught: load_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.fixture
def copy(saved, tmp_path):
    """Return a copy of the run that may be damaged."""
    return shutil.copytree(saved, tmp_path/"run")


@pytest.mark.parametrize("kind", WEIGHTS)
def test_hostile_weights(kind, copy, tmp_path):
    change, sentence = WEIGHTS[kind]
    weights(copy, change)
    refused(copy, tmp_path, sentence)
    keras_refuses(copy)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_hostile_archives(kind, copy, tmp_path):
    change, sentence = ARCHIVES[kind]
    change(copy)
    refused(copy, tmp_path, sentence)
    keras_refuses(copy)


@pytest.mark.parametrize("name, content, sentence", JSON,
                         ids=[f"{name} {content[:40]}" for name, content, _ in JSON])
def test_hostile_json(name, content, sentence, copy, tmp_path):
    (copy/name).write_bytes(content)
    if not name.startswith("operating"): keras_refuses(copy)
    with pytest.raises(UserError) as caught:
        score_file(str(put(tweets(5), tmp_path/"in.csv")), str(tmp_path/"out.csv"), copy)
    assert sentence in str(caught.value)
    assert "train it" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "run"]


def test_a_word_network_without_its_vocabulary_is_no_run_on_an_encoder(copy, tmp_path):
    (copy/"vocabulary.json").unlink()
    refused(copy, tmp_path, "vocabulary.json is missing")
    keras_refuses(copy)
    (tmp_path/"out.csv").unlink()
    (copy/"config.json").write_text(ENCODER_RUN)
    refused(copy, tmp_path, "would read states, but the network reads words")
    if installed("minilm"): keras_refuses(copy)  # without it, Keras reports the missing encoder


def test_files_that_are_too_large_are_not_read(copy, tmp_path):
    with open(copy/"ranks.json", "wb") as file: file.truncate(1 << 40)  # a hole: it takes no room
    refused(copy, tmp_path, "ranks.json has 1,099,511,627,776 bytes")


@pytest.mark.parametrize("kind", ["external", "200 TiB"])
def test_the_command_answers_with_one_line_and_exit_code_2(kind, copy, tmp_path):
    weights(copy, WEIGHTS[kind][0])
    answer = run(*command(put(tweets(5), tmp_path/"in.csv"), "--run", copy, "--output",
                          tmp_path/"out.csv"))
    assert (answer.returncode == 2 and WEIGHTS[kind][1] in answer.stderr
            and len(answer.stderr.strip().splitlines()) == 1), answer.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "run"]


def test_a_whole_run_passes_every_check(copy, saved):
    archive(copy, {})
    np.testing.assert_array_equal(score_texts(str(copy), ["fire"], [None]),
                                  score_texts(str(saved), ["fire"], [None]))
    load_model(copy)
