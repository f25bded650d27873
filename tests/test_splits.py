"""Check repeated evaluation: interval coverage, p-values, damaged records, and its templates."""
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest

from conftest import ROOT, run, slow
from disaster_nbdev import compare_repeats, experiment, repeats
from disaster_nbdev.core import UserError
from disaster_nbdev.record import read_record
from disaster_nbdev.run_config import RunConfig


def predictions(right: np.ndarray, name: str = "a", split: str = "study") -> pd.DataFrame:
    """Return predictions that are right where the array (tweets, seeds) says so."""
    tweets, seeds = right.shape
    target = np.arange(tweets) % 2
    tables = [pd.DataFrame({"run": name, "split": split, "seed": seed, "id": np.arange(tweets),
                            "target": target,
                            "probability": np.where(right[:, seed] == (target == 1), 0.9, 0.1)})
              for seed in range(seeds)]
    return pd.concat(tables, ignore_index=True)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        rates = rng.beta(4, 1, 300)  # probability that each tweet is right; 0.8 on average
        shares = (rng.random((300, 3)) < rates[:, None]).mean(1)[:, None]
        means = compare_repeats.resampled_means(shares)
        low, high = compare_repeats.percentile_interval(means)[:, 0]
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_equal_runs_are_rarely_significantly_different():
    rng = np.random.default_rng(1)
    differences = rng.choice([-1.0, -0.5, 0.0, 0.0, 0.0, 0.5, 1.0], (200, 300))
    assert 0.02 <= (compare_repeats.sign_flip(differences) < 0.05).mean() <= 0.09


@given(st.integers(0, 12), st.integers(0, 12))
@settings(deadline=None, max_examples=25)
def test_with_one_seed_the_sign_flip_is_mcnemars_test(ahead, behind):
    differences = np.r_[np.ones(ahead), -np.ones(behind), np.zeros(5)][:, None]
    exact = binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1
    assert compare_repeats.sign_flip(differences)[0] == pytest.approx(exact, abs=0.02)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_means_and_differences_agree_with_the_single_trainings(seed, seeds):
    rng = np.random.default_rng(seed)
    table = pd.concat([predictions(rng.random((40, seeds)) < 0.8, "a"),
                       predictions(rng.random((40, seeds)) < 0.6, "b")], ignore_index=True)
    single = compare_repeats.by_split_and_seed(table).groupby("run").accuracy
    means = compare_repeats.summary(table).set_index("run")
    assert means["mean"].to_dict() == pytest.approx(single.mean().to_dict())
    assert means["least"].to_dict() == pytest.approx(single.min().to_dict())
    shuffled = table.sample(frac=1, random_state=seed).sort_values("run", kind="stable")
    pair, = compare_repeats.paired(shuffled).itertuples()
    assert pair.difference == pytest.approx(means.loc["a", "mean"] - means.loc["b", "mean"])
    assert pair.low <= pair.difference <= pair.high


def test_a_run_that_lacks_a_split_is_left_out_there_only():
    right = np.arange(40)[:, None] < 30
    table = pd.concat([predictions(right, "a"), predictions(right, "a", "grouped"),
                       predictions(right, "b")], ignore_index=True)
    assert ({name: list(part) for name, part in compare_repeats.correct_shares(table).items()}
            == {"study": ["a", "b"], "grouped": ["a"]})
    assert compare_repeats.paired(table).split.tolist() == ["study"]
    assert compare_repeats.optimism(table).run.tolist() == ["a"]


VECTORS = ["glove", "corpus", "glove+corpus", "corpus+glove+minilm-static"]


@given(st.builds(RunConfig, recipe=st.just("full"), cell=st.sampled_from(["gru", "lstm"]),
                 pooling=st.sampled_from(["last", "both", "attention"]),
                 use_keyword=st.booleans(), keyword_branch=st.booleans(),
                 cleaning=st.sampled_from(["study", "aware"]),
                 embedding=st.sampled_from(VECTORS), epochs=st.integers(1, 3),
                 patience=st.integers(0, 2), finetune=st.booleans()))
def test_steps_end_at_the_full_recipe_and_each_changes_something(full):
    steps = repeats.ablation_steps(RunConfig(), full)
    single = repeats.single_changes(full, steps.values())
    every = [*steps.values(), *single.values()]
    assert list(steps.values())[-1] == full and len(set(every)) == len(every)
    shown = repeats.changes_table(steps | single, repeats.references(steps, single))
    assert len(shown) == len(every) - 1 and shown.iloc[:, 2].str.len().gt(0).all()


@pytest.fixture
def record(tmp_path, sample):
    """Write the record of a baseline that was not trained."""
    rng = np.random.default_rng(2)
    table = predictions(rng.random((20, 2)) < 0.8).drop(columns="run")
    repeats.write_repeats(tmp_path, sample, "bayes-words", table, "bayes-words")
    return tmp_path/"splits"/"bayes-words"


