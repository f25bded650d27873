"""Test compact runs: small, read by NumPy alone, close to what they were made of, safe to open."""
import io
import shutil
import sys
import zipfile

import numpy as np
import pytest

from conftest import run as call
from disaster_nbdev.archive import Damaged
from disaster_nbdev.compact import EMBEDDING, compact_weights, quantized, read_compact
from disaster_nbdev.core import UserError
from disaster_nbdev.export import export_run
from disaster_nbdev.featurizer import Featurizer, load_featurizer
from disaster_nbdev.model import build
from disaster_nbdev.run_config import RunConfig
from disaster_nbdev.scoring import is_compact, load_run, score_texts
from disaster_nbdev.training import load_model, save_model
from disaster_nbdev.vocabulary import Vocabulary
from test_inference import KINDS
from test_scoring import WORDS

TEXTS = ["fire storm in town", "party love", "", "flood and fire", "nothing known here"]


def save_random(folder, size=None, **settings):
    """Save a random network as a run."""
    config, rng = RunConfig(hidden_size=4, **settings), np.random.default_rng(1)
    model = build(config, rng.normal(size=(9, 3)).astype("float32"))
    model.set_weights([rng.normal(scale=0.6, size=w.shape).astype("float32")
                       for w in model.get_weights()])
    return save_model(folder, model, Featurizer(config, Vocabulary(tuple(WORDS), (1,) * 8, size)))


@pytest.fixture
def compact(tmp_path):
    """Return the folder of a compact run."""
    save_random(tmp_path/"whole")
    return export_run(str(tmp_path/"whole"), "compact", tmp_path/"compact")


@pytest.mark.parametrize("cell, pooling", KINDS)
def test_probabilities_are_close_to_those_of_the_whole_run(cell, pooling, tmp_path):
    save_random(tmp_path/"whole", cell=cell, pooling=pooling, keyword_branch=True)
    export_run(str(tmp_path/"whole"), "compact", tmp_path/"compact")
    keywords = ["fire", None, "storm", "love", ""]
    whole, small = (score_texts(str(tmp_path/name), TEXTS, keywords)
                    for name in ("whole", "compact"))
    np.testing.assert_allclose(small, whole, atol=0.02)
    assert np.ptp(whole) > 0.01


def test_words_that_are_never_read_are_left_out(tmp_path):
    save_random(tmp_path/"whole", size=5)
    export_run(str(tmp_path/"whole"), "compact", tmp_path/"compact")
    small = load_run(tmp_path/"compact")
    assert load_featurizer(small.files).vocabulary.words == tuple(WORDS)[:4]
    assert read_compact(small.files["network.npz"])[EMBEDDING].shape == (5, 3)
    texts = [" ".join(WORDS), *TEXTS]
    found = [score_texts(str(tmp_path/name), texts, [None] * 6) for name in ("whole", "compact")]
    np.testing.assert_allclose(*found, atol=0.02)


def test_it_is_scored_without_keras(compact, tmp_path):
    script = ("import sys; from disaster_nbdev import Classifier\n"
              "print(Classifier.load(sys.argv[1]).predict_proba(['fire storm'])[0].sum())\n"
              "assert not {'tensorflow', 'keras', 'h5py'} & set(sys.modules)")
    answer = call(sys.executable, "-c", script, str(compact))
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout) == pytest.approx(1)


def test_the_command_writes_and_reads_it(tmp_path):
    save_random(tmp_path/"whole")
    command = "from disaster_nbdev.cli import main; main()"
    made = call(sys.executable, "-c", command, "export", str(tmp_path/"whole"), "--format",
                "compact", "--output", str(tmp_path/"small"))
    assert made.returncode == 0, made.stderr
    (tmp_path/"tweets.csv").write_text("id,text\n1,fire storm\n2,party love\n")
    scored = call(sys.executable, "-c", command, "score", str(tmp_path/"tweets.csv"), "--run",
                  str(tmp_path/"small"))
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout.startswith("id,text,probability,label,priority\n1,fire storm,0.")


