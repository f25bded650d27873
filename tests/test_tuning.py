"""Check the search for settings: storage, interruptions, several processes, and hidden tweets."""
import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from conftest import LONG, ROOT, run
from disaster_nbdev import tuning, tuning_figures
from disaster_nbdev.data import Dataset
from disaster_nbdev.core import UserError
from disaster_nbdev.split import split
from disaster_nbdev.quality import near_duplicate_groups
from disaster_nbdev.run_config import RunConfig, validated


@pytest.fixture(autouse=True)
def optuna():
    """Return Optuna, which comes with the extra `tune`."""
    if not find_spec("optuna"): pytest.skip("Optuna is not installed")
    import optuna
    return optuna


@pytest.fixture
def toy(tmp_path):
    """Return tweets whose label depends on one word, some with near-duplicates, and vectors."""
    (tmp_path/"vectors.txt").write_text("fire 1 0\nparty 0 1\nat 0.1 0.1\n")
    rows = pd.DataFrame({"id": range(160), "keyword": None, "location": None,
                         "target": [i % 2 for i in range(160)],
                         "text": [f"{'fire' if i % 2 else 'party'} at {'abcdefghij'[i % 10] * 9} "
                                  f"{'klmnopqrstuvwxyz'[i // 10] * 9}" for i in range(160)]})
    copies = rows.head(30).assign(id=range(200, 230), text=rows.text.head(30) + " http://t.co/x")
    return Dataset("custom", tmp_path, pd.concat([rows, copies], ignore_index=True),
                   rows.drop(columns="target").head(5), {"train_sha256": "toy"})


@pytest.fixture
def folder(toy, tmp_path):
    """Write the same tweets to files."""
    toy.train.to_csv(tmp_path/"train.csv", index=False)
    toy.test.to_csv(tmp_path/"test.csv", index=False)
    return tmp_path


@pytest.fixture
def base(tmp_path, toy):
    """Return the configuration of a small network with one epoch."""
    return validated(RunConfig(embedding=str(tmp_path/"vectors.txt"), hidden_size=16,
                               learning_rate=0.01, epochs=1, batch_size=64, split="grouped"))


@pytest.fixture
def quick(monkeypatch):
    """Replace the network by probabilities that get worse with dropout, and log every training."""
    shown = []
    def trainer(config):
        def trained(frames, seed):
            shown.append((config, seed, frames))
            sure = 0.9 - 0.5 * config.dropout
            return {part: np.where(frame.target == 1, sure, 1 - sure)
                    for part, frame in frames.items() if part != "train"}
        return trained
    monkeypatch.setattr(tuning, "network_trainer", trainer)
    return shown


def parameters(study) -> list[dict]:
    """Return the parameters of each trial."""
    return [trial.params for trial in study.trials]


def test_the_rows_that_judge_are_never_shown_to_the_search(toy, base, quick, tmp_path):
    tuning.search(base, toy, 3, tmp_path/"a.journal", folds=3)
    part, validation = split(toy.train, "grouped")
    group = pd.Series(near_duplicate_groups(toy.train.text), index=toy.train.id)
    assert len(quick) == 9
    for _, _, frames in quick:
        rows = pd.concat(frames.values())
        assert sorted(rows.id) == sorted(part.id)
        assert not set(group[rows.id]) & set(group[validation.id])
        held, learned = set(group[frames["held"].id]), pd.concat(
            [frames["train"], frames["validation"]])
        # no near-duplicate of a held-out tweet is in the training part
        assert not held & set(group[learned.id])
        assert not set(group[frames["train"].id]) & set(group[frames["validation"].id])
    assert sorted(id for _, _, frames in quick[:3] for id in frames["held"].id) == sorted(part.id)


def test_all_trials_have_the_same_folds_and_seeds(toy, base, quick, tmp_path):
    tuning.search(base, toy, 2, tmp_path/"a.journal", folds=2)
    (_, *first), (_, *second), (_, *third), (_, *fourth) = quick
    assert [first[0], second[0]] == [third[0], fourth[0]] == [42, 43]
    for a, b in ((first, third), (second, fourth)):
        assert all(a[1][name].id.tolist() == b[1][name].id.tolist()
                   for name in ("train", "validation", "held"))


def test_the_base_is_the_first_trial_and_the_best_is_found(toy, base, quick, tmp_path):
    study = tuning.search(base, toy, 8, tmp_path/"a.journal")
    assert tuning.with_parameters(base, study.trials[0].params) == base
    table = tuning.trials_table(study)
    complete = table[table.state == "complete"]
    assert tuning.best_config(study, base).dropout == complete.dropout.min()
    assert (complete.log_loss.to_numpy()
            == pytest.approx(-np.log(0.9 - 0.5 * complete.dropout.to_numpy())))
    assert (complete.folds == 3).all()


