"""What the cells of 33_operating cannot say: random data against scikit-learn, ties, extremes, and the figure named in its prose."""
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as judge

from disaster_nbdev import operating
from disaster_nbdev.evaluation import metrics, predicted

# few distinct probabilities make ties the rule; both ends are among them
PROBABILITY = st.one_of(st.sampled_from([0.0, 0.1, 0.5, np.nextafter(0.5, 1), 1.0]),
                        st.floats(0, 1))
ROWS = st.lists(st.tuples(st.integers(0, 1), PROBABILITY), min_size=1, max_size=40)


def columns(rows):
    labels, probabilities = map(np.array, zip(*rows))
    return labels, probabilities.astype(float)


@given(ROWS)
@settings(deadline=None)
def test_a_curve_says_what_its_thresholds_do(rows):
    labels, probabilities = columns(rows)
    curve = operating.curve(labels, probabilities)
    assert len(curve) == len(set(probabilities))
    assert (np.diff(curve.threshold) < 0).all()
    assert curve.workload.iloc[-1] == 1
    for row in curve.itertuples():
        flagged = predicted(probabilities, row.threshold)
        assert flagged.mean() == pytest.approx(row.workload)
        assert (judge.precision_score(labels, flagged, zero_division=0)
                == pytest.approx(row.precision))
        assert judge.recall_score(labels, flagged, zero_division=0) == pytest.approx(row.recall)


@given(ROWS.filter(lambda rows: any(label for label, _ in rows)), st.sampled_from([0.1, 0.5, 0.9, 0.95, 1.0]))
@settings(deadline=None)
def test_no_higher_threshold_reaches_the_recall(rows, recall):
    labels, probabilities = columns(rows)
    threshold = operating.threshold_for(labels, probabilities, recall)
    reached = lambda t: predicted(probabilities, t)[labels == 1].mean()
    assert reached(threshold) >= recall
    # the next tweets that a higher threshold would lose
    above = probabilities[probabilities > threshold].min()
    assert reached(above) < recall


def test_a_threshold_survives_the_seven_digits_of_a_record():
    rng = np.random.default_rng(3)
    exact, labels = rng.random(5000), rng.integers(0, 2, 5000)
    stored = np.array([float(f"{p:.7g}") for p in exact])
    threshold = operating.threshold_for(labels, stored, 0.9)
    assert (exact[labels == 1] > threshold).mean() >= 0.9


@given(ROWS, st.floats(0.05, 20))
@settings(deadline=None)
def test_tempering_keeps_order_and_range(rows, temperature):
    _, probabilities = columns(rows)
    after = operating.tempered(probabilities, temperature)
    assert ((0 <= after) & (after <= 1)).all()
    order = np.argsort(probabilities, kind="stable")
    assert (np.diff(after[order]) >= 0).all()


@given(ROWS)
@settings(deadline=None)
def test_no_other_temperature_has_a_lower_log_loss(rows):
    labels, probabilities = columns(rows)
    loss = lambda t: metrics(labels, operating.tempered(probabilities, t))["log_loss"]
    best = loss(operating.temperature(labels, probabilities))
    for other in (0.06, 0.5, 1, 2, 19): assert best <= loss(other) + 1e-4


def test_cross_fitting_never_uses_the_tweet_itself():
    rng = np.random.default_rng(4)
    labels, probabilities = rng.integers(0, 2, 100), rng.random(100)
    before = operating.cross_tempered(labels, probabilities)
    part = operating.dealt(labels, 5, 42)
    inside = np.flatnonzero(part == 2)
    one, zero = inside[labels[inside] == 1][0], inside[labels[inside] == 0][0]
    swapped = probabilities.copy()
    swapped[[one, zero]] = probabilities[[zero, one]]
    after = operating.cross_tempered(labels, swapped)
    assert after[one] == before[zero] and after[zero] == before[one]
    assert np.array_equal(np.delete(after[inside], np.isin(inside, (one, zero))),
                          np.delete(before[inside], np.isin(inside, (one, zero))))


def test_the_optimism_of_choosing_shows_on_few_tweets():
    """With thirty disasters the chosen threshold finds 90 % of them by construction, and fewer of others on average."""
    rng, own, honest = np.random.default_rng(5), [], []
    for _ in range(40):
        labels, probabilities = np.repeat([0, 1], 30), rng.random(60)
        own.append((probabilities > operating.threshold_for(labels, probabilities, 0.9))[labels == 1].mean())
        honest.append(operating.cross_flagged(labels, probabilities, 0.9)[labels == 1].mean())
    assert min(own) >= 0.9 and np.mean(honest) < np.mean(own)


@pytest.mark.parametrize("probabilities", [[0.0, 0.0, 1.0, 1.0], [0.5] * 4, [1.0, 1.0, 0.0, 0.0]])
def test_saturated_and_constant_probabilities_are_handled(probabilities):
    labels = np.array([0, 0, 1, 1] * 5)
    probabilities = np.tile(probabilities, 5)
    points = operating.operating_points(labels, probabilities)
    assert (points.recall[1:] >= 0.9).all()
    assert np.isfinite(points[["precision", "workload", "f1", "threshold"]]).all(axis=None)
    assert (json.loads(json.dumps(operating.operating_facts(labels, probabilities)))["fitted_on"]
            == "validation")
    for draw in (operating.plot_precision_recall, operating.plot_workload):
        draw(labels, probabilities, points, "Extreme").savefig("/dev/null", format="png")
    operating.plot_calibration(labels, probabilities, "Extreme").savefig("/dev/null", format="png")


def test_the_prevalence_named_in_the_prose(kaggle):
    assert round(kaggle.train.target.mean(), 2) == 0.43
