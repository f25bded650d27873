"""Test the run that comes with the package: small, current, and as good as its record says."""
import numpy as np
import pytest

from conftest import ROOT
from disaster_nbdev import Classifier
from disaster_nbdev.data import load
from disaster_nbdev.featurizer import STUDENT, shipped_folder
from disaster_nbdev.metrics import predicted
from disaster_nbdev.record import read_record, report_folder
from disaster_nbdev.scoring import find_run, is_compact, load_run, runs_on_numpy, score_texts
from disaster_nbdev.split import parts
from disaster_nbdev.student import shipped_bytes, shipped_config, shipped_name, student_text

TWEETS = {"Forest fire near La Ronge Sask. Canada": 1, "The crowd is on fire tonight": 0,
          "Earthquake of magnitude 6.1 kills 12 in Nepal": 1, "this mixtape is fire": 0}


def test_it_is_small_and_computed_by_numpy():
    assert sum(shipped_bytes().values()) <= 1_000_000
    saved = load_run(find_run(STUDENT))
    assert find_run(STUDENT) == shipped_folder() and is_compact(saved) and runs_on_numpy(saved)


def test_it_was_trained_with_the_cleaning_code_of_the_package():
    """`load_run` refuses a run of other cleaning code; then `make student` is due."""
    assert Classifier.load(STUDENT).predict(list(TWEETS)).tolist() == list(TWEETS.values())


def test_its_settings_are_those_of_a_recipe():
    from disaster_nbdev.recipes import read_matrix, recipe_parameters
    from disaster_nbdev.run_config import RunConfig, from_parameters
    config = RunConfig(**shipped_config())
    assert config == from_parameters(recipe_parameters(read_matrix(), config.recipe))


def test_it_is_the_recorded_run_up_to_rounding():
    if not (ROOT/"reports"/"kaggle"/"runs"/shipped_name()).is_dir():
        pytest.fail("the run that the package brings is not among the published records")
    record = read_record(report_folder("kaggle")/"runs"/shipped_name())
    dataset = load()
    if dataset.name != "kaggle": pytest.skip("needs Kaggle's files")
    tweets = parts(dataset)["validation"].set_index("id")
    expected = record.predictions("validation").set_index("id")
    tweets = tweets.loc[expected.index]
    found = score_texts(str(shipped_folder()), tweets["text"].tolist(), tweets["keyword"].tolist())
    difference = np.abs(found - expected["probability"])
    assert difference.max() < 0.05 and difference.mean() < 0.003
    assert (predicted(found) == expected["label"]).mean() > 0.995
    accuracy = (predicted(found) == tweets["target"]).mean()
    assert abs(accuracy - record.run["metrics"]["validation"]["accuracy"]) < 0.003


def test_the_model_card_shows_its_figures():
    text = student_text(report_folder("kaggle"))
    assert shipped_name() in text and "validation accuracy" in text
    assert text in (ROOT/"MODEL_CARD.md").read_text(encoding="utf-8")


def test_a_report_without_its_record_says_so(tmp_path):
    assert student_text(tmp_path).endswith("is not recorded here.")
