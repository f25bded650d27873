"""Test error slices on real tweets, occlusion, and hostile tweets in a page."""
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from disaster_nbdev import errors
from disaster_nbdev.split import split

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "abc \u202egpj.exe",
           "a\x00b \x1b[31mred", "x" * 100_000, "a" + "\u0301" * 500, "\ud800 half", "</style><b>",
           "fire " * 500, "", "\t\n "]


def test_slices_of_one_cut_hold_every_tweet_once(sample):
    part, validation = split(sample.train)
    predictions = pd.DataFrame({"id": validation.id, "label": 1})
    slices = errors.error_slices(validation, predictions, part)
    tweets = slices.groupby("cut").tweets.sum()
    for cut in ("link", "mention", "hashtag"): assert tweets[cut] == len(validation)
    assert slices.errors[0] == (validation.target == 0).sum()
    assert tweets["copies"] <= len(validation)
    assert ((slices.low <= slices.error_rate) & (slices.error_rate <= slices.high)).all()


def test_the_order_of_rows_changes_no_slice(sample):
    part, validation = split(sample.train)
    rng = np.random.default_rng(0)
    predictions = pd.DataFrame({"id": validation.id,
                                "label": rng.integers(0, 2, len(validation))})
    cover = rng.random(len(validation))
    order = rng.permutation(len(validation))
    one = errors.error_slices(validation, predictions, part, cover)
    shuffled = predictions.iloc[rng.permutation(len(validation))]
    two = errors.error_slices(validation.iloc[order], shuffled, part[::-1], cover[order])
    pd.testing.assert_frame_equal(one, two)


def test_duplicates_on_kaggles_split(kaggle):
    part, validation = split(kaggle.train)
    right = validation.rename(columns={"target": "label"})
    slices = errors.error_slices(validation, right, part).set_index("slice")
    names = ["no twin in training", "twins, all with its label", "twins, some with the other label"]
    assert slices.loc[names, "tweets"].sum() == len(validation) == 1523
    assert (slices.errors == 0).all()
    _, same, other = slices.tweets[names]
    assert same > other > 20


@given(st.lists(st.text(max_size=60), max_size=6))
@settings(deadline=None, max_examples=50)
def test_occlusion_predicts_once_and_gives_every_word_an_effect(texts):
    calls = []
    def predict_rows(rows):
        calls.append(1)
        return rows.text.str.len().to_numpy() / 1e6

    effects = errors.occlusion(predict_rows, pd.DataFrame({"text": texts}, dtype=object))
    assert len(calls) == (1 if texts else 0)
    occluded = [[word for word, _ in words] for words in effects]
    assert occluded == [text.split()[:errors.MOST_WORDS] for text in texts]


class Tags(HTMLParser):
    """Collect the names and attributes of all elements."""
    def __init__(self, html):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs))); self.open.append(tag)

    def handle_endtag(self, tag): assert self.open.pop() == tag


def test_hostile_tweets_add_no_element_and_no_attribute():
    rows = pd.DataFrame({"text": pd.Series(HOSTILE, dtype=object), "probability": 0.5, "label": 1,
                         "target": [0, 1] * 5 + [0]})
    effects = [[(word, 0.3 if i % 2 else -0.1)
                for i, word in enumerate(text.split()[:errors.MOST_WORDS])] for text in HOSTILE]
    html = errors.importance_html(rows, effects).data
    html.encode("utf-8")
    tags = Tags(html)
    assert not tags.open
    elements = {"style", "div", "p", "ol", "li", "strong", "small", "span", "bdi", "em"}
    assert {tag for tag, _ in tags.seen} == elements
    assert {name for _, attrs in tags.seen for name in attrs} <= {"class", "title", "dir"}
    assert html.count("<li>") == len(HOSTILE)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", html)
    assert len(html) < 60_000


def test_a_highlighted_word_has_its_effect_as_text():
    rows = pd.DataFrame({"text": ["fire tonight"], "probability": [0.7], "label": [1],
                         "target": [1]})
    html = errors.importance_html(rows, [[("fire", 0.41), ("tonight", -0.09)]]).data
    text = re.sub(r"<style>.*?</style>|<[^>]+>", "", html)
    assert "For a disaster: fire\u00a0+0.41. Against a disaster: tonight\u00a0-0.09." in text
    assert 'title="+0.41, speaks for a disaster"' in html


def test_a_plot_of_every_cut(sample):
    part, validation = split(sample.train)
    predictions = pd.DataFrame({"id": validation.id,
                                "label": np.random.default_rng(1).integers(0, 2, len(validation))})
    slices = errors.error_slices(validation, predictions, part, np.full(len(validation), np.nan))
    drawn = errors.plot_slices(slices, "Random labels")
    drawn.savefig("/dev/null", format="png")
    assert "words with a vector" not in set(slices.cut)
    named = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert any(name.startswith("with link  (") for name in named)
    assert errors.describe_slices(slices).startswith("Of all tweets 0.")


def test_a_probability_per_text_is_needed():
    with pytest.raises(errors.UserError, match="One probability is needed for each of 2 texts"):
        errors.occlusion(lambda rows: np.zeros((len(rows), 1)), pd.DataFrame({"text": ["fire"]}))
