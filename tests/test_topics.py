"""Check that planted topics are found, validation influences no fit, and odd input is handled."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, run
from disaster_nbdev import topic_figures as figures, topics
from disaster_nbdev.clean import clean
from disaster_nbdev.core import UserError
from disaster_nbdev.split import split

THEMES = {"fire": "fire smoke flames wildfire forest acres",
          "storm": "storm wind hail lightning roof coast",
          "crash": "crash wreck derailed plane driver runway",
          "party": "song dance love concert singer stage"}
NOISE = "today people street house morning car phone friend city week".split()


def planted(tweets: int = 400, seed: int = 0) -> pd.DataFrame:
    """Return tweets of four themes, three of them disasters, with one unrelated word each."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(tweets):
        name = list(THEMES)[i % 4]
        text = " ".join([*rng.choice(THEMES[name].split(), 4, replace=False), rng.choice(NOISE)])
        rows.append((i, name, text, int(name != "party"), name))
    return pd.DataFrame(rows, columns=["id", "keyword", "text", "target", "theme"])


@pytest.fixture(scope="module")
def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training and the validation part of the planted tweets."""
    return split(planted())


@pytest.fixture(scope="module")
def model(parts) -> topics.TopicModel:
    """Return four topics of the training part."""
    return topics.fit(clean(parts[0].text), 4)


def given(model: topics.TopicModel, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the tweets with their topics."""
    return topics.assign_topics(frame, topics.topic_weights(model, clean(frame.text)))


def test_planted_topics_are_found_named_and_give_the_labels(parts, model):
    part, validation = (given(model, frame) for frame in parts)
    found = {frozenset(group) for group in topics.top_words(model, 6)}
    assert found == {frozenset(theme.split()) for theme in THEMES.values()}
    names = figures.topic_names(model)
    kinds = figures.topic_types(validation.topic, names)
    assert (kinds == validation.theme.replace("party", figures.OTHER)).all()
    score = topics.evaluate_topics(part, validation, 4, resamples=20)
    assert score["accuracy"] == score["f1"] == 1
    assert score["intervals"]["accuracy"] == [1, 1]
    held = figures.topic_table(model, part, names)
    assert held.disasters[:4].tolist() == [1, 1, 1, 0]
    assert held.tweets.sum() == len(part)
    assert figures.type_agreement(validation, names)["same type by topic"].eq(1).all()


def test_lda_is_evaluated_by_the_same_code(parts):
    other = topics.fit(clean(parts[0].text), 4, method="lda")
    part, validation = (given(other, frame) for frame in parts)
    assert 0 <= topics.evaluate_topics(part, validation, 4, resamples=20)["nmi"] <= 1
    assert topics.coherence(topics.top_words(other), clean(parts[0].text)).shape == (4,)


def test_the_rule_finds_the_planted_number(parts):
    numbers = topics.number_table(clean(parts[0].text), (2, 3, 4, 6, 8), subsamples=3)
    assert topics.best_number(numbers) == 4
    assert numbers.set_index("topics").stability[4] > 0.7


@pytest.mark.parametrize("coherence, stability, k", [
    ([0.1, 0.2, 0.3], [0.9, 0.8, 0.1], 10), # the most coherent is not in the more stable half
    ([0.1, 0.2, 0.3], [0.9, 0.1, 0.8], 20), # the most stable is not the most coherent
    ([0.2, 0.2, 0.2], [0.5, 0.5, 0.5], 5), # all equal: the smallest
])
def test_the_rule(coherence, stability, k):
    numbers = pd.DataFrame({"topics": [5, 10, 20], "coherence": coherence, "stability": stability})
    assert topics.best_number(numbers) == k


def test_the_same_seed_gives_the_same_to_the_bit(parts, model):
    cleaned = clean(parts[0].text)
    again = topics.fit(cleaned, 4)
    assert (again.components == model.components).all()
    weights = topics.topic_weights(model, cleaned)
    assert (topics.topic_weights(again, cleaned) == weights).all()
    first, second = (topics.number_table(cleaned, (2, 4), seed=7, subsamples=2) for _ in range(2))
    assert first.equals(second)
    part = given(model, parts[0])
    points = figures.map_points(part, weights, most=60)
    assert points.equals(figures.map_points(part, weights, most=60))


def test_validation_influences_nothing_that_is_fitted(sample):
    """Check that changed validation tweets leave topics, names and shares as they are."""
    part, validation = split(sample.train)
    changed = validation.assign(target=1 - validation.target,
                                text="volcano of lava " + validation.text)
    results = []
    for unseen in (validation, changed):
        model = topics.fit(clean(part.text), 6)
        score = topics.evaluate_topics(given(model, part), given(model, unseen), 6, resamples=20)
        results.append((model, topics.topic_shares(given(model, part), 6),
                        figures.topic_names(model), score))
    (a, shares_a, names_a, score_a), (b, shares_b, names_b, score_b) = results
    assert (a.components == b.components).all()
    assert (shares_a == shares_b).all()
    assert names_a.equals(names_b)
    assert score_a != score_b, "the change reaches the evaluation and nothing else"


@pytest.mark.parametrize("method", topics.METHODS)
def test_a_tweet_has_the_same_topics_in_any_batch(parts, method):
    found = topics.fit(clean(parts[0].text), 4, method=method)
    cleaned = clean(parts[1].text)
    whole = topics.topic_weights(found, cleaned)
    assert np.allclose(whole[::-1], topics.topic_weights(found, cleaned[::-1]), atol=1e-12)
    assert np.allclose(whole[3:4], topics.topic_weights(found, cleaned[3:4]), atol=1e-12)


