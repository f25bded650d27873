"""Check edge cases of the comparison: rows of runs and the sentences about them."""
import pandas as pd
import pytest

from conftest import ROOT
from disaster_nbdev import compare
from disaster_nbdev.core import UserError
from disaster_nbdev.data import load
from disaster_nbdev.leaderboard import read_leaderboard
from disaster_nbdev.record import Record

FIGURES = {"accuracy": 0.8, "precision": 0.8, "recall": 0.7, "f1": 0.75, "roc_auc": 0.85,
           "log_loss": 0.5, "intervals": {"accuracy": [0.78, 0.82]}}


def record(folder, name: str, kind: str = "network", seconds: float = 5, **run) -> Record:
    """Return a record with made-up results."""
    recipe, embedding = name.rsplit("-", 1)
    config = {"recipe": recipe, "embedding": embedding, "cell": recipe}
    return Record(name, folder/"runs"/name, {
        "kind": kind, "template": "train", "config": config, "seconds": seconds,
        "metrics": {"train": FIGURES, "validation": FIGURES},
        "parameters": {"total": 9, "trainable": 4}, **run})


def test_a_score_without_a_record_is_refused(tmp_path):
    (tmp_path/"runs"/"gru-glove").mkdir(parents=True)
    (tmp_path/"leaderboard.csv").write_text("run,score,date\ngru-glov,0.78,2026-01-02\n")
    with pytest.raises(UserError, match="row 2: there is no record of a run gru-glov: correct"):
        read_leaderboard(tmp_path)


def test_a_fine_tuned_run_includes_the_seconds_of_its_source(tmp_path):
    records = [record(tmp_path, "gru-glove", seconds=10),
               record(tmp_path, "tuned-glove", seconds=3, started_from={"run": "gru-glove"})]
    seconds = compare.run_table(records, {}).set_index("run")["train_seconds"]
    assert seconds.to_dict() == {"gru-glove": 10, "tuned-glove": 13}


def test_only_networks_are_compared_by_their_settings(tmp_path):
    names = {"gru-glove": "network", "lstm-glove": "network", "logistic-words": "baseline"}
    runs = compare.run_table([record(tmp_path, name, kind) for name, kind in names.items()], {})
    pairs = pd.DataFrame(columns=["a", "b", "p_adjusted"])
    networks = compare.pair_sentence(runs, pairs, "gru-glove", "lstm-glove")
    assert networks.endswith("They differ in cell (gru, lstm).")
    mixed = compare.pair_sentence(runs, pairs, "gru-glove", "logistic-words")
    assert mixed.endswith("is not significant in the paired test.")


def test_open_questions_depend_on_what_was_run(tmp_path):
    sample = load(ROOT/"data"/"sample")
    once, often = (compare.open_questions([], sample, repeated) for repeated in (0, 3))
    assert "Only one seed was used" in once and "Cleaning" not in once
    assert "3 runs were trained with several seeds" in often
