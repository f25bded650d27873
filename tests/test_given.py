"""Check that what a user gives is kept exactly or refused: names, numbers, addresses, dates."""
import base64
import json
import shutil
import sqlite3
from importlib.util import find_spec

import pytest

from conftest import LONG, ROOT, run
from disaster_nbdev.cli import run_parameters
from disaster_nbdev.compare import run_table
from disaster_nbdev.leaderboard import read_leaderboard
from disaster_nbdev.core import UserError, resolve
from disaster_nbdev.data import find
from disaster_nbdev.embedding import check
from disaster_nbdev.recipes import training_job
from disaster_nbdev.launcher import warnings_in
from disaster_nbdev.run_config import RunConfig, from_parameters, run_name

SAMPLE = ROOT/"data"/"sample"


def job(recipe, *words):
    """Return the job of `disaster run RECIPE -p ...`."""
    return training_job(run_parameters(recipe, dict(zip(words[::2], words[1::2]))))


# Names

@pytest.mark.parametrize("recipe, words, page", [
    ("lstm", ("recipe", "mine", "epochs", "1"), "mine-glove"),
    ("lstm", ("recipe", "mine"), "mine-glove"),
    (None, ("recipe", "mine", "epochs", "1"), "mine-glove"),
    ("gru", ("recipe", "007"), "007-glove"), ("gru", ("recipe", "true"), "true-glove"),
    ("gru", ("recipe", "1e5"), "1e5-glove"), ("gru", ("recipe", "None"), "None-glove"),
    ("gru", ("recipe", "1_000"), "1_000-glove"), ("gru", ("recipe", "nan"), "nan-glove"),
    ("gru", ("recipe", "inf"), "inf-glove"), ("gru", ("recipe", "null"), "null-glove"),
    ("gru", (), "gru-glove"), ("gru", ("embedding", "corpus"), "gru-corpus"),
    (None, ("recipe", "gru"), "gru-glove"),
    (None, ("recipe", "lstm", "embedding", "corpus"), "lstm-corpus"),
    (None, ("recipe", "gru", "epochs", "30"), "gru-glove"),
], ids=str)
def test_a_name_is_kept(recipe, words, page):
    assert job(recipe, *words).page == page


def test_without_a_name_a_changed_recipe_is_named_after_its_settings():
    for words in (("epochs", "1"), ("epochs", "1", "recipe", "")):
        made = job("lstm", *words)
        assert made.page.startswith("lstm-")
        assert made.page.endswith("-glove")
        assert made.page != "lstm-glove"
        assert made.parameters["recipe"] == ""
        assert made.parameters["cell"] == "lstm" and made.parameters["epochs"] == 1


@pytest.mark.parametrize("recipe, words, said", [
    ("lstm", ("recipe", "gru"), "The name gru belongs to a recipe in which"),
    ("gru", ("recipe", "gru", "epochs", "1"), "in which epochs is 30, not 1"),
    (None, ("recipe", "gru", "epochs", "1"), "in which epochs is 30, not 1"),
    (None, ("recipe", "gru", "split", "grouped"), "in which split is 'study', not 'grouped'"),
    ("lstm", ("recipe", "~"), "A recipe's name is"),
    ("lstm", ("embedding", ""), "Unknown embedding ''"),
    ("lstm", ("split", "Study"), "Did you mean 'study'?"),
    ("lstm", ("learning_rate", "nan"), "must lie between"),
    ("lstm", ("learning_rate", "inf"), "must lie between"),
    ("lstm", ("learning_rate", "1e400"), "must lie between"),
    ("lstm", ("learning_rate", "9" * 400), "must lie between"),
    ("lstm", ("learning_rate", "0,001"), "must be a number, not '0,001'"),
    ("lstm", ("seed", "-1"), "must lie between"),
    ("lstm", ("epochs", "1e1"), "a whole number, not '1e1'"),
    ("lstm", ("epochs", "2.0"), "a whole number, not '2.0'"),
    ("lstm", ("epochs", "True"), "a whole number, not 'True'"),
    ("lstm", ("epochs", ""), "a whole number, not ''"),
    ("lstm", ("buckets", "1"), "true or false, not '1'"),
    ("lstm", ("buckets", "yes"), "true or false, not 'yes'"),
], ids=str)
def test_what_cannot_be_kept_is_refused(recipe, words, said):
    with pytest.raises(UserError) as caught: job(recipe, *words)
    assert said in str(caught.value)


