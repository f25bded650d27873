"""Run the training notebook with papermill: whole records, clear errors, nothing half written."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, run, slow
from disaster_nbdev.pretrained import installed
from disaster_nbdev.calibration import temperature_scaled

SMALL = ["-p", "epochs", "1", "-p", "hidden_size", "2", "-p", "batch_size", "256"]


def papermill(folder: Path, notebook: str, out: Path, *words: str,
              data: Path = ROOT/"data"/"sample"):
    """Run papermill in `folder` on the data in `data`, with the report next to the output."""
    return run("papermill", notebook, str(out/"out.ipynb"), "-p", "output", str(out/"report"),
               *words, folder=folder, DISASTER_DATA=str(data))


@pytest.mark.parametrize("folder, notebook",
                         [slow(ROOT, "nbs/train.ipynb"), (ROOT/"nbs", "train.ipynb")],
                         ids=["from the root", "from nbs"])
def test_a_run_writes_a_whole_record(folder, notebook, tmp_path, sample):
    answer = papermill(folder, notebook, tmp_path, "-p", "cell", "gru", "-p", "recipe", "tiny",
                       *SMALL)
    assert answer.returncode == 0, answer.stderr
    record = tmp_path/"report"/"runs"/"tiny-glove"
    facts = json.loads((record/"run.json").read_text())
    config = {"recipe": "tiny", "cell": "gru", "embedding": "glove", "epochs": 1}
    assert config.items() <= facts["config"].items()
    assert 0 < facts["metrics"]["validation"]["accuracy"] < 1
    assert facts["seconds_per_epoch"] > 0
    assert facts["parameters"]["total"] > facts["parameters"]["trainable"] > 0
    assert facts["data"]["train_sha256"] == sample.fingerprint["train_sha256"]
    assert len(pd.read_csv(record/"history.csv")) == 1
    assert pd.read_csv(record/"submission.csv").id.tolist() == sample.test.id.tolist()
    both = pd.concat([pd.read_csv(record/f"predictions_{part}.csv")
                      for part in ("train", "validation")])
    assert sorted(both.id) == sorted(sample.train.id) and both.probability.between(0, 1).all()
    assert (tmp_path/"report"/"models"/"tiny-glove"/"model.keras").is_file()
    errors = [o for c in json.loads((tmp_path/"out.ipynb").read_text())["cells"]
              for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert errors == [], "the reader of a report sees no warnings"


@pytest.mark.parametrize("words, said", [
    (["-p", "cel", "lstm"], "Unknown parameter 'cel'"),
    (["-p", "cell", "lstn"],
     "Unknown cell 'lstn': choose one of lstm, gru, rnn, none. Did you mean 'lstm'?"),
    slow(["-p", "embedding", "glov"], "glov"),
    slow(["-p", "epochs", "many"], "epochs must be a whole number, not 'many'."),
    slow(["-p", "learning_rate", "-1"], "learning_rate must lie between"),
    slow(["-p", "finetune_from", "nobody"], "train it first"),
    (["-p", "data", "no/such/folder"], "There is no train.csv in"),
], ids=lambda value: "-".join(value[1:]) if isinstance(value, list) else "")
def test_a_mistake_is_one_sentence_and_leaves_nothing(words, said, tmp_path):
    answer = papermill(ROOT, "nbs/train.ipynb", tmp_path, *words)
    assert answer.returncode != 0
    assert said in answer.stderr
    assert "UserError" in answer.stderr
    assert not (tmp_path/"report"/"runs").exists()


@pytest.mark.parametrize("words, split, cleaning", [
    slow(["-p", "split", "grouped"], "grouped", "study"),
    slow(["-p", "split", "keyword"], "keyword", "study"),
    (["-p", "cleaning", "aware", "-p", "use_keyword", "true", "-p", "words_from", "all",
      "-p", "vocabulary_size", "0", "-p", "pooling", "attention"], "study", "aware"),
    slow(["-p", "embedding", "glove+corpus", "-p", "keyword_branch", "true", "-p", "cell", "lstm"],
         "study", "study"),
], ids=["grouped", "keyword", "aware", "joined"])
def test_what_goes_beyond_the_study(words, split, cleaning, tmp_path):
    answer = papermill(ROOT, "nbs/train.ipynb", tmp_path, *words, "-p", "recipe", "beyond", *SMALL)
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(next((tmp_path/"report"/"runs").glob("beyond-*/run.json")).read_text())
    assert (facts["config"]["split"], facts["config"]["cleaning"]) == (split, cleaning)
    assert set(facts["operating"]) == {"temperature", "thresholds", "fitted_on"}
    assert facts["coverage"]["running"] > 0.5


FINETUNED = ["-p", "cell", "none", "-p", "pooling", "mean", "-p", "finetune", "true"]


@pytest.mark.parametrize("words", [slow(["-p", "cell", "gru"]), FINETUNED],
                         ids=["frozen", "finetuned"])
def test_an_encoder_trains_is_saved_and_scores_what_the_record_says(words, tmp_path, sample):
    if not installed("minilm"): pytest.skip("the extra `encoder` is not installed")
    data = tmp_path/"data"
    data.mkdir()
    sample.train.head(250).to_csv(data/"train.csv", index=False)
    sample.test.head(40).to_csv(data/"test.csv", index=False)
    answer = papermill(ROOT, "nbs/train.ipynb", tmp_path, "-p", "embedding", "minilm", *words, "-p",
                       "recipe", "encoder", *SMALL, data=data)
    assert answer.returncode == 0, answer.stderr
    saved = tmp_path/"report"/"models"/"encoder-minilm"
    record = tmp_path/"report"/"runs"/"encoder-minilm"
    recorded = pd.read_csv(record/"predictions_test.csv")
    temperature = json.loads((record/"run.json").read_text())["operating"]["temperature"]
    answer = run("disaster", "score", str(data/"test.csv"), "--run", str(saved), "--output",
                 str(tmp_path/"scored.csv"))
    assert answer.returncode == 0, answer.stderr
    scored = pd.read_csv(tmp_path/"scored.csv")
    assert scored.id.tolist() == recorded.id.tolist()
    assert scored.label.tolist() == recorded.label.tolist()
    # a record holds probabilities before calibration
    expected = temperature_scaled(recorded.probability.to_numpy(), temperature)
    assert np.abs(scored.probability - expected).max() < 1e-4


def test_help_shows_every_parameter_with_its_meaning():
    answer = run("papermill", "--help-notebook", "nbs/train.ipynb")
    for name in ("cell", "embedding", "finetune", "finetune_from", "cleaning", "use_keyword",
                 "hidden_size", "dropout", "input_dropout", "recurrent_dropout", "optimizer",
                 "learning_rate", "batch_size", "epochs", "patience", "vocabulary_size", "split",
                 "seed", "data", "output"):
        line = next(line for line in answer.stdout.splitlines()
                    if line.strip().startswith(f"{name}:"))
        assert "default" in line, line
    assert "recurrent cell: lstm, gru or rnn" in answer.stdout


def test_odd_tweets_train_and_score(tmp_path):
    """Check tweets with no known word, with 100,000 characters, and hostile ones."""
    odd = ["\U0001F525\U0001F525", "fire " * 20_000, "<script>alert(1)</script>", "\u202Eerif",
           "=1+1", "{{ x }} $y$", "a\nb\tc"]
    rows = [(i, "", "", odd[i % len(odd)] if i % 5 == 0
             else f"{'fire' if i % 2 else 'party'} number {i}", i % 2) for i in range(200)]
    data = tmp_path/"data"
    data.mkdir()
    table = pd.DataFrame(rows, columns=["id", "keyword", "location", "text", "target"])
    table.to_csv(data/"train.csv", index=False)
    table.drop(columns="target").assign(id=table.id + 1000).to_csv(data/"test.csv", index=False)
    answer = papermill(ROOT, "nbs/train.ipynb", tmp_path, "-p", "recipe", "odd", *SMALL, data=data)
    assert answer.returncode == 0, answer.stderr
    assert len(pd.read_csv(tmp_path/"report"/"runs"/"odd-glove"/"predictions_test.csv")) == 200
