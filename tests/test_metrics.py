"""Test metrics, figures and baselines on random data: scikit-learn, coverage, symmetry."""
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from disaster_nbdev import baseline, cost, errors, figures, metrics
from disaster_nbdev.core import UserError

# few distinct probabilities make ties common; they include both ends, the threshold and bin edges
PROBABILITY = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]), st.floats(0, 1))
ROWS = st.lists(st.tuples(st.integers(0, 1), PROBABILITY, st.integers(0, 4)), min_size=1,
                max_size=40)


def columns(rows):
    labels, probabilities, weights = map(np.array, zip(*rows))
    return labels, probabilities.astype(float), weights.astype(float)


def by_sklearn(labels, probabilities, weights):
    """Return the same metrics by scikit-learn; `nan` if a class is missing."""
    flags, keep = metrics.predicted(probabilities), {"sample_weight": weights}
    both = {"labels": [0, 1], "zero_division": 0, **keep}
    values = {"accuracy": reference.accuracy_score(labels, flags, **keep),
              "log_loss": reference.log_loss(labels, probabilities, labels=[0, 1], **keep),
              "brier": np.average((labels - probabilities) ** 2, weights=weights)}
    for average, prefix in {"binary": "", "macro": "macro_"}.items():
        for name in ("precision", "recall", "f1"):
            score = getattr(reference, f"{name}_score")
            values[prefix + name] = score(labels, flags, average=average, **both)
    real, unreal = weights[labels == 1].sum() > 0, weights[labels == 0].sum() > 0
    values["roc_auc"] = (reference.roc_auc_score(labels, probabilities, **keep) if real and unreal
                         else np.nan)
    values["average_precision"] = (reference.average_precision_score(labels, probabilities, **keep)
                                   if real else np.nan)
    return values


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_metrics_equal_sklearn_with_any_weights(rows):
    labels, probabilities, weights = columns(rows)
    if not weights.sum():
        weights[:] = 1
    kept = weights > 0  # scikit-learn counts the class of a row of weight 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_sklearn(labels[kept], probabilities[kept], weights[kept])
    found = metrics.weighted_metrics(labels, probabilities, np.stack([weights, 3 * weights]))
    assert tuple(found) == metrics.METRICS
    assert set(expected) == set(found) - {"calibration_error"}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value, value], rtol=1e-9, atol=1e-12, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_calibration_error_is_the_area_of_sklearns_curve(rows):
    labels, probabilities, _ = columns(rows)
    error = metrics.compute_metrics(labels, probabilities)["calibration_error"]
    if len(set(labels)) == 1:  # scikit-learn has no curve; the error is the mean distance
        assert error == pytest.approx(abs(labels - probabilities).mean())
    else:
        share, mean = calibration_curve(labels, probabilities, n_bins=10)
        tweets = np.unique(metrics.bins(probabilities), return_counts=True)[1]
        assert error == pytest.approx((abs(share - mean) * tweets).sum() / len(labels))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_one_tweet_has_finite_metrics_except_for_ranking(label, probability):
    values = metrics.compute_metrics([label], [probability])
    assert all(np.isfinite(v) for k, v in values.items()
               if k not in ("roc_auc", "average_precision"))
    assert np.isnan(values["roc_auc"]) and np.isnan(values["average_precision"]) == (label == 0)
    assert values["accuracy"] == float((probability > 0.5) == label)
    spans = metrics.intervals([label], [probability], resamples=20)
    assert spans["brier"] == [values["brier"]] * 2 and np.isnan(spans["roc_auc"]).all()


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(0, 5))
def test_intervals_are_ordered_and_metrics_ignore_the_order_of_rows(rows, seed):
    labels, probabilities, _ = columns(rows)
    order = np.random.default_rng(seed).permutation(len(labels))
    one = metrics.compute_metrics(labels, probabilities)
    other = metrics.compute_metrics(labels[order], probabilities[order])
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-12, err_msg=name)
    for low, high in metrics.intervals(labels, probabilities, resamples=60, seed=seed).values():
        assert low <= high or (np.isnan(low) and np.isnan(high))


def test_bootstrap_interval_covers_the_true_accuracy_at_its_nominal_rate():
    rng, covered = np.random.default_rng(5), 0
    for seed in range(300):
        right = (rng.random(250) < 0.8).astype(float)
        low, high = metrics.intervals(np.ones(250), right, resamples=200, seed=seed)["accuracy"]
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 300 <= 0.985


@pytest.mark.parametrize("n, accuracy", [(1523, 0.8), (3263, 0.795), (6090, 0.93)])
def test_bootstrap_interval_of_accuracy_is_the_analytic_one(n, accuracy):
    right = (np.arange(n) < accuracy * n).astype(float)
    low, high = metrics.intervals(np.ones(n), right)["accuracy"]
    half = 1.96 * (accuracy * (1 - accuracy) / n) ** 0.5
    assert low == pytest.approx(accuracy - half, abs=0.12 * half)
    assert high == pytest.approx(accuracy + half, abs=0.12 * half)


