"""Check the figures that the study printed of Kaggle's files, and its cleaning on any text."""
import os
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from disaster_nbdev import explore
from disaster_nbdev.clean import clean
from disaster_nbdev.split import split
from disaster_nbdev.vocabulary import build_vocabulary, words


@pytest.fixture(scope="module")
def cleaned(kaggle):
    "Return the training tweets after the study's cleaning."
    return clean(kaggle.train.text)


def values(frame, column="value"):
    "Return a table of figures as a dictionary."
    return dict(zip(frame["what"], frame[column]))


def exactly(number):
    "Compare floats up to the digits that a change of summation order may change."
    return pytest.approx(number, rel=1e-12, abs=0)


def test_rows_and_labels(kaggle):
    train, test = (values(explore.overview(kaggle), name) for name in ("train", "test"))
    assert (train["rows"], test["rows"]) == (7_613, 3_263)
    assert train["label 1 (a real disaster), share"] == exactly(0.4296597924602653)
    assert (train["label 0, tweets"], train["label 1, tweets"]) == (4_342, 3_271)
    assert test["label 1, tweets"] is None


def test_keywords_and_locations(kaggle):
    train = values(explore.overview(kaggle), "train")
    assert (train["keyword given"], train["location given"]) == (7_552, 5_080)
    assert (train["keyword missing"], train["location missing"]) == (61, 2_533)
    assert (train["keyword, distinct"], train["location, distinct"]) == (221, 3_341)


def test_raw_tokens(kaggle):
    found = values(explore.token_figures(kaggle.train.text))
    assert (found["distinct tokens"], found["tokens that occur once"]) == (16_134, 9_792)
    assert found["tokens per tweet, mean"] == exactly(14.452778142650729)
    lengths = [found[f"tokens per tweet, {name}"] for name in ("median", "most", "fewest")]
    assert lengths == [15, 29, 1]


def test_vocabulary_of_the_cleaned_text(cleaned):
    found = values(explore.frequency_figures(explore.word_frequencies(cleaned)))
    assert found == {"vocabulary": 13_230, "words with frequency > 1": 5_677,
                     "words with frequency = 1": 7_553, "first rank with frequency 1": 5_678}


def test_counts_are_written_as_the_study_wrote_them(kaggle, cleaned):
    overview = explore.overview(kaggle)
    tables = [overview.train, overview.test,
              explore.token_figures(kaggle.train.text).value,
              explore.frequency_figures(explore.word_frequencies(cleaned)).value]
    written = {explore.notation(value) for table in tables for value in table}
    assert written >= {"7,613", "3,263", "4,342", "3,271", "7,552", "5,080", "221", "3,341",
                       "16,134", "9,792", "15", "29", "1", "13,230", "5,677", "7,553", "5,678"}


def test_split(kaggle):
    part, validation = split(kaggle.train)
    assert (len(part), len(validation)) == (6_090, 1_523)
    assert part.target.mean() == exactly(0.4297208538587849)
    assert validation.target.mean() == exactly(0.4294156270518713)
    shown = explore.part_figures(kaggle.train)
    assert shown.tweets.tolist() == [6_090, 1_523]
    assert shown["label 1, share"].tolist() == exactly([0.4297208538587849, 0.4294156270518713])


def test_rows_of_the_embedding_matrix(kaggle):
    assert build_vocabulary(clean(split(kaggle.train)[0].text)).rows == 11_970
    found = values(explore.vocabulary_figures(kaggle.train, 5_677))
    assert found["rows of an embedding matrix (words and padding)"] == 11_970
    assert found["words kept"] == 5_676


@pytest.mark.parametrize("row, text", [
    (6626, "truth"),
    (3710, "the fear of not looking like you know what you are doingahhhthat was a big one for me"),
    (7548, "four hundred wrecked cars costing  apiece were purchased for the making of this  film"),
])
def test_cleaned_tweets(cleaned, row, text):
    assert cleaned[row] == text


def test_longest_cleaned_tweet(kaggle, cleaned):
    assert max(len(words(text)) for text in cleaned + clean(kaggle.test.text)) == 31


def test_traits_and_duplicates(kaggle):
    found = explore.traits(kaggle).set_index("trait")
    counts = found[["train tweets", "test tweets"]].T.to_dict("list")
    assert counts["broken encoding"] == [612, 286] and counts["HTML entity"] == [359, 164]
    assert counts["emoji or pictograph"] == [0, 0]
    shares = found.loc["web address", ["label 1 with it", "label 1 without it"]]
    assert shares.tolist() == pytest.approx([0.55, 0.30], abs=0.005)
    repeated = values(explore.duplicate_figures(kaggle.train))
    assert repeated["tweets that repeat an earlier raw text"] == 110
    assert repeated["tweets that repeat an earlier cleaned text"] == 869
    assert repeated["distinct cleaned texts with both labels"] == 89


