"""Test that `Classifier` gives what `disaster score` gives, for every kind of input."""
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

import disaster_nbdev
from disaster_nbdev import Classifier
from disaster_nbdev.core import UserError
from disaster_nbdev.score_file import score_file
from disaster_nbdev.scoring import ADDED
from test_scoring import saved, tweets  # noqa: F401 (`saved` is a fixture)

TEXTS = ["fire storm", "party love", "calm news fire"]
KEYWORDS = ["fire", "train%20news", None]


@pytest.fixture
def classifier(saved): return Classifier.load(saved)  # noqa: F811


@pytest.mark.parametrize("point", ["balanced", "recall-0.90", "0.2"])
def test_it_decides_as_the_command_does(saved, sample, tmp_path, point):  # noqa: F811
    frame = pd.concat([sample.train, tweets(500)])  # the network knows the words of the latter
    frame[["text", "keyword"]].to_csv(tmp_path/"in.csv", index=False)
    score_file(str(tmp_path/"in.csv"), str(tmp_path/"out.csv"), saved, point=point)
    expected = pd.read_csv(tmp_path/"out.csv")
    found = Classifier.load(saved, point).decide(frame.text, frame.keyword)
    assert list(found) == list(ADDED)
    np.testing.assert_allclose(found.probability, expected.probability, rtol=0, atol=1e-6)
    assert found.label.tolist() == expected.label.tolist()
    assert found.priority.tolist() == expected.priority.tolist()
    assert found.probability.nunique() > 100 and found.priority.nunique() == 3


def test_probabilities_and_labels_are_columns_of_the_decision(classifier):
    found = classifier.decide(TEXTS, KEYWORDS)
    probability = classifier.predict_proba(TEXTS, KEYWORDS)
    np.testing.assert_array_equal(probability[:, 1], found.probability)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert probability.dtype == "float64" and classifier.classes_.tolist() == [0, 1]
    assert classifier.predict(TEXTS, KEYWORDS).tolist() == found.label.tolist()


@pytest.mark.parametrize("kind", [list, tuple, iter, np.array, pd.Series,
                                  lambda values: pd.Series(values, index=[7, 7, 3])])
def test_every_kind_of_sequence_gives_the_same(classifier, kind):
    expected = classifier.predict_proba(TEXTS, KEYWORDS)
    np.testing.assert_array_equal(classifier.predict_proba(kind(TEXTS), kind(KEYWORDS)), expected)


def test_a_missing_keyword_is_empty(classifier):
    expected = classifier.predict_proba(TEXTS, [""] * 3)
    for missing in (None, np.nan, pd.NA):
        np.testing.assert_array_equal(classifier.predict_proba(TEXTS, [missing] * 3), expected)
    np.testing.assert_array_equal(classifier.predict_proba(TEXTS), expected)
    assert (classifier.predict_proba(TEXTS, ["fire"] * 3) != expected).all()


def test_no_tweets(classifier):
    for nothing in ([], np.array([]), pd.Series([], dtype="str")):
        assert classifier.predict_proba(nothing, nothing).shape == (0, 2)
        assert classifier.predict(nothing).tolist() == []
        assert list(classifier.decide(nothing)) == list(ADDED)


@pytest.mark.parametrize("texts, keywords, said", [
    ("fire", None, "Pass a list of texts or a column, not one string"),
    (pd.DataFrame({"text": TEXTS}), None, "not a frame"),
    (["fire", None], None, "Text 1 is None, not a string"),
    (["fire", np.nan], None, "Text 1 is nan, not a string"),
    (np.array([["fire"]]), None, "Text 0 is"), (b"fire", None, "Text 0 is 102"),
    (["fire"] * 4, "fire", "Pass a list of keywords"),
    (["fire"], ["fire", "flood"], "There are 1 texts but 2 keywords.")])
def test_other_input_is_refused(classifier, texts, keywords, said):
    for method in (classifier.predict, classifier.predict_proba, classifier.decide):
        with pytest.raises(UserError) as caught: method(texts, keywords)
        assert said in str(caught.value)


def test_a_run_that_cannot_be_used_is_refused_when_it_is_loaded(saved, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match="There is no saved run"): Classifier.load(tmp_path/"none")
    with pytest.raises(UserError, match="Unknown operating point 'high'"):
        Classifier.load(saved, "high")
    for file in saved.iterdir(): (tmp_path/file.name).write_bytes(file.read_bytes())
    (tmp_path/"model.keras").write_bytes((saved/"model.keras").read_bytes()[:-100])
    with pytest.raises(UserError, match="model.keras is not a whole zip archive"):
        Classifier.load(tmp_path)


def test_scikit_learn_accepts_the_results(classifier):
    frame = tweets(200)
    labels = classifier.predict(frame.text, frame.keyword)
    assert set(labels) == set(classifier.classes_)
    assert accuracy_score(labels, labels) == 1
    assert roc_auc_score(labels, classifier.predict_proba(frame.text, frame.keyword)[:, 1]) == 1


SCRIPT = """
import sys
import disaster_nbdev
print("numpy" in sys.modules)
from disaster_nbdev import Classifier
print(Classifier.load(sys.argv[1]).predict(["fire", "party"]).tolist())
print({"tensorflow", "keras", "matplotlib"} & set(sys.modules))
"""


def test_a_network_that_numpy_computes_needs_no_tensorflow(saved, classifier):  # noqa: F811
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(saved)], capture_output=True,
                          text=True, check=True)
    expected = classifier.predict(["fire", "party"]).tolist()
    assert done.stdout == f"False\n{expected}\nset()\n"


def test_the_package_has_a_docstring_and_no_other_attribute():
    assert disaster_nbdev.__doc__ and disaster_nbdev.__version__
    for name in ("Clasifier", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(disaster_nbdev, name)