@pytest.mark.parametrize("labels, probabilities", [
    ([], []), ([0, 1], [0.5]), ([2], [0.5]), ([1], [1.1]), ([1], [np.nan]), ([[1]], [[0.5]])])
def test_invalid_labels_and_probabilities_are_refused(labels, probabilities):
    for compute in (metrics.compute_metrics, metrics.intervals):
        with pytest.raises(UserError):
            compute(labels, probabilities)


def test_classification_table_is_sklearns_report():
    rng = np.random.default_rng(1)
    target, label = rng.integers(0, 2, (2, 90))
    table = metrics.classification_table(target, label).set_index("class")
    report = reference.classification_report(target, label, output_dict=True)
    for ours, theirs in {"not a disaster": "0", "disaster": "1", "macro average": "macro avg",
                         "weighted average": "weighted avg"}.items():
        np.testing.assert_allclose(table.loc[ours].astype(float), list(report[theirs].values()))
    assert table.loc["accuracy", "f1"] == report["accuracy"]
    assert np.isnan(table.loc["accuracy", "precision"])


def test_holm_against_the_steps_by_hand():
    # sorted .005 .01 .03 .04 by 4 3 2 1: .02 .03 .06 .04; the last may not fall below .06
    np.testing.assert_allclose(metrics.holm([0.03, 0.005, 0.04, 0.01]), [0.06, 0.02, 0.06, 0.03])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_keeps_the_order_and_stays_below_bonferroni(p_values):
    raw, adjusted = np.array(p_values), metrics.holm(p_values)
    assert (adjusted >= raw).all() and (adjusted <= np.minimum(1, raw * len(raw))).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()


def run(label, target, ids=None):
    return pd.DataFrame({"id": np.arange(len(target)) if ids is None else ids, "label": label,
                         "target": target})


@settings(max_examples=30, deadline=None)
@given(arrays(int, (3, 25), elements=st.integers(0, 1)), st.randoms())
def test_pairwise_is_symmetric_and_ignores_the_order_of_rows(draws, random):
    target, one, two = draws
    order = random.sample(range(25), 25)
    there = metrics.pairwise({"x": run(one, target), "y": run(two, target).iloc[order]}).iloc[0]
    back = metrics.pairwise({"y": run(two, target), "x": run(one, target)}).iloc[0]
    assert there.difference == -back.difference and there.p_value == back.p_value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert (there.a_only, there.b_only) == (back.b_only, back.a_only)
    assert there.difference == pytest.approx((one == target).mean() - (two == target).mean())
    assert there.low <= there.difference <= there.high and 0 < there.p_value <= 1


@pytest.mark.parametrize("other", [
    run([0, 1], [0, 1], ids=[0, 2]),             # other ids
    run([0, 1, 1], [0, 1, 1]),                   # more rows
    run([0, 1], [1, 1]),                         # other true labels
])
def test_pairwise_refuses_runs_evaluated_on_different_rows(other):
    with pytest.raises(UserError, match="here and there were evaluated on different rows"):
        metrics.pairwise({"here": run([0, 1], [0, 1]), "there": other})


def test_paired_interval_covers_the_true_difference_at_its_nominal_rate():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(2000):
        _, a_only, b_only = rng.multinomial(400, [0.87, 0.08, 0.05])
        low, high = metrics.paired_interval(a_only, b_only, 400)
        covered += low <= 0.03 <= high
    assert 0.935 <= covered / 2000 <= 0.965


def test_samples_omit_outcomes_that_do_not_occur():
    frame = pd.DataFrame({"id": [3, 1, 2], "text": list("cab"), "target": 1, "probability": 0.9,
                          "label": [1, 1, 1]})
    drawn = errors.outcome_samples(frame, n=2)
    assert drawn.outcome.tolist() == ["true positive"] * 2 and list(drawn) == [*frame, "outcome"]
    assert errors.outcome_samples(frame.iloc[:0]).empty
    shuffled = frame.sample(frac=1, random_state=1)
    assert drawn.equals(errors.outcome_samples(shuffled, n=2))


RUNS = ([f"logistic-words+characters-{i}" for i in range(6)]
        + [f"lstm-dropout-glove-{i}" for i in range(6)])


def many_runs(n=12):
    table = pd.DataFrame({"run": RUNS[:n], "kind": (["baseline"] * 6 + ["ours"] * 6)[:n],
                          "accuracy": np.linspace(0.79, 0.8, 12)[:n],
                          "train_seconds": np.r_[[1.0] * 6, [99.0] * 5, np.nan][:n]})
    table = table.assign(low=table.accuracy - 0.02, high=table.accuracy + 0.02)
    return pd.concat([table, pd.DataFrame(
        {"run": ["study"], "kind": ["study"], "accuracy": [0.81]})], ignore_index=True)


def history(epochs=6):
    falling = np.linspace(0.7, 0.4, epochs)
    return pd.DataFrame({"epoch": np.arange(1, epochs + 1), "loss": falling, "val_loss": falling,
                         "accuracy": 1 - falling, "val_accuracy": 1 - falling, "seconds": 1.0})


