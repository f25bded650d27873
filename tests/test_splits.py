"""What the cells of 45_splits cannot say: intervals that cover, p-values that keep their word, records that survive damage, templates that run."""
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest

from conftest import ROOT, run
from disaster_nbdev import splits
from disaster_nbdev.data import UserError
from disaster_nbdev.runs import read_record
from disaster_nbdev.training import RunConfig


def judged(right: np.ndarray, name: str = "a", split: str = "study") -> pd.DataFrame:
    """Predictions that are right where the array (tweets, seeds) says so."""
    tweets, seeds = right.shape
    target = np.arange(tweets) % 2
    tables = [pd.DataFrame({"run": name, "split": split, "seed": seed, "id": np.arange(tweets),
                            "target": target, "probability": np.where(right[:, seed]
                                                                      == (target == 1), 0.9, 0.1)})
              for seed in range(seeds)]
    return pd.concat(tables, ignore_index=True)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        hard = rng.beta(4, 1, 300)  # how likely each tweet is judged rightly; 0.8 on average
        low, high = splits.middle(splits.resampled_means(
            (rng.random((300, 3)) < hard[:, None]).mean(1)[:, None]))[:, 0]
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_equals_are_rarely_told_apart():
    rng = np.random.default_rng(1)
    apart = rng.choice([-1.0, -0.5, 0.0, 0.0, 0.0, 0.5, 1.0], (200, 300))
    assert 0.02 <= (splits.sign_flip(apart) < 0.05).mean() <= 0.09


@given(st.integers(0, 12), st.integers(0, 12))
@settings(deadline=None, max_examples=25)
def test_with_one_seed_the_sign_flip_is_mcnemars_test(ahead, behind):
    apart = np.r_[np.ones(ahead), -np.ones(behind), np.zeros(5)][:, None]
    exact = binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1
    assert splits.sign_flip(apart)[0] == pytest.approx(exact, abs=0.02)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_means_and_differences_agree_with_the_single_trainings(draw, seeds):
    rng = np.random.default_rng(draw)
    table = pd.concat([judged(rng.random((40, seeds)) < 0.8, "a"),
                       judged(rng.random((40, seeds)) < 0.6, "b")], ignore_index=True)
    single = splits.by_split_and_seed(table).groupby("run").accuracy
    means = splits.summary(table).set_index("run")
    assert means["mean"].to_dict() == pytest.approx(single.mean().to_dict())
    assert means["least"].to_dict() == pytest.approx(single.min().to_dict())
    pair, = splits.paired(table.sample(frac=1, random_state=draw).sort_values("run", kind="stable")).itertuples()
    assert pair.difference == pytest.approx(means.loc["a", "mean"] - means.loc["b", "mean"])
    assert pair.low <= pair.difference <= pair.high


def test_a_run_that_lacks_a_split_is_left_out_there_only():
    right = np.arange(40)[:, None] < 30
    table = pd.concat([judged(right, "a"), judged(right, "a", "grouped"), judged(right, "b")],
                      ignore_index=True)
    assert ({name: list(part) for name, part in splits.shares(table).items()}
            == {"study": ["a", "b"], "grouped": ["a"]})
    assert splits.paired(table).split.tolist() == ["study"]
    assert splits.optimism(table).run.tolist() == ["a"]


@given(st.builds(RunConfig, cell=st.sampled_from(["gru", "lstm"]), pooling=st.sampled_from(["last", "both", "attention"]), use_keyword=st.booleans(),
                 keyword_branch=st.booleans(), cleaning=st.sampled_from(["study", "aware"]), embedding=st.sampled_from(["glove", "corpus", "glove+corpus", "corpus+glove+minilm-static"]),
                 epochs=st.integers(1, 3), patience=st.integers(0, 2), finetune=st.booleans(), recipe=st.just("full")))
def test_steps_end_at_the_full_recipe_and_none_is_idle(full):
    stepwise = splits.steps(RunConfig(), full)
    single = splits.changes(full, stepwise.values())
    every = [*stepwise.values(), *single.values()]
    assert list(stepwise.values())[-1] == full and len(set(every)) == len(every)
    shown = splits.changes_table(stepwise | single, splits.references(stepwise, single))
    assert len(shown) == len(every) - 1 and shown.iloc[:, 2].str.len().gt(0).all()


@pytest.fixture
def record(tmp_path, sample):
    """The record of a baseline that was not trained."""
    rng = np.random.default_rng(2)
    table = judged(rng.random((20, 2)) < 0.8).drop(columns="run")
    splits.write_repeats(tmp_path, sample, "bayes-words", table, "bayes-words")
    return tmp_path/"splits"/"bayes-words"


