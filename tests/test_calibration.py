"""Test thresholds and temperatures on random data: scikit-learn, ties, extremes."""
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as reference

from disaster_nbdev import calibration, figures, metrics
from disaster_nbdev.metrics import compute_metrics, predicted

# few distinct probabilities make ties common; they include both ends
PROBABILITY = st.one_of(st.sampled_from([0.0, 0.1, 0.5, np.nextafter(0.5, 1), 1.0]),
                        st.floats(0, 1))
ROWS = st.lists(st.tuples(st.integers(0, 1), PROBABILITY), min_size=1, max_size=40)


def columns(rows):
    labels, probabilities = map(np.array, zip(*rows))
    return labels, probabilities.astype(float)


@given(ROWS)
@settings(deadline=None)
def test_a_threshold_curve_equals_the_metrics_at_its_thresholds(rows):
    labels, probabilities = columns(rows)
    curve = metrics.threshold_curve(labels, probabilities)
    assert len(curve) == len(set(probabilities))
    assert (np.diff(curve.threshold) < 0).all()
    assert curve.workload.iloc[-1] == 1
    for row in curve.itertuples():
        flagged = predicted(probabilities, row.threshold)
        assert flagged.mean() == pytest.approx(row.workload)
        precision = reference.precision_score(labels, flagged, zero_division=0)
        recall = reference.recall_score(labels, flagged, zero_division=0)
        assert (precision, recall) == pytest.approx((row.precision, row.recall))


@given(ROWS.filter(lambda rows: any(label for label, _ in rows)),
       st.sampled_from([0.1, 0.5, 0.9, 0.95, 1.0]))
@settings(deadline=None)
def test_no_higher_threshold_reaches_the_recall(rows, recall):
    labels, probabilities = columns(rows)
    threshold = calibration.threshold_for(labels, probabilities, recall)
    def reached(t): return predicted(probabilities, t)[labels == 1].mean()
    assert reached(threshold) >= recall
    # the next tweets that a higher threshold would lose
    above = probabilities[probabilities > threshold].min()
    assert reached(above) < recall


def test_a_threshold_survives_the_seven_digits_of_a_record():
    rng = np.random.default_rng(3)
    exact, labels = rng.random(5000), rng.integers(0, 2, 5000)
    stored = np.array([float(f"{p:.7g}") for p in exact])
    threshold = calibration.threshold_for(labels, stored, 0.9)
    assert (exact[labels == 1] > threshold).mean() >= 0.9


@given(ROWS, st.floats(0.05, 20))
@settings(deadline=None)
def test_temperature_scaling_keeps_order_and_range(rows, temperature):
    _, probabilities = columns(rows)
    after = calibration.temperature_scaled(probabilities, temperature)
    assert ((0 <= after) & (after <= 1)).all()
    order = np.argsort(probabilities, kind="stable")
    assert (np.diff(after[order]) >= 0).all()


@given(ROWS)
@settings(deadline=None)
def test_no_other_temperature_has_a_lower_log_loss(rows):
    labels, probabilities = columns(rows)
    def loss(t):
        scaled = calibration.temperature_scaled(probabilities, t)
        return compute_metrics(labels, scaled)["log_loss"]
    best = loss(calibration.fit_temperature(labels, probabilities))
    for other in (0.06, 0.5, 1, 2, 19): assert best <= loss(other) + 1e-4


def test_cross_fitting_never_uses_the_tweet_itself():
    rng = np.random.default_rng(4)
    labels, probabilities = rng.integers(0, 2, 100), rng.random(100)
    before = calibration.cross_scaled(labels, probabilities)
    inside = np.flatnonzero(calibration.stratified_folds(labels, 5, 42) == 2)
    one, zero = inside[labels[inside] == 1][0], inside[labels[inside] == 0][0]
    swapped = probabilities.copy()
    swapped[[one, zero]] = probabilities[[zero, one]]
    after = calibration.cross_scaled(labels, swapped)
    assert after[one] == before[zero] and after[zero] == before[one]
    assert np.array_equal(np.delete(after[inside], np.isin(inside, (one, zero))),
                          np.delete(before[inside], np.isin(inside, (one, zero))))


def test_the_optimism_of_choosing_shows_on_few_tweets():
    """Check that a chosen threshold finds fewer of other disasters, on average."""
    rng, own, crossed = np.random.default_rng(5), [], []
    for _ in range(40):
        labels, probabilities = np.repeat([0, 1], 30), rng.random(60)
        threshold = calibration.threshold_for(labels, probabilities, 0.9)
        own.append((probabilities > threshold)[labels == 1].mean())
        crossed.append(calibration.cross_flagged(labels, probabilities, 0.9)[labels == 1].mean())
    assert min(own) >= 0.9 and np.mean(crossed) < np.mean(own)


@pytest.mark.parametrize("probabilities", [[0.0, 0.0, 1.0, 1.0], [0.5] * 4, [1.0, 1.0, 0.0, 0.0]])
def test_saturated_and_constant_probabilities_are_handled(probabilities):
    labels = np.array([0, 0, 1, 1] * 5)
    probabilities = np.tile(probabilities, 5)
    points = calibration.operating_points(labels, probabilities)
    assert (points.recall[1:] >= 0.9).all()
    assert np.isfinite(points[["precision", "workload", "f1", "threshold"]]).all(axis=None)
    facts = calibration.operating_facts(labels, probabilities)
    assert json.loads(json.dumps(facts))["fitted_on"] == "validation"
    for draw in (figures.plot_precision_recall, figures.plot_workload):
        draw(labels, probabilities, points, "Extreme").savefig("/dev/null", format="png")
    drawn = calibration.plot_calibration(labels, probabilities, "Extreme")
    drawn.savefig("/dev/null", format="png")


def test_the_prevalence_named_in_the_prose(kaggle):
    assert round(kaggle.train.target.mean(), 2) == 0.43