def pairs(n):
    rng = np.random.default_rng(0)
    return metrics.pairwise({name: run(rng.integers(0, 2, 50), np.ones(50, int))
                             for name in RUNS[:n]})


def costs():
    """Return accuracy and cost of many runs."""
    table = many_runs()
    return table.assign(score=table["accuracy"], microseconds=np.geomspace(5, 9e3, len(table)),
                        minutes=np.geomspace(0.01, 90, len(table))[::-1])


FIGURES = {"confusion": lambda: figures.plot_confusion([0, 1, 1], [0, 1, 0], "Title"),
           "confusion of one class": lambda: figures.plot_confusion([1, 1], [1, 1], "Title"),
           "history": lambda: figures.plot_history(history(), "Title"),
           "history of one epoch": lambda: figures.plot_history(history(1), "Title"),
           "accuracy": lambda: figures.plot_accuracy(many_runs()),
           "accuracy of one run": lambda: figures.plot_accuracy(many_runs(1)),
           "cost": lambda: cost.plot_cost(costs()),
           "cost of one run": lambda: cost.plot_cost(costs().head(1)),
           "unknown cost": lambda: cost.plot_cost(costs().assign(microseconds=np.nan,
                                                                 minutes=np.nan)),
           "histories": lambda: figures.plot_histories(
               {name: history(3 + i) for i, name in enumerate(RUNS)}),
           "histories of none": lambda: figures.plot_histories({}),
           "significance": lambda: figures.plot_significance(pairs(12)),
           "significance of one pair": lambda: figures.plot_significance(pairs(2))}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_title_and_labeled_axes(name, tmp_path):
    import matplotlib.pyplot as plt
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns where parts do not fit
        drawn = FIGURES[name]()
        drawn.savefig(tmp_path/"figure.png", dpi=drawn.dpi)
    assert drawn.get_suptitle() and drawn.axes[-1].get_xlabel()
    # the rows of the accuracy plot carry the names of the runs instead
    assert all(axes.get_ylabel() or name.startswith("accuracy") for axes in drawn.axes)
    label = drawn.axes[-1].xaxis.label.get_window_extent()
    assert drawn.bbox.x0 <= label.x0 and label.x1 <= drawn.bbox.x1
    # no figure left for a notebook to show twice
    assert (tmp_path/"figure.png").stat().st_size > 1000 and not plt.get_fignums()


@pytest.mark.parametrize("name", ["histories", "accuracy"])
def test_names_of_many_runs_do_not_overlap_and_lie_inside_the_figure(name, tmp_path):
    drawn = FIGURES[name]()
    drawn.savefig(tmp_path/"figure.png", dpi=drawn.dpi)
    names = (drawn.legends[0].get_texts() if name == "histories"
             else [*drawn.axes[0].texts, *drawn.axes[0].get_yticklabels()])
    boxes = [text.get_window_extent() for text in names if text.get_text()]
    assert len(boxes) >= 12
    assert not any(box.count_overlaps(boxes[i + 1:]) for i, box in enumerate(boxes))
    assert all(drawn.bbox.x0 <= box.x0 and box.x1 <= drawn.bbox.x1 for box in boxes)
    assert all(drawn.bbox.y0 <= box.y0 and box.y1 <= drawn.bbox.y1 for box in boxes)


TEXTS = ["Forest fire near town", "fire spreads, homes burn", "Homes burn near town",
         "this mixtape is fire", "love this song", "my love is this song"]


COUNTING = sorted(set(baseline.BASELINES) - set(baseline.ENCODED))  # have a vocabulary


@pytest.mark.parametrize("name", COUNTING)
def test_baselines_know_only_the_training_texts(name):
    model = baseline.fit(name, TEXTS, [1, 1, 1, 0, 0, 0])
    names = {feature.split("__", 1)[1] for feature in model["features"].get_feature_names_out()}
    # no training tweet holds a q
    assert not any("q" in feature for feature in names)
    assert baseline.probabilities(model, ["qqqq"]) == baseline.probabilities(model, [""])
    together = baseline.probabilities(model, ["homes burn", "unheard of", "love"])
    alone = [baseline.probabilities(model, [text])[0]
             for text in ("homes burn", "unheard of", "love")]
    # a prediction does not depend on the other tweets
    np.testing.assert_allclose(together, alone)
    top = baseline.top_features(model, n=2)
    assert list(top) == ["feature", "weight", "label"] and top.label.tolist() == [1, 1, 0, 0]
    assert (np.sign(top.weight) == 2 * top.label - 1).all()


@pytest.mark.parametrize("count, n", [(0, 1), (1, 1), (0, 20), (5, 20), (230, 1523)])
def test_wilson_interval_is_the_published_formula(count, n):
    z = 1.959963984540054
    center = (count + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(count * (n - count) / n + z**2 / 4) / (n + z**2)
    expected = max(0, center - half), min(1, center + half)
    assert metrics.wilson_interval(count, n) == pytest.approx(expected, abs=1e-12)