def test_a_tweet_without_a_known_word_has_no_topic(parts, model):
    part = given(model, parts[0])
    texts = ["", "\U0001F525", "zebra", "#fire", "the of and", "fire " * 20_000]
    odd = pd.DataFrame({"text": texts, "target": [0, 0, 0, 0, 1, 1], "keyword": None})
    found = given(model, odd)
    assert found.topic.tolist()[:5] == [topics.NO_TOPIC] * 5
    assert found.topic.iloc[5] != topics.NO_TOPIC
    probability = topics.classify(part, found, 4).probability
    assert (probability[:5] == part.target.mean()).all(), "the overall share"
    names = figures.topic_names(model)
    held = figures.topic_table(model, found, names)
    assert held.topic.iloc[-1] == topics.NO_TOPIC
    assert held.tweets.iloc[-1] == 5
    assert figures.plot_shares(held, names, 0.5).axes
    assert figures.plot_clouds(model, held).axes
    assert figures.type_table(found, names).tweets.sum() == 6
    assert len(figures.typical_tweets(found)) == 1
    assert len(figures.map_points(found, topics.topic_weights(model, clean(odd.text)))) == 1
    nowhere = found.assign(topic=topics.NO_TOPIC)
    assert figures.map_points(nowhere, topics.topic_weights(model, clean(odd.text))).empty


def test_one_topic_is_the_majority_rule(parts):
    one = topics.fit(clean(parts[0].text), 1)
    part, validation = (given(one, frame) for frame in parts)
    score = topics.evaluate_topics(part, validation, 1, resamples=20)
    assert score["accuracy"] == pytest.approx(validation.target.mean())
    assert score["recall"] == 1
    assert score["nmi"] == score["ari"] == pytest.approx(0, abs=1e-12)
    numbers = topics.number_table(clean(parts[0].text), (1,))
    assert topics.best_number(numbers) == 1
    assert topics.plot_numbers(numbers).axes
    points = figures.map_points(part, topics.topic_weights(one, clean(parts[0].text)))
    assert points.y.eq(0).all()
    assert figures.plot_map(points, figures.topic_names(one)).axes


@pytest.mark.parametrize("texts, k, said", [
    ([], 2, "among these 0 there is none"),
    (["fire"], 1, "at least 5 different tweets; among these 1 there is none"),
    (["the", "of", ""] * 9, 1, "there is none"),
    # only two words are frequent enough
    ([f"fire smoke number{i}" for i in range(9)], 3, "3 topics are too many"),
    ([f"fire smoke wind{i}" for i in range(9)], 0, "a whole number from 1 on, not 0"),
    ([f"fire smoke wind{i}" for i in range(9)], "3", "a whole number from 1 on, not '3'"),
])
def test_what_cannot_be_done_is_one_sentence(texts, k, said):
    with pytest.raises(UserError, match=said): topics.fit(texts, k)
    with pytest.raises(UserError, match=said): topics.number_table(texts, (k,))


def test_numbers_that_the_tweets_do_not_allow_are_left_out():
    cleaned = [" ".join(pair) for pair in zip(
        "fire storm crash fire storm crash fire storm crash".split(),
        "song love dance love dance song dance song love".split())]
    numbers = topics.number_table(cleaned, (2, 3, 50), min_tweets=2, subsamples=2)
    assert numbers.topics.tolist() == [2, 3]


def test_common_words_go_and_words_of_disaster_stay():
    assert not topics.STOP_WORDS & set().union(*figures.TYPES.values())
    assert not topics.STOP_WORDS & topics.DISASTER_WORDS
    assert topics.terms("the fire and i dont know its ill") == ["fire", "know", "ill"]


def code_cells() -> list[dict]:
    """Return the code cells of the report's template."""
    notebook = json.loads((ROOT/"nbs"/"topics.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def fitted_by_the_report(data: Path, k: int = 5) -> dict:
    """Return the variables of the report's cells up to the one that fits everything."""
    names = {"In": []} # as a notebook has it: the cells that have run
    for cell in code_cells()[:3]:
        exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= {"topics": k, "data": str(data)}
    return names


def test_what_the_report_fits_ignores_the_validation_part(sample, tmp_path):
    """Change texts and no labels, since the study's split is stratified by the labels."""
    changed = sample.train.copy()
    rows = changed.id.isin(split(sample.train)[1].id)
    changed.loc[rows, "text"] = "volcano of lava " + changed.loc[rows, "text"]
    changed.to_csv(tmp_path/"train.csv", index=False)
    sample.test.to_csv(tmp_path/"test.csv", index=False)
    first, second = fitted_by_the_report(ROOT/"data"/"sample"), fitted_by_the_report(tmp_path)
    assert (first["nmf"].components == second["nmf"].components).all()
    assert (first["weights"] == second["weights"]).all()
    for name in ("numbers", "names", "held", "part"):
        pd.testing.assert_frame_equal(first[name], second[name], check_exact=True)
    assert not first["validation"].strength.equals(second["validation"].strength), (
        "the change reaches the validation tweets")


def test_the_report_refuses_an_impossible_number():
    with pytest.raises(UserError, match="a whole number from 1 on, not -3"):
        fitted_by_the_report(ROOT/"data"/"sample", -3)


def test_the_report_runs_without_a_warning(tmp_path):
    answer = run("papermill", "nbs/topics.ipynb", str(tmp_path/"out.ipynb"), "-p", "topics", "5",
                 "-p", "data", str(ROOT/"data"/"sample"))
    assert answer.returncode == 0, answer.stderr
    outputs = [output for cell in json.loads((tmp_path/"out.ipynb").read_text())["cells"]
               for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    pictures = [page for page in pages if "<img" in page]
    assert len(pictures) == 5
    # pictures below 1.5 MB; base64 makes them a third longer
    assert sum(map(len, pictures)) < 2e6
