"""Test training the upper layers of an encoder on states of the lower ones."""
import dataclasses

import numpy as np
import pytest

from disaster_nbdev.backend import keras
from disaster_nbdev.core import UserError
from disaster_nbdev.data import Dataset
from disaster_nbdev.fallback import opened_keras
from disaster_nbdev.featurizer import run_files
from disaster_nbdev.model import LayerwiseAdamW, parameter_counts, predict
from disaster_nbdev.pretrained import installed
from disaster_nbdev.run_config import RunConfig, validated
from disaster_nbdev.training import fit, network, prepare, save_model

UPPER = RunConfig(cell="none", pooling="mean", embedding="minilm", finetune=True, finetune_layers=2,
                  layer_decay=0.5, cleaning="aware", optimizer="adamw", learning_rate=1e-4,
                  schedule="linear", batch_size=32, epochs=1, patience=0)


@pytest.mark.parametrize("changes, said", [
    ({"finetune": False}, "finetune_layers is the number of an encoder's layers that are trained"),
    ({"embedding": "glove"}, "finetune_layers is the number of an encoder's layers that are"),
    ({"optimizer": "adam"}, "layer_decay slows the lower layers of an encoder"),
    ({"finetune_layers": -1}, "finetune_layers must lie between 0 and"),
    ({"layer_decay": 1.5}, "layer_decay must lie between 0.01 and 1, not 1.5"),
])
def test_settings_that_do_not_fit_are_one_sentence(changes, said):
    with pytest.raises(UserError, match=said):
        validated(dataclasses.replace(UPPER, **changes))


def test_a_lower_layer_learns_more_slowly():
    dense = [keras.layers.Dense(2, name=f"layer_{k}_up") for k in range(3)]
    head = keras.layers.Dense(1, name="probability")
    model = keras.Sequential([keras.layers.Input((2,)), *dense, head])
    before = [np.array(each) for each in model.get_weights()]
    # without weight decay, the first step of Adam has the size of the learning rate
    optimizer = LayerwiseAdamW(0.1, layer_decay=0.5, weight_decay=0.0)
    optimizer.apply([keras.ops.ones_like(each) for each in model.trainable_variables],
                    model.trainable_variables)
    steps = [np.abs(new - old).max() for old, new in zip(before, model.get_weights())][::2]
    np.testing.assert_allclose(steps, [0.025, 0.05, 0.1, 0.1], rtol=1e-4)


def test_upper_layers_train_are_saved_and_score_the_same(sample, tmp_path):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    few = Dataset("custom", tmp_path, sample.train.head(120), sample.test.head(20), {})
    prepared = prepare(UPPER, few)
    assert list(prepared.inputs["train"]) == ["states"]
    model = network(UPPER, prepared)
    counts = parameter_counts(model)
    assert counts["total"] == counts["trainable"] < 4_000_000, "two of six layers, no word table"
    before = model.get_weights()
    fit(model, prepared, UPPER)
    assert sum(np.abs(new - old).max() > 0 for new, old in zip(model.get_weights(), before)) > 20
    folder = save_model(tmp_path/"run", model, prepared.featurizer)
    opened = opened_keras(run_files(folder), folder)
    frame = prepared.frames["validation"]
    found = opened.score(list(frame["text"]), list(frame["keyword"]))
    expected = predict(model, prepared.inputs["validation"])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert abs(opened.alone(frame["text"].iloc[0], "") - found[0]) < 1e-4


def test_more_layers_than_there_are_is_one_sentence(sample, tmp_path):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    few = Dataset("custom", tmp_path, sample.train.head(40), sample.test.head(5), {})
    with pytest.raises(UserError, match="has 6 layers, so finetune_layers must be at most 6"):
        prepare(dataclasses.replace(UPPER, finetune_layers=7), few)