def test_a_base_outside_the_space_is_no_trial(toy, base, quick, tmp_path):
    study = tuning.search(replace(base, hidden_size=2), toy, 1, tmp_path/"a.journal")
    assert study.trials[0].params["hidden_size"] >= 16


def test_an_interrupted_search_tries_what_a_whole_one_tries(toy, base, quick, tmp_path):
    tuning.search(base, toy, 5, tmp_path/"a.journal")
    resumed = tuning.search(base, toy, 14, tmp_path/"a.journal")
    whole = tuning.search(base, toy, 14, tmp_path/"b.journal")
    assert parameters(resumed) == parameters(whole) and len(whole.trials) == 14
    assert len({json.dumps(p) for p in parameters(whole)}) == 14


def test_a_search_that_has_ended_does_nothing(toy, base, quick, tmp_path):
    tuning.search(base, toy, 2, tmp_path/"a.journal")
    trained, content = len(quick), (tmp_path/"a.journal").read_bytes()
    assert len(tuning.search(base, toy, 2, tmp_path/"a.journal").trials) == 2
    assert len(quick) == trained and (tmp_path/"a.journal").read_bytes() == content


def test_a_trial_left_behind_by_a_killed_process_does_not_count(toy, base, quick, tmp_path):
    study = tuning.study_in(tmp_path/"a.journal", tuning.made_of(base, toy, 3))
    study.ask()
    study = tuning.search(base, toy, 2, tmp_path/"a.journal")
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "COMPLETE", "COMPLETE"]
    assert tuning.trials_table(study).trial.tolist() == [1, 2]


def test_a_network_that_runs_away_ends_its_trial_and_not_the_search(toy, base, tmp_path,
                                                                    monkeypatch):
    def trainer(config):
        def trained(frames, seed):
            if config.learning_rate > 5e-4:
                raise UserError("The loss is not a number in epoch 1: lower learning_rate.")
            return {"held": np.full(len(frames["held"]), np.nan)}
        return trained
    monkeypatch.setattr(tuning, "network_trainer", trainer)
    study = tuning.search(base, toy, 6, tmp_path/"a.journal")
    table = tuning.trials_table(study)
    assert table.state.tolist() == ["given up"] * 6
    assert (table.folds == 0).all()
    assert table.log_loss.isna().all()
    assert (set(table.reason) == {"The loss is not a number in epoch 1: lower learning_rate.",
                                  "The network gives no numbers: lower learning_rate."})
    with pytest.raises(UserError, match="ask for more trials"): tuning.best_config(study, base)
    assert "No trial was completed" in tuning_figures.plot_search(study).get_suptitle()
    assert tuning_figures.plot_parameters(study).axes


def test_a_bad_trial_is_given_up_after_a_fold(toy, base, quick, tmp_path):
    study = tuning.search(base, toy, 25, tmp_path/"a.journal")
    table = tuning.trials_table(study)
    given_up = table[table.state == "given up"]
    assert len(given_up)
    assert (given_up.folds < 3).all()
    assert given_up.log_loss.min() > table[table.state == "complete"].log_loss.min()
    assert (given_up.trial > 4).all()
    assert set(given_up.reason) == {"Worse than the median of the other trials."}
    shares = tuning.importance(study).set_index("setting").importance
    assert shares.index[0] == "dropout" and shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("change, said", [
    (lambda base, toy: (replace(base, epochs=2), toy, 3), "another configuration:"),
    (lambda base, toy: (base, replace(toy, fingerprint={"train_sha256": "other"}), 3),
     "another data:"),
    (lambda base, toy: (base, toy, 2), "another number of folds:"),
], ids=["configuration", "data", "folds"])
def test_searches_are_not_mixed(change, said, toy, base, quick, tmp_path):
    tuning.search(base, toy, 1, tmp_path/"a.journal")
    other, dataset, folds = change(base, toy)
    with pytest.raises(UserError, match=said):
        tuning.search(other, dataset, 2, tmp_path/"a.journal", folds=folds)
    assert len(tuning.search(base, toy, 2, tmp_path/"a.journal").trials) == 2


def test_other_code_is_another_search(toy, base, quick, tmp_path, monkeypatch):
    tuning.search(base, toy, 1, tmp_path/"a.journal")
    monkeypatch.setattr(tuning, "trial_code", lambda: "0")
    with pytest.raises(UserError, match="another code: name another file"):
        tuning.search(base, toy, 2, tmp_path/"a.journal")


def test_a_mistake_leaves_the_file_free(toy, base, quick, tmp_path):
    with pytest.raises(UserError, match="folds"):
        tuning.search(base, toy, 2, tmp_path/"a.journal", folds=999)
    assert len(tuning.search(base, toy, 2, tmp_path/"a.journal").trials) == 2