@pytest.mark.parametrize("file, old, new", [
    ("predictions.csv", "0.90000", "1.90000"), ("predictions.csv", "0.90000", "much"),
    ("predictions.csv", "split,id", "split,no"), ("predictions.csv", "study,3,1", "study,3,2"),
    ("predictions.csv", "study", "grouped"), ("splits.json", '"schema": 1', '"schema": 2'),
    ("splits.json", "{", ""), ("splits.json", '"seeds": [', '"sown": ['),
])
def test_damage_is_one_sentence(record, file, old, new):
    assert len(repeats.read_repeats(record.parent.parent)) == 1
    text = (record/file).read_text()
    assert old in text
    (record/file).write_text(text.replace(old, new))
    with pytest.raises(UserError, match="run again"): repeats.read_repeats(record.parent.parent)
    damaged = []
    assert repeats.read_repeats(record.parent.parent, damaged) == [] and len(damaged) == 1


def test_a_missing_or_cut_file_is_damage_too(record):
    whole = (record/"predictions.csv").read_bytes()
    for content in (b"", whole[:-9], b"\xff\xfe\x00"):
        (record/"predictions.csv").write_bytes(content)
        with pytest.raises(UserError, match="damaged or gone"):
            repeats.read_repeats(record.parent.parent)
    (record/"predictions.csv").unlink()
    with pytest.raises(UserError, match="damaged or gone"):
        repeats.read_repeats(record.parent.parent)


def papermill(template, folder, *words, data=ROOT/"data"/"sample"):
    """Run a report template on the sample."""
    return run("papermill", f"nbs/{template}.ipynb", str(folder/f"{template}.ipynb"), "-p",
               "output", str(folder/"report"), *words, DISASTER_DATA=str(data))


def quiet(path):
    """Check that a reader of the notebook sees neither warnings nor errors."""
    outputs = [output for cell in json.loads(path.read_text())["cells"]
               for output in cell.get("outputs", [])]
    return not [output for output in outputs if output.get("name") == "stderr"
                or output["output_type"] == "error"]


def test_the_splits_template_writes_a_record_that_can_be_read(tmp_path, sample):
    answer = papermill("splits", tmp_path, "-p", "baseline", "logistic-words", "-y",
                       "seeds: [1, 2]")
    assert answer.returncode == 0, answer.stderr
    one, = repeats.read_repeats(tmp_path/"report")
    assert ((one.name, one.facts["kind"], one.facts["seeds"], one.facts["splits"])
            == ("logistic-words", "baseline", [1, 2], ["study", "grouped", "keyword"]))
    assert one.facts["data"]["train_sha256"] == sample.fingerprint["train_sha256"]
    assert set(one.table().id) <= set(sample.train.id)
    assert quiet(tmp_path/"splits.ipynb")


def test_cross_validated_runs_are_combined(tmp_path, sample):
    names = ["logistic-words", "bayes-characters"]
    for name in names:
        answer = papermill("crossval", tmp_path, "-p", "baseline", name, "-p", "folds", "3")
        assert answer.returncode == 0, answer.stderr
    answer = papermill("blend", tmp_path, "-y", f"runs: [{names[0]}-folds, {names[1]}-folds]")
    assert answer.returncode == 0, answer.stderr
    for how in ("average", "stacked"):
        record = read_record(tmp_path/"report"/"runs"/f"blend-{how}")
        assert [one["run"] for one in record.run["members"]] == [f"{name}-folds" for name in names]
        assert sorted(experiment.labeled_predictions(record).id) == sorted(sample.train.id)
    assert quiet(tmp_path/"crossval.ipynb") and quiet(tmp_path/"blend.ipynb")


@pytest.mark.parametrize("template, words, said", [
    slow("splits", ["-y", "seeds: [1, 1]"], "seeds must be a list of different whole numbers"),
    ("crossval", ["-p", "recipe", "grv"], "Did you mean 'gru'?"),
    slow("blend", [], "at least two different runs"),
    slow("ablation", ["-p", "seed", "1"], "Unknown parameter 'seed'"),
], ids=lambda value: "-".join(value) if isinstance(value, list) else "")
def test_a_mistake_is_one_sentence_and_leaves_nothing(template, words, said, tmp_path):
    answer = papermill(template, tmp_path, *words)
    assert answer.returncode != 0 and said in answer.stderr and "UserError" in answer.stderr
    assert not (tmp_path/"report").exists()


def test_an_ablation_of_small_networks_is_written_and_read(tmp_path, sample):
    start = RunConfig(recipe="gru", hidden_size=2, epochs=1, batch_size=512)
    full = dataclasses.replace(start, recipe="small", hidden_size=3, use_keyword=True)
    steps = repeats.ablation_steps(start, full)
    assert list(steps) == ["study's GRU", "+ all words, new training", "+ keyword"]
    compared = repeats.references(steps, [])
    made = repeats.ablate(experiment.trainer_of, sample, steps, seeds=[1])
    repeats.write_ablation(tmp_path, sample, made, steps, compared)
    facts, read = repeats.read_ablation(tmp_path)
    assert facts["variants"]["+ keyword"]["use_keyword"] and facts["splits"] == ["grouped"]
    before, after = (compare_repeats.ablation_table(table, compared) for table in (made, read))
    assert after["mean"].tolist() == pytest.approx(before["mean"].tolist(), abs=0.01)