def test_typed_words_become_what_they_stand_for():
    made = job(None, "recipe", "9", "embedding", "corpus", "epochs", "3", "dropout", "0",
               "learning_rate", "1e-3", "buckets", "FALSE", "batch_size", "1_0")
    assert made.parameters == {"recipe": "9", "embedding": "corpus", "epochs": 3, "dropout": 0.0,
                               "learning_rate": 1e-3, "buckets": False, "batch_size": 10}
    types = [type(made.parameters[name]) for name in ("epochs", "dropout", "buckets")]
    assert types == [int, float, bool]


@pytest.mark.parametrize("value", [7, 1.5, True, None, ["a"]], ids=repr)
def test_what_papermill_has_turned_into_something_else_is_refused_with_the_way_out(value):
    with pytest.raises(UserError, match="recipe must be text, not .*; put it in quotes, or give it "
                                        "to papermill with -r"):
        from_parameters({"recipe": value})


def test_a_parameter_given_twice_is_refused():
    answer = run("disaster", "run", "gru", "-p", "epochs", "1", "-p", "epochs", "2")
    assert answer.returncode == 2
    assert "The parameter epochs is given twice: 1 and 2." in answer.stderr


# Papermill

def test_every_option_of_papermill_works(tmp_path):
    for name in ("train.csv", "test.csv"):
        (tmp_path/"tweets").mkdir(exist_ok=True)
        shutil.copyfile(SAMPLE/name, tmp_path/"tweets"/name)
    (tmp_path/"settings.yaml").write_text("dropout: 0\nhidden_size: 2\nlearning_rate: 1e-3\n",
                                          encoding="utf-8")
    packed = base64.b64encode(b"batch_size: 256\n").decode()
    answer = run("papermill", "nbs/train.ipynb", str(tmp_path/"out.ipynb"), "-r", "recipe", "007",
                 "-r", "epochs", "1", "-f", str(tmp_path/"settings.yaml"),
                 "-y", "{patience: 0, buckets: true}", "-b", packed, "-p", "data", "tweets",
                 "-p", "output", "report", "-p", "finetune", "False", "--cwd", str(tmp_path),
                 "--inject-paths", "--report-mode", "-k", "python3", "--log-output",
                 "--no-progress-bar", "--autosave-cell-every", "0",
                 "--start-timeout", str(LONG), "--execution-timeout", str(LONG))
    assert answer.returncode == 0, answer.stderr
    record = tmp_path/"report"/"runs"/"007-glove"/"run.json"
    config = json.loads(record.read_text(encoding="utf-8"))["config"]
    expected = {"recipe": "007", "epochs": 1, "dropout": 0.0, "hidden_size": 2,
                "learning_rate": 1e-3, "patience": 0, "batch_size": 256, "finetune": False}
    assert {name: config[name] for name in expected} == expected


def test_papermill_may_not_give_other_settings_the_name_of_a_recipe(tmp_path):
    answer = run("papermill", "nbs/train.ipynb", str(tmp_path/"out.ipynb"), "-p", "recipe", "lstm",
                 "-p", "output", str(tmp_path/"report"), "--inject-output-path",
                 DISASTER_DATA=str(SAMPLE))
    assert answer.returncode != 0
    assert "The name lstm belongs to a recipe in which cell is 'lstm', not 'gru'" in answer.stderr
    assert not (tmp_path/"report").exists()


def test_what_papermill_adds_is_no_parameter_of_the_command():
    with pytest.raises(UserError, match="Unknown parameter 'PAPERMILL_INPUT_PATH'"):
        from_parameters({"PAPERMILL_INPUT_PATH": "x"})
    cell = "# Parameters\nPAPERMILL_INPUT_PATH = 'x'\nPAPERMILL_OUTPUT_PATH = 'y'\nepochs = 2\n"
    config = from_parameters({"In": [cell], "epochs": 2, "PAPERMILL_INPUT_PATH": "x"})
    assert config == RunConfig(epochs=2)
    with pytest.raises(UserError, match="Unknown parameter 'PAPERMILL_PATH'"):
        from_parameters({"In": ["# Parameters\nPAPERMILL_PATH = 'x'\n"], "PAPERMILL_PATH": "x"})


# Addresses

@pytest.mark.parametrize("address", [
    "https://example.org/train.csv", "s3://bucket/data", "tcp://host:8786", "file:///tmp/x"])