def test_figures_are_the_same_in_another_process(kaggle):
    "Check that samples and word cloud do not depend on the process and its hash seed."
    code = ("import hashlib\n"
            "from disaster_nbdev.data import load\n"
            "from disaster_nbdev.explore import before_after, length_samples\n"
            "from disaster_nbdev.explore_figures import leanings_image, word_leanings\n"
            "train = load().train\n"
            "image = leanings_image(word_leanings(train.text, train.target), 42, 60)\n"
            "print(hashlib.sha256(image.tobytes()).hexdigest())\n"
            "print(length_samples(train, more_than=25).id.tolist())\n"
            "print(before_after(train).before.tolist())")
    drawn = {subprocess.run([sys.executable, "-X", "utf8", "-c", code],
                            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
                            check=True).stdout for seed in ("1", "2")}
    assert len(drawn) == 1 and drawn.pop()


# The cleaning on any text. The second implementation walks through the text and uses no pattern.

PICTOGRAPHS = [(0x1F600, 0x1F64F), (0x1F300, 0x1F5FF), (0x1F680, 0x1F6FF), (0x1F1E0, 0x1F1FF),
               (0x2500, 0x2BEF), (0x2702, 0x27B0), (0x24C2, 0x1F251), (0x1F926, 0x1F937),
               (0x10000, 0x10FFFF), (0x200D, 0x200D), (0x2640, 0x2642), (0x2600, 0x2B55),
               (0x23CF, 0x23CF), (0x23E9, 0x23E9), (0x231A, 0x231A), (0xFE0F, 0xFE0F),
               (0x3030, 0x3030)]


def without_runs(text, start, inside):
    "Drop each `start` that is followed by characters that are `inside`, and these characters."
    kept, at = [], 0
    while at < len(text):
        end = at + len(start)
        if text[at:end] == start and text[end:end + 1] and inside(text[end]):
            while end < len(text) and inside(text[end]):
                end += 1
            at = end
        else:
            kept.append(text[at])
            at += 1
    return "".join(kept)


def cleaned_plainly(text):
    "Clean the composed text (the Kelvin sign is a K) one character at a time."
    text = unicodedata.normalize("NFC", text)
    text = "".join(c for c in text if not any(low <= ord(c) <= high for low, high in PICTOGRAPHS))
    text = "".join(c for c in text if not c.isdecimal())
    text = without_runs(text, "http", lambda c: not c.isspace())
    for sign in "@#":
        text = without_runs(text, sign, lambda c: c.isalnum() or c == "_")
    return "".join(c for c in text if c.isascii() and c.isalnum() or c.isspace()).lower().strip()


# Random characters seldom make an address or a hashtag; pieces of tweets among them do.
PIECES = st.sampled_from(["http", "HTTP", "https://t.co/a1", "ht", "tp", "@", "#", "#fire",
                          "@bob_1", "&amp;", "\x89Û_", "_", "Fire", " ", "\n", "\u00a0", "\u2003",
                          "\x1c", "7", "\u0663", "\u00b2", "\u0130", "\u212a", "\U0001F525",
                          "\u200d", "\ufe0f", "é", "ß", "ſ"])
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=8).map("".join),
                  st.lists(st.one_of(PIECES, st.characters()), max_size=12).map("".join))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("")
@example("#a#b @c@d http://x@y#z")
@example("ht7tp://x a")  # digits go before addresses: this becomes one,
@example("http7 b")  # and this is none any more
@example("ht\u0663tp:x")  # digits of every script
@example("#a\u200db \u231a@\ufe0fc")  # pictographs go before hashtags and mentions
def test_cleaning_equals_a_second_implementation(text):
    assert clean([text]) == [cleaned_plainly(text)]


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_only_small_letters_and_white_space_are_left(text):
    once = clean([text])[0]
    assert all("a" <= c <= "z" or c.isspace() for c in once)
    assert once == once.strip()


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("HTTP://t.co/x")
@example("h-ttp-x")
def test_cleaning_twice_changes_nothing_but_late_addresses(text):
    "Check that a second pass drops only what looks like an address after the first."
    once = clean([text])
    twice = clean(once)
    assert clean(twice) == twice
    if not re.search(r"http\S", once[0]):
        assert twice == once


def test_cleaning_twice_changes_no_tweet(kaggle, cleaned):
    assert clean(cleaned) == cleaned
    assert clean(clean(kaggle.test.text)) == clean(kaggle.test.text)


def test_an_address_in_capitals_survives_the_first_pass():
    assert clean(["see HTTP://x.y"]) == ["see httpxy"] and clean(["see httpxy"]) == ["see"]
