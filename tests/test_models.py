"""Check the study's five networks on the study's data: sizes, and independence of padding."""
import numpy as np
import pytest

from disaster_nbdev.clean import clean
from disaster_nbdev.compare import STUDY
from disaster_nbdev.model import build, parameter_counts, predict
from disaster_nbdev.recipes import read_matrix, recipe_parameters
from disaster_nbdev.split import split
from disaster_nbdev.run_config import from_parameters
from disaster_nbdev.vocabulary import build_vocabulary, encode

EMBED_DIM = {"word2vec": 300, "glove-twitter": 200}


@pytest.fixture(scope="module")
def vocabulary(kaggle):
    """Return the vocabulary of the study's training part."""
    return build_vocabulary(clean(split(kaggle.train)[0].text), size=5677)


def random_matrix(rows: int, embed_dim: int) -> np.ndarray:
    """Return random embeddings in place of a file of several GB; sizes do not depend on values."""
    matrix = np.random.default_rng(0).normal(size=(rows, embed_dim)).astype("float32")
    matrix[0] = 0
    return matrix


@pytest.mark.parametrize("study", STUDY.to_dict("records"),
                         ids=lambda row: f"{row['recipe']}-{row['embedding']}")
def test_parameters_total_and_trainable(study, vocabulary):
    matrix = random_matrix(vocabulary.rows, EMBED_DIM[study["embedding"]])
    assert matrix.shape[0] == 11_970
    config = from_parameters(recipe_parameters(read_matrix(), study["recipe"],
                                               embedding=study["embedding"]))
    assert (parameter_counts(build(config, matrix))
            == {"total": study["parameters"], "trainable": study["trainable"]})


@pytest.mark.parametrize("recipe", ["lstm", "lstm-dropout", "gru"])
def test_padding_to_the_longest_tweet_predicts_as_padding_to_100(recipe, kaggle, vocabulary):
    config = from_parameters(recipe_parameters(read_matrix(), recipe))
    model = build(config, random_matrix(vocabulary.rows, 50))
    texts = clean(kaggle.test.text.head(400))
    short, long = encode(vocabulary, texts, seq_len=31), encode(vocabulary, texts, seq_len=100)
    assert short.shape == (400, 31) and long.shape == (400, 100)
    # not our own `predict`, which cuts off the padding
    padded = model.predict({"words": long}, verbose=0)[:, 0]
    np.testing.assert_allclose(predict(model, {"words": short}), padded, atol=1e-6)


def test_the_matrix_reproduces_the_studys_recipes():
    recipes = read_matrix()["recipes"]
    assert set(recipes) >= {"lstm", "lstm-dropout", "gru", "gru-finetuned"}
    lstm, dropout, gru, tuned = (from_parameters(recipe_parameters(read_matrix(), name))
                                 for name in ("lstm", "lstm-dropout", "gru", "gru-finetuned"))
    assert ((lstm.cell, lstm.batch_size, lstm.epochs, lstm.learning_rate, lstm.dropout)
            == ("lstm", 32, 30, 1e-4, 0.3))
    assert ((dropout.input_dropout, dropout.recurrent_dropout, dropout.batch_size, dropout.epochs)
            == (0.2, 0.2, 64, 20))
    assert (gru.cell, gru.batch_size, gru.epochs, gru.patience) == ("gru", 64, 30, 5)
    assert ((tuned.finetune, tuned.finetune_from, tuned.learning_rate, tuned.epochs)
            == (True, "gru", 5e-5, 3))