def test_an_address_is_no_folder_and_no_vector_file(address):
    for call in (resolve, find, check):
        with pytest.raises(UserError, match="is an address, and a file or folder of this machine "
                                            "is needed: fetch it first"):
            call(address)
    answer = run("disaster", "data", "show", "--data", address)
    assert answer.returncode == 2 and "is an address" in answer.stderr


def test_the_address_of_an_encoder_is_a_name():
    assert check("hf://vinai/bertweet-base")
    assert run_name(RunConfig(embedding="hf://a/b")).endswith("-hf___a_b")


def test_a_search_takes_a_file_or_a_database(tmp_path, monkeypatch):
    if not find_spec("optuna"): pytest.skip("Optuna is not installed")
    from disaster_nbdev.tuning import study_in
    monkeypatch.chdir(tmp_path)
    facts = {"configuration": vars(RunConfig()), "data": {}, "number of folds": 2, "code": "x"}
    study = study_in("sqlite:///search.db", facts)
    study.tell(study.ask(), 0.5)
    assert len(study_in("sqlite:///search.db", facts).trials) >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["search.db"]
    studies = sqlite3.connect(tmp_path/"search.db").execute("SELECT count(*) FROM studies")
    assert studies.fetchone() == (1,)
    with pytest.raises(UserError, match="was begun with another number of folds"):
        study_in("sqlite:///search.db", {**facts, "number of folds": 3})
    study_in("plain.journal", facts)
    assert (tmp_path/"plain.journal").is_file()
    (tmp_path/"notes.txt").write_text("no database", encoding="utf-8")
    for place, said in [("hf://a/b", "is a file, or a database such as sqlite:///search.db"),
                        ("tcp://host:1", "not tcp://host:1"),
                        ("redis://host", "is a file, or a database"),
                        ("sqlite:search.db", "sqlite:search.db cannot be used"),
                        ("sqlite:////no/such/folder/x.db", "cannot be used for a search"),
                        ("sqlite:///notes.txt", "cannot be used for a search"),
                        ("mysql+nosuchdriver://u:secret@h/d", "cannot be used for a search"),
                        ("postgresql://u:secret@host/d", "pip install")]:
        with pytest.raises(UserError) as caught: study_in(place, facts)
        assert said in str(caught.value) and "secret" not in str(caught.value), caught.value


# The leaderboard

@pytest.mark.parametrize("row, said", [
    ("gru,0.8,01/02/2026",
     "row 3: a date is written as year-month-day, such as 2026-01-31, not '01/02/2026'"),
    ("gru,0.8,", "not ''"), ("gru,0.8,2026-13-01", "not '2026-13-01'"),
    ("gru,0.8,20260101", "not '20260101'"),
    ("gru,80%,2026-01-01", "a fraction of 1, such as 0.79619, not '80%'"),
    ('gru,"0,8",2026-01-01', "not '0,8'"), ("gru,80,2026-01-01", "not '80'"),
    ("gru,nan,2026-01-01", "not 'nan'"), ("gru,,2026-01-01", "not ''"),
    ("gru,-0.1,2026-01-01", "not '-0.1'"), (",0.8,2026-01-01", "the name of the run is missing")])
def test_a_row_of_the_leaderboard_that_cannot_be_meant_is_refused(tmp_path, row, said):
    (tmp_path/"leaderboard.csv").write_text(f"run,score,date\nlstm,0.5,2026-01-02 10:30\n{row}\n",
                                            encoding="utf-8")
    with pytest.raises(UserError, match="leaderboard.csv, row 3: ") as caught:
        read_leaderboard(tmp_path)
    assert said in str(caught.value)


def test_the_latest_score_of_a_run_counts(tmp_path):
    rows = " a ,0.5,2026-01-02 10:30\na,0.4,2026-01-02\nb,0.3,2026-01-01T00:00:01\n"
    (tmp_path/"leaderboard.csv").write_text(f"run,score,date\n{rows}", encoding="utf-8")
    assert read_leaderboard(tmp_path) == {"a": 0.5, "b": 0.3}


def test_a_comparison_needs_a_record():
    with pytest.raises(UserError, match="There is no record to compare yet"):
        run_table([], {"a": 0.5})


def test_warnings_of_a_log_are_listed_once(tmp_path):
    log = tmp_path/"x.log"
    log.write_text("Warning: one\nelse\nWarning: one\nWarning: two", encoding="utf-8")
    assert warnings_in(log) == ["Warning: one", "Warning: two"]