@pytest.mark.parametrize("action, said", [
    (lambda folder: export_run(str(folder), "compact", folder.parent/"x"), "is compact already"),
    (lambda folder: export_run(str(folder), "keras", folder.parent/"x"), "Keras cannot load it"),
    (lambda folder: load_model(folder), "Keras cannot load it"),
])
def test_what_a_compact_run_cannot_do_is_one_sentence(action, said, compact):
    with pytest.raises(UserError, match=said): action(compact)
    assert not (compact.parent/"x").exists()


def test_a_whole_network_is_preferred(compact, tmp_path):
    shutil.copy(tmp_path/"whole"/"model.keras", compact)
    assert not is_compact(load_run(compact))


def arrays(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a compact network."""
    with np.load(io.BytesIO(content)) as found: return dict(found)


def packed(**changed) -> bytes:
    """Return an archive of arrays."""
    made = io.BytesIO()
    np.savez_compressed(made, **changed)
    return made.getvalue()


WRONG = {
    "no vectors": (lambda a: a.pop("vectors"), "holds no `vectors`"),
    "other vectors": (lambda a: a.update(vectors=a["vectors"].astype("float32")), "no `vectors`"),
    "one dimension": (lambda a: a.update(vectors=a["vectors"][0]), "holds no `vectors`"),
    "no scale": (lambda a: a.pop("scale"), "holds no `scale`"),
    "other scale": (lambda a: a.update(scale=a["scale"][:-1]), "holds no `scale`"),
    "wide numbers": (lambda a: a.update({"dense/vars/0": np.zeros((2, 2))}), "no weights of type"),
    "a second table": (lambda a: a.update({EMBEDDING: np.zeros((9, 3), "float16")}), "no weights"),
    "a path outside": (lambda a: a.update({"../x": np.zeros(2, "float16")}), "no weights of type"),
    "not a number": (lambda a: a["scale"].fill(np.nan), "scale is not finite"),
    "infinite": (lambda a: a["dense/vars/0"].fill(np.inf), "is not finite"),
    "a missing layer": (lambda a: a.pop("dense/vars/0"), "the weights of the dense layers"),
    "another shape": (lambda a: a.update({"dense/vars/0": np.zeros((2, 2), "float16")}), "shapes"),
    "more words": (lambda a: a.update(vectors=np.zeros((11, 3), "int8")), "has 8 words, but"),
    "objects": (lambda a: a.update(vectors=np.array([{}, []], object)), "not a whole archive"),
}


@pytest.mark.parametrize("change, said", WRONG.values(), ids=WRONG)
def test_a_wrong_network_is_refused(change, said, compact):
    found = arrays((compact/"network.npz").read_bytes())
    change(found)
    (compact/"network.npz").write_bytes(packed(**found))
    with pytest.raises(UserError, match=said) as error:
        score_texts(str(compact), ["fire"], [None])
    assert "\n" not in str(error.value)


def test_damage_at_any_place_is_refused_or_harmless(compact):
    content = (compact/"network.npz").read_bytes()
    for place in range(0, len(content), 37):
        broken = content[:place] + bytes([content[place] ^ 0xff]) + content[place + 1:]
        try: found = read_compact(broken)
        except Damaged: continue
        assert all(np.isfinite(values).all() for values in found.values())


def test_a_file_that_would_fill_the_memory_is_refused():
    bomb = packed(vectors=np.zeros((3_000_000, 10), "int8"))
    assert len(bomb) < 100_000
    with pytest.raises(Damaged, match="would unpack to 30,"): read_compact(bomb)


def test_a_header_that_lies_about_the_size_is_refused():
    made = io.BytesIO()
    head = b"{'descr': '|i1', 'fortran_order': False, 'shape': (99999999999, 9), }"
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("vectors.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little")
                         + head + b"\0" * 100)
    with pytest.raises((Damaged, MemoryError)): read_compact(made.getvalue())


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_few_words_are_rounded_too(rows):
    vectors = np.linspace(-3, 3, rows * 2, dtype="float32").reshape(rows, 2)
    levels, scale = quantized(vectors)
    np.testing.assert_allclose(levels * scale, vectors, atol=0.02)


def test_a_weight_beyond_16_bits_is_refused():
    with pytest.raises(Damaged, match="too large for 16 bits"):
        compact_weights({EMBEDDING: np.zeros((2, 2), "float32"), "dense/vars/0": np.array([7e4])})
