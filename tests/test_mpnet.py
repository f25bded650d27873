"""Compare MPNet's hidden states with those of Hugging Face's transformers for the same weights.

`mpnet_reference.json`, made with version 5.24, holds the states of a tiny network, whose weights
NumPy draws from a fixed seed, and the first two numbers of each state of the pretrained network.
"""
import json
from pathlib import Path

import numpy as np
import pytest

from disaster_nbdev import mpnet, pretrained
from disaster_nbdev.backend import keras
from disaster_nbdev.core import UserError

REFERENCE = json.loads(Path(__file__).with_name("mpnet_reference.json").read_text())
TINY = mpnet.Sizes(words=30, dim=8, heads=2, inner=16, layers=2)


def tiny() -> keras.Model:
    """Return the tiny network with its weights."""
    draw = np.random.RandomState(0)
    shapes = REFERENCE["tiny"]["shapes"]
    arrays = {name: (draw.normal(size=shapes[name]) * 0.5).astype("float32")
              for name in sorted(shapes)}
    model = mpnet.build(TINY)
    mpnet.set_weights(model, arrays)
    return model


def all_states(model: keras.Model, ids: np.ndarray) -> list[np.ndarray]:
    """Return the hidden states before the first layer and after each layer."""
    outputs = keras.Model(model.input, mpnet.layer_outputs(model))
    mask = (ids != 1).astype("int32")
    return [np.asarray(states) for states in
            outputs({"token_ids": ids, "padding_mask": mask}, training=False)]


def test_a_tiny_network_has_the_states_that_another_program_computes():
    ids = np.array(REFERENCE["tiny"]["ids"])
    found = all_states(tiny(), ids)
    assert len(found) == len(REFERENCE["tiny"]["states"]) == 3
    for states, expected in zip(found, REFERENCE["tiny"]["states"]):
        np.testing.assert_allclose(states[ids != 1], np.array(expected)[ids != 1], atol=1e-4)


def test_states_do_not_depend_on_padding_or_on_other_rows():
    model, ids = tiny(), np.array(REFERENCE["tiny"]["ids"])
    alone = all_states(model, ids[1:, :4])[-1]
    together = all_states(model, ids)[-1]
    np.testing.assert_allclose(alone[0], together[1, :4], atol=1e-5)


def test_the_upper_layers_continue_from_the_states_of_the_lower_ones():
    model, ids = tiny(), np.array(REFERENCE["tiny"]["ids"])
    lower, last = all_states(model, ids)[1:]
    inputs = [mpnet.layer_outputs(model)[1], model.input["padding_mask"]]
    upper = keras.Model(inputs, model.output)
    found = np.asarray(upper([lower, (ids != 1).astype("int32")], training=False))
    np.testing.assert_allclose(found, last, atol=1e-5)


def test_a_saved_network_needs_no_class_of_this_package(tmp_path):
    model, ids = tiny(), np.array(REFERENCE["tiny"]["ids"])
    model.save(tmp_path/"tiny.keras")
    again = keras.models.load_model(tmp_path/"tiny.keras")
    for one, other in zip(all_states(model, ids), all_states(again, ids)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("missing", pretrained.PIECES)
def test_one_missing_wheel_is_one_sentence(missing, monkeypatch):
    whole = pretrained._piece
    monkeypatch.setattr(pretrained, "_piece", lambda name: [] if name == missing else whole(name))
    with pytest.raises(UserError, match="mpnet is not installed: run make encoder-large"):
        pretrained.ENCODERS["mpnet"].backbone()


if pretrained.installed("mpnet"):  # the weights are 405 MB, which CI does not download
    @pytest.fixture(scope="module")
    def published() -> keras.Model:
        """Load the pretrained network."""
        return pretrained.ENCODERS["mpnet"].backbone()

    @pytest.mark.parametrize("case", REFERENCE["pretrained"], ids=lambda case: case["text"][:12])
    def test_pretrained_tokens_and_states_are_those_of_another_program(case, published):
        tokens = pretrained.tokenizer("mpnet")
        row = [tokens.cls_token_id, *map(int, tokens([case["text"]])[0]), tokens.sep_token_id]
        assert row == case["ids"]
        found = all_states(published, np.array([row]))
        for states, expected in zip(found, case["states"], strict=True):
            np.testing.assert_allclose(states[0, :, :2], expected, atol=1e-4)

    def test_changed_weights_are_refused(monkeypatch):
        whole = pretrained._member
        monkeypatch.setattr(pretrained, "_member", lambda name: whole(name)[:-1] + b"!")
        with pytest.raises(UserError, match="are not the published ones"):
            pretrained.ENCODERS["mpnet"].backbone()