@pytest.mark.parametrize("file, old, new", [
    ("predictions.csv", "0.90000", "1.90000"), ("predictions.csv", "0.90000", "much"), ("predictions.csv", "split,id", "split,no"),
    ("predictions.csv", "study,3,1", "study,3,2"), ("predictions.csv", "study", "grouped"), ("splits.json", '"schema": 1', '"schema": 2'),
    ("splits.json", "{", ""), ("splits.json", '"seeds": [', '"sown": ['),
])
def test_damage_is_one_sentence(record, file, old, new):
    assert len(splits.read_repeats(record.parent.parent)) == 1
    text = (record/file).read_text()
    assert old in text
    (record/file).write_text(text.replace(old, new))
    with pytest.raises(UserError, match="run again"): splits.read_repeats(record.parent.parent)
    damaged = []
    assert splits.read_repeats(record.parent.parent, damaged) == [] and len(damaged) == 1


def test_a_missing_or_cut_file_is_damage_too(record):
    whole = (record/"predictions.csv").read_bytes()
    for content in (b"", whole[:-9], b"\xff\xfe\x00"):
        (record/"predictions.csv").write_bytes(content)
        with pytest.raises(UserError, match="damaged or gone"):
            splits.read_repeats(record.parent.parent)
    (record/"predictions.csv").unlink()
    with pytest.raises(UserError, match="damaged or gone"):
        splits.read_repeats(record.parent.parent)


def papermill(template, folder, *words, data=ROOT/"data"/"sample"):
    """Run a report template on the sample."""
    return run("papermill", f"nbs/{template}.ipynb", str(folder/f"{template}.ipynb"), "-p",
               "output", str(folder/"report"), *words, DISASTER_DATA=str(data))


def quiet(path):
    """Whether a reader of the notebook sees neither warnings nor errors."""
    outputs = [output for cell in json.loads(path.read_text())["cells"]
               for output in cell.get("outputs", [])]
    return not [output for output in outputs if output.get("name") == "stderr"
                or output["output_type"] == "error"]


def test_the_splits_template_writes_a_record_that_can_be_read(tmp_path, sample):
    answer = papermill("splits", tmp_path, "-p", "baseline", "logistic-words", "-y",
                       "seeds: [1, 2]")
    assert answer.returncode == 0, answer.stderr
    one, = splits.read_repeats(tmp_path/"report")
    assert ((one.name, one.facts["kind"], one.facts["seeds"], one.facts["splits"])
            == ("logistic-words", "baseline", [1, 2], ["study", "grouped", "keyword"]))
    assert one.facts["data"]["train_sha256"] == sample.fingerprint["train_sha256"]
    assert set(one.table().id) <= set(sample.train.id)
    assert quiet(tmp_path/"splits.ipynb")


def test_runs_in_folds_are_blended(tmp_path, sample):
    names = ["logistic-words", "bayes-characters"]
    for name in names:
        answer = papermill("crossfit", tmp_path, "-p", "baseline", name, "-p", "folds", "3")
        assert answer.returncode == 0, answer.stderr
    answer = papermill("blend", tmp_path, "-y", f"runs: [{names[0]}-folds, {names[1]}-folds]")
    assert answer.returncode == 0, answer.stderr
    for how in ("average", "stacked"):
        record = read_record(tmp_path/"report"/"runs"/f"blend-{how}")
        assert [one["run"] for one in record.run["members"]] == [f"{name}-folds" for name in names]
        assert sorted(splits.labelled(record).id) == sorted(sample.train.id)
    assert quiet(tmp_path/"crossfit.ipynb") and quiet(tmp_path/"blend.ipynb")


@pytest.mark.parametrize("template, words, said", [
    ("splits", ["-y", "seeds: [1, 1]"], "seeds must be a list of different whole numbers"),
    ("crossfit", ["-p", "recipe", "grv"], "Did you mean 'gru'?"),
    ("blend", [], "at least two different runs"),
    ("ablation", ["-p", "seed", "1"], "Unknown parameter 'seed'"),
], ids=lambda value: "-".join(value) if isinstance(value, list) else "")
def test_a_mistake_is_one_sentence_and_leaves_nothing(template, words, said, tmp_path):
    answer = papermill(template, tmp_path, *words)
    assert answer.returncode != 0 and said in answer.stderr and "UserError" in answer.stderr
    assert not (tmp_path/"report").exists()


def test_an_ablation_of_small_networks_is_written_and_read(tmp_path, sample):
    start = RunConfig(recipe="gru", hidden_size=2, epochs=1, batch_size=512)
    full = dataclasses.replace(start, recipe="small", hidden_size=3, use_keyword=True)
    stepwise = splits.steps(start, full)
    assert list(stepwise) == ["study's GRU", "+ all words, new training", "+ keyword"]
    compared = splits.references(stepwise, [])
    made = splits.ablate(splits.trainer_of, sample, stepwise, seeds=[1])
    splits.write_ablation(tmp_path, sample, made, stepwise, compared)
    facts, read = splits.read_ablation(tmp_path)
    assert facts["variants"]["+ keyword"]["use_keyword"] and facts["splits"] == ["grouped"]
    assert (splits.ablation_table(read, compared)["mean"].tolist()
            == pytest.approx(splits.ablation_table(made, compared)["mean"].tolist(), abs=0.01))
