"""Check that a run gives the same result alone, repeated, in a fold, and with any cache."""
import dataclasses
import json
import random
import sys

import numpy as np
import pytest

from conftest import ROOT, run, slow
from disaster_nbdev import backend, encoder, model, training
from disaster_nbdev.data import Dataset, load
from disaster_nbdev.pretrained import installed
from disaster_nbdev.experiment import cross_validate, network_trainer, repeated_evaluation
from disaster_nbdev.split import grouped_folds, parts
from disaster_nbdev.run_config import RunConfig

NEAR = dict(rtol=0, atol=1e-6)  # probabilities of the same training on the same machine

# few batches: each width costs a compilation
SMALL = RunConfig(pooling="attention", embedding="glove+corpus", cleaning="aware", use_keyword=True,
                  words_from="all", vocabulary_size=0, hidden_size=8, dropout=0.3,
                  input_dropout=0.2, recurrent_dropout=0.2, optimizer="adamw", learning_rate=0.01,
                  schedule="linear", batch_size=80, epochs=2, patience=0)

CHANGES = {
    "compiled loop": {},
    "static vectors": {"embedding": "glove+minilm-static", "pooling": "both", "fused": False},
    "encoder": {"embedding": "minilm", "use_keyword": False},
    "trained embeddings": {"cell": "lstm", "fused": False, "buckets": False, "embedding": "corpus",
                           "finetune": True, "words_from": "train", "patience": 1}}


def settings(name: str) -> RunConfig:
    """Return one of the configurations; skip it without the extra `encoder` if it needs it."""
    config = dataclasses.replace(SMALL, **CHANGES[name])
    if "minilm" in config.embedding and not installed("minilm"):
        pytest.skip("the extra `encoder` is not installed")
    return config


def few(rows: int = 200) -> Dataset:
    """Return the first tweets of the sample."""
    sample = load(ROOT/"data"/"sample")
    return dataclasses.replace(sample, train=sample.train.head(rows),
                               test=sample.test.head(rows // 2))


def single(config: RunConfig, dataset: Dataset) -> np.ndarray:
    """Train as train.ipynb does, and return the probabilities of the validation tweets."""
    prepared = training.prepare(config, dataset)
    network = training.network(config, prepared)
    training.fit(network, prepared, config)
    return model.predict(network, prepared.inputs["validation"])


SINGLE = """
import json, sys, numpy as np
tests, folder = sys.argv[1:]
sys.path.insert(0, tests)
from test_repeats import RunConfig, few, single
config = RunConfig(**json.load(open(f"{folder}/config.json")))
np.save(f"{folder}/alone.npy", single(config, few()))
"""


def single_elsewhere(config: RunConfig, folder) -> np.ndarray:
    """Do the same in a new process with an empty cache."""
    (folder/"config.json").write_text(json.dumps(dataclasses.asdict(config)))
    answer = run(sys.executable, "-c", SINGLE, str(ROOT/"tests"), str(folder),
                 XDG_CACHE_HOME=str(folder/"cache"))
    assert answer.returncode == 0, answer.stderr[-2000:]
    return np.load(folder/"alone.npy")


@pytest.mark.parametrize("name", [name if name == "compiled loop" else slow(name)
                                  for name in CHANGES])
def test_a_single_run_is_the_same_run_inside_a_repetition(name, tmp_path, monkeypatch):
    config, dataset = settings(name), few()
    alone = single_elsewhere(config, tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))  # filled by now
    table = repeated_evaluation(network_trainer(config), dataset, ["study"], [42, 7, 42])
    first, other, third = table["probability"].to_numpy().reshape(3, -1)
    np.testing.assert_allclose(first, alone, **NEAR)
    np.testing.assert_allclose(third, alone, **NEAR)
    assert np.abs(other - alone).max() > 1e-3, "another seed must be another training"
    assert (table["id"].to_numpy()[:len(alone)] == parts(dataset)["validation"]["id"]).all()


@pytest.mark.slow
def test_other_trainings_in_the_process_leave_no_trace():
    config, dataset = settings("compiled loop"), few()
    first = single(config, dataset)
    single(dataclasses.replace(config, cell="lstm", hidden_size=4, batch_size=160, epochs=1,
                               seed=1), dataset)
    single(dataclasses.replace(config, pooling="last", fused=False, buckets=False, finetune=True,
                               epochs=1), dataset)
    for draw in (random.random, np.random.random, lambda: backend.keras.random.uniform((3,))):
        draw()  # other users of the global generators
    np.testing.assert_allclose(single(config, dataset), first, **NEAR)


def test_splits_do_not_depend_on_their_order():
    config, dataset = dataclasses.replace(SMALL, cell="none"), few()
    table = repeated_evaluation(network_trainer(config), dataset, ["study", "keyword"], [42])
    alone = single(dataclasses.replace(config, split="keyword"), dataset)
    np.testing.assert_allclose(table[table["split"] == "keyword"]["probability"], alone, **NEAR)


def test_a_member_of_a_fold_is_a_training_of_its_own():
    config, dataset, seed = dataclasses.replace(SMALL, cell="none"), few(), 5
    fitted = cross_validate(network_trainer(config, members=2), dataset, folds=2, seed=seed)
    kept, held = list(grouped_folds(dataset.train, 2, seed))[1]
    frames = {"train": dataset.train.iloc[kept], "validation": dataset.train.iloc[held],
              "test": dataset.test}
    members = [network_trainer(config)(frames, seed + 1 + 1000*member)["validation"]
               for member in (1, 0)]
    np.testing.assert_allclose(np.mean(members, axis=0), fitted.out_of_fold[held], **NEAR)


def test_the_words_of_the_test_tweets_are_in_every_training(monkeypatch):
    config, dataset, seen = dataclasses.replace(SMALL, cell="none"), few(), []
    made = training.read_words
    monkeypatch.setattr(training, "read_words",
                        lambda *given: seen.append(made(*given)) or seen[-1])
    monkeypatch.setattr(training, "fit", lambda *given: None)
    training.prepare(config, dataset)
    repeated_evaluation(network_trainer(config), dataset, ["study"], [42])
    (one, vectors), (other, again) = seen
    assert one.vocabulary == other.vocabulary
    assert one.ranks == other.ranks
    assert np.array_equal(vectors, again)


@pytest.mark.parametrize("name",
                         ["OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "ONEDNN_MAX_CPU_ISA"])
def test_what_other_threads_have_computed_is_not_taken_from_the_cache(name, monkeypatch):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    before = encoder.cache_file("static", "minilm", ["fire"])
    monkeypatch.setenv(name, "AVX2" if name == "ONEDNN_MAX_CPU_ISA" else "61")
    assert encoder.cache_file("static", "minilm", ["fire"]) != before