def test_vectors_that_cannot_be_read_end_the_search(toy, base, quick, tmp_path):
    (tmp_path/"broken.txt").write_text("fire 1 0\nparty 1\n")
    with pytest.raises(UserError):
        tuning.search(replace(base, embedding=str(tmp_path/"broken.txt")), toy, 1,
                      tmp_path/"a.journal")
    assert not quick


@pytest.mark.parametrize("content", ["id,target\n1,0\n", "x", '{"a": 1}\n', '{"op_code": "x"}\n'])
def test_a_file_that_is_no_search_is_left_alone(content, toy, base, tmp_path):
    (tmp_path/"a.journal").write_text(content)
    with pytest.raises(UserError, match="not a file of a search"):
        tuning.search(base, toy, 1, tmp_path/"a.journal")
    assert (tmp_path/"a.journal").read_text() == content


def test_half_a_line_is_cut_off(toy, base, quick, tmp_path):
    tuning.search(base, toy, 2, tmp_path/"a.journal")
    with open(tmp_path/"a.journal", "a") as file: file.write('{"op_code":6,"tri')
    assert len(tuning.search(base, toy, 3, tmp_path/"a.journal").trials) == 3
    assert len(tuning.search(base, toy, 3, tmp_path/"a.journal").trials) == 3


def test_without_optuna_the_user_is_told_how_to_get_it(toy, base, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="Optuna is not installed: make encoder"):
        tuning.search(base, toy, 1, tmp_path/"a.journal")


WORKER = """
import sys, time
from pathlib import Path
import numpy as np
import optuna, sklearn.metrics
from disaster_nbdev import tuning
from disaster_nbdev.data import load
from disaster_nbdev.run_config import RunConfig, validated

def trainer(config): # replaces the network
    def trained(frames, seed):
        (folder/f"trains-{me}").touch()
        while len(list(folder.glob("trains-*"))) < 2: time.sleep(0.05) # both have begun a trial
        sure = 0.9 - config.dropout / 2
        return {"held": np.where(frames["held"].target == 1, sure, 1 - sure)}
    return trained

tuning.network_trainer = trainer
folder, me = Path(sys.argv[1]), sys.argv[2]
base = validated(RunConfig(embedding=str(folder/"vectors.txt"), hidden_size=16, learning_rate=0.01,
                           epochs=1, batch_size=64, split="grouped"))
dataset = load(folder)
tuning.search(base, dataset, 12, folder/"both.journal", folds=2)
"""


def test_two_processes_share_a_search(folder, tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), name],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
               for name in "ab"]
    try: answers = [worker.communicate(timeout=LONG) for worker in workers]
    finally:
        for worker in workers: worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], answers
    tried = [[int(line.split()[1].rstrip(":")) for line in said.splitlines()
              if line.startswith("trial ")] for said, _ in answers]
    assert all(tried), "both took part"
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    storage = JournalStorage(JournalFileBackend(str(tmp_path/"both.journal")))
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    ended = [trial.number for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert sorted(tried[0] + tried[1]) == ended == [trial.number for trial in trials]
    assert 12 <= len(ended) <= 13
    assert (len({json.dumps(trial.params) for trial in trials})
            == len(trials)), "no two processes try the same"


def test_the_report_of_a_search(folder):
    answer = run("papermill", "nbs/tune.ipynb", str(folder/"tune.ipynb"), "-p", "trials", "2", "-p",
                 "folds", "2", "-p", "epochs", "1", "-p", "embedding", str(folder/"vectors.txt"),
                 "-p", "output", str(folder/"report"), DISASTER_DATA=str(folder))
    assert answer.returncode == 0, answer.stderr[-2000:]
    (journal,) = (folder/"report"/"models"/"tuning").glob("*.journal")
    assert journal.name.startswith("gru-vectors.txt-") and not (folder/"report"/"runs").exists()
    text = (folder/"tune.ipynb").read_text()
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs
                if output.get("name") == "stderr"], "a report must not show warnings"
    assert "McNemar p = " in text and "  gru-tuned: {" in text and text.count("data:image/png") == 2


def test_a_mistake_in_the_report_is_one_sentence(tmp_path):
    answer = run("papermill", "nbs/tune.ipynb", str(tmp_path/"tune.ipynb"), "-p", "recipe",
                 "gru-finetuned", DISASTER_DATA=str(ROOT/"data"/"sample"))
    assert answer.returncode != 0
    assert ("UserError: The recipe gru-finetuned starts from a saved run of gru, so it can only "
            "be run as it is, once." in answer.stderr)
