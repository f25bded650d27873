"""Check the cleanings: `study` is unchanged; `aware` handles any text."""
import random
import unicodedata
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disaster_nbdev import clean as module
from disaster_nbdev.clean import (CLEANINGS, UNCACHED, candidate_spellings, clean, clean_aware,
                                  clean_study, cleaner, repair, rewrite, split_compound, tokens)
from disaster_nbdev.core import UserError, composed
from disaster_nbdev.embedding import glove_ranks, glove_words, ranks
from disaster_nbdev.encoder import tidy
from disaster_nbdev.quality import keywords, normalized
from disaster_nbdev.featurizer import keyword_words, keywords_of
from disaster_nbdev.vocabulary import MAX_SEQ_LEN, Vocabulary, build_vocabulary, encode

ORDER = ("the , . a i of to is in s user url ... ! ? n't 's do it on fire wild so news us red "
         "forest hit 15 big soo ha storm hag 10 000 10000".split())
RANKS = {word: place for place, word in enumerate(ORDER)}
CHUNKS = ["Fire", "wild", "SOOO", "#", "@bob", "http://t.co/x", "don't", "It\x89\u00dbªs", " ", "-",
          "_", "10,000", "15", "!!!", "storm", "s", "NEWS", "&amp;", "a"]


GLOVE = {word: place for place, word in enumerate(glove_words())}


def toy(words): return {word: RANKS[word] for word in words if word in RANKS}
def glove(words):
    # as `glove_ranks`, without a pass over all words for each call
    return {word: GLOVE[word] for word in words if word in GLOVE}
def only(known, kept):
    return lambda words: {word: rank for word, rank in known(words).items() if word in kept}
def words_of(texts): return {word for text in texts for word in text.split()}
def aware(text, known=toy): return clean([text], "aware", known)[0]


def test_study_is_unchanged_by_ranks():
    texts = ["#Fire near @bob: 3 trucks http://t.co/x1 &amp; SMOKE!", ""]
    assert (clean(texts) == clean(texts, "study", toy) == [clean_study(text) for text in texts]
            == ["near   trucks  amp smoke", ""])
    with pytest.raises(UserError, match="Unknown cleaning 'awair'.*Did you mean 'aware'"):
        clean(texts, "awair")
    assert list(CLEANINGS) == ["study", "aware"]


@pytest.mark.parametrize("raw, repaired", [
    ("Don\x89\u00dbªt", "Don't"), ("\x89\u00dbÏfire\x89\u00db\x9d", '"fire"'),
    ("on\x89\u00db_", "on..."), ("caf\u00cc©", "café"), ("\u00e5£5", "£5"),
    ("Jap\u00cc_n", "Japn"), ("a\x89\u00dbb", "a b"), ("på smörgås", "på smörgås"), ("Û", "Û"),
    ("&amp;amp; &lt;3", "& <3"), ("&amp;amp;lt;", "&lt;"), ("&nbsp;x", " x"),
    ("𝗳𝗶𝗿𝗲 ﬁ", "fire fi"), ("“a” ‘b’ c—d e–f", "\"a\" 'b' c--d e-f"), ("İstanbul", "Istanbul")])
def test_repaired_text(raw, repaired): assert repair(raw) == repaired


@pytest.mark.parametrize("raw, found", [
    ("RT @bob: hi", "user : hi"), ("RTs ART", "RTs ART"), ("#Fire #2015", "Fire 2015"),
    ("see http://t.co/x?y=1#z, now", "see url now"),
    ("HTTPS://X.Y www.bbc.com http\u2026", "url url url ..."), ("httpd @", "httpd"),
    ("can't Won’t IT'S they'd", "ca n't Wo n't IT 'S they 'd"), ("'quoted' y'all", "quoted y'all"),
    ("10:30pm 10,000 1.5 9/11 2015-08-05", "10:30 pm 10,000 1.5 9/11 2015-08-05"),
    ("U.S. e.g. end.", "U.S. e.g. end ."), ("a.b,c", "a . b , c"),
    ("wow!!?! ... .. .", "wow !!?! ... ... ."), (":) ;-( x:", ":) ;-( x :"),
    ("5% $3 a&b", "5 % $ 3 a & b"), ("snake_case well-known -- -", "snake_case well-known -- -"),
    ("😀 \u200d ☃ \x00 \ud800", ""), ("مرحبا بالعالم", "مرحبا بالعالم")])
def test_tokens(raw, found): assert " ".join(tokens(raw)) == found


@pytest.mark.parametrize("raw, written", [
    ("FIRE", "fire"), ("sooooo fiiiire", "so fire"), ("10,000", "10000"), ("big-hit", "big hit"),
    ("US_news", "us news"), ("hit15", "hit 15"), ("#USFire15", "us fire 15"), ("#ABig", "a big"),
    ("#USstorm", "us storm"), ("#forestfire", "forest fire"), ("inthenews", "in the news"),
    ("fires forest's", "fire forest 's"), ("storm'hit", "storm hit"), ("zyzx-fire", "zyzx fire"),
    ("Zyzx", "zyzx"), ("thebigredfire", "thebigredfire"), ("bigs", "big"), ("100000", "100000"),
    ("!!!!", "!")])
def test_rewritten(raw, written): assert aware(raw) == written


def test_the_most_frequent_candidate_wins():
    assert aware("soooo") == "so" and aware("soooo", lambda words: {"soo": 3, "so": 9}) == "soo"
    assert (split_compound("firestorms", {"fire": 10, "storms": 50, "fires": 90, "torms": 60})
            == ("fire", "storms"))
    # 500: too rare for two letters
    assert split_compound("abcd", {"ab": 1, "cd": 2}) == ("ab", "cd")
    assert split_compound("abcd", {"ab": 500, "cd": 2}) == ("abcd",)


def test_without_ranks_tokens_are_only_lowercased():
    text = "#ForestFire SOOO don't typhoon-hit 10,000!!!"
    assert (clean([text], "aware") == clean([text], "aware", lambda words: None)
            == ["forestfire sooo do n't typhoon-hit 10,000 !!!"])
    assert aware(text, partial(ranks, "corpus")) == clean([text], "aware")[0]


def test_ranks_are_asked_once_with_strings():
    asked = []
    clean(["#ForestFire-hit SOOO", "b"], "aware", lambda words: asked.append(words) or {})
    assert len(asked) == 1
    assert {"forest", "fire", "hit", "soo", "so", "forestfire-hit", "b"} <= asked[0]
    assert all(type(word) is str for word in asked[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.text(), st.lists(st.sampled_from(CHUNKS)).map("".join),
                          st.text("aAsSoO1é'-_.#@! ")), max_size=4))
def test_anything_can_be_cleaned(texts):
    for known in (toy, glove, None):
        out = clean(texts, "aware", known)
        assert out == clean(texts, "aware", known) and len(out) == len(texts)
        # one space, and no lone surrogates
        assert all(text == " ".join(text.split()) and len(text.encode()) >= len(text)
                   for text in out)
        # a tweet does not depend on the others
        assert out == [aware(text, known) for text in texts]
        if known: assert clean(texts, "aware", only(known, words_of(out))) == out


@settings(max_examples=40, deadline=None)
@given(st.text("abc", min_size=1, max_size=9),
       st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(0, 120_000),
                       max_size=25),
       st.sets(st.integers(0, 24)))
def test_forgetting_words_that_were_not_written_changes_nothing(token, known, forgotten):
    written = rewrite(token, known)
    rest = {word: rank for i, (word, rank) in enumerate(known.items()) if word in written
            or i not in forgotten}
    assert rewrite(token, rest) == written and (written == (token,) or set(written) <= set(known))


HOSTILE = {"letters": "x"*100_000, "words": "fire "*20_000, "hyphens": "a-"*50_000,
           "dots": "a."*50_000, "numbers": "1:"*50_000, "digits": "9"*100_000,
           "quotes": "n't'"*25_000, "hash": "#"*100_000, "at": "@"*100_000, "users": "@a"*50_000,
           "user": "@" + "a"*1_000_000 + "\u00e9", "a": "a"*1_000_000, "ampersands": "&"*1_000_000,
           "accented": "\u0301"*1_000_000, "http": "http"*25_000,
           "entity": "&#" + "9"*100_000 + ";", "entities": "&lt"*33_000,
           "accents": "a" + "\u0301\u0316"*50_000, "wide": "\ufdfa"*100_000,
           "marks": "\x89\u00db"*50_000, "emoji": "👩\u200d🚒"*30_000,
           "surrogates": "\ud800\udc00"*50_000, "controls": "".join(map(chr, range(32)))*3_000,
           "arabic": "\u202eمرحبا "*14_000, "capitals": "aB"*50_000,
           "distinct": " ".join(f"{i:05d}".translate(str.maketrans("0123456789", "abcdefghij"))*7
                                for i in range(2_700)), "asks": "?!"*50_000}


@pytest.mark.timeout(600)  # most take hundredths of a second; quadratic time would be hours
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tweets(kind):
    first, second = clean([HOSTILE[kind], ""], "aware", toy)
    assert second == "" and "\ud800" not in first
    assert len(candidate_spellings("x"*41)) == 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tweets_in_the_study(kind):
    assert clean([HOSTILE[kind], "Fire"]) == [clean_study(HOSTILE[kind]), "fire"]


# What the fast implementations might read differently from the definitions: mojibake and references
# cut anywhere, white space of all kinds, signs next to names and addresses.
NASTY = ["\x89\u00db\u00aa", "\x89\xdb\xd2", "\x89\u00db_", "\x89", "\x89\x85", "\x89\xa0",
         "\u00cc\u00a9", "\u00e5_", "\u00cc", "\u00e5", "\u00e5\u00a3", "&amp;", "&", "&amp;amp;",
         "&lt;", "&#32;", "&nbsp;", "&#x41;", "&#", "&am", "p;", "&eacute;", "&aring;", "&#137;",
         "&NewLine;", "&not", "&#99999999999;", "&#" + "9"*5000, "\xa0", "\n", "\n", "\r\n", "\t",
         "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\0", "\x85", "\u2028", "\u3000", " ", " ",
         " ", " ", " ", "  ", "http://t.co/a1", "HTTPS://X.y", "http", "https", "httpx",
         "h1ttp://z", "www.b.com", "WWW.", "http:", "://", "@bob", "@", "@http://q", "@www.x",
         "@HTTPfoo", "@bob's", "@b:", "@b...", "@b&#97;", "@b\u00e9", "#Fire", "#", "##", "RT",
         "RT @x:", "RTs", "don't", "N'T", "it\u2019s", "'s", "'", "''", "y'all", "U.S.", "10:30",
         "10,000", "2015-08-05", "5pm", "\u0661\u0662", "\u00b2", "\u00bd", "\u01c5", "\u00df",
         "\u0130", "\u0131", "\u212a", "\u017f", "\ufb01", "\U0001d5f3\U0001d5f6", "e\u0301\u0316",
         "\U0001f600", "\U0001f469\u200d\U0001f692", "\ufe0f", "\u2640", "\u0645\u0631", "\u65e5",
         "SOOOO", "fiiiire", "forestfire", "ForestFire15", "USWildfires", "typhoon-hit",
         "snake_case", "a.b,c", "!!!", "?!?!?!", "....", "..", "--", "-----", ":)", ";-(",
         "\u00a35", "$", "fires", "classes", "earthquakenews", "x"*41, "a"*300, "Ab"*25, "the",
         "Fire", "(fire)", "\ufffd"]


def nasty(n):
    draw = random.Random(7)
    def bit():
        kind, code = draw.random(), draw.randrange(0x110000)
        if kind < 0.8: return draw.choice(NASTY)
        return chr(code % 128 if kind < 0.9 else code % 256 if kind < 0.95
                   or 0xd800 <= code < 0xe000 else code)
    return ["".join([bit() for _ in range(draw.choice((1, 2, 3, 4, 5, 9)))]) for _ in range(n)]


def test_the_fast_implementations_agree_with_the_definitions():
    texts = nasty(100_000)
    assert clean(iter(texts)) == [clean_study(text) for text in texts]
    assert clean(iter(texts), "aware", GLOVE) == [clean_aware(text, GLOVE) for text in texts]
    part = texts[:3_000]
    assert clean(part, "aware", glove) == [clean_aware(text, GLOVE) for text in part]
    assert clean(part, "aware") == [clean_aware(text) for text in part]


@pytest.mark.parametrize("known", [GLOVE, glove, None])
def test_a_stream_gives_what_one_call_gives(known):
    stream, texts = cleaner("aware", known), nasty(600)
    assert ([text for start in range(0, 600, 100)
             for text in stream(text for text in texts[start:start + 100])]
            == clean(texts, "aware", known) == stream(texts))
    assert cleaner()(texts) == clean(texts) and stream([]) == []


def test_addresses_and_users_are_not_cached():
    asked = []
    stream = cleaner("aware", lambda words: asked.append(words) or toy(words))
    stream(["fire : ..."])
    assert (stream(["fire http://t.co/x https://a.b/c?d=e#f @bob @Al_1: @x..."])
            == ["fire url url user user : user ..."])
    assert len(asked) == 1
    assert not any(map(UNCACHED, ["http", "@http", "@WWW.x", "@b\u00e9", "@b&#97;",
                                  "http://a&amp;b", "@a@b", "@b's"]))


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "CACHE_SIZE", 100)
    stream, caches = cleaner("aware", RANKS), set()
    for start in range(0, 2_000, 40):
        texts = [f"fire w{i} see:http://t.co/{i} .@user{i} {'x'*100}{i}"
                 for i in range(start, start + 40)]
        assert stream(texts)[0] == clean_aware(texts[0], RANKS)
        caches.add(id(stream.cache))
        assert len(stream.cache) <= 100 + 40
        assert max(map(len, stream.cache)) <= module.MAX_CACHED
        assert not any("http" in chunk or "@" in chunk for chunk in stream.cache.keys() - {"http:"})
        assert not stream.cache.missing
    assert len(caches) > 1


def test_a_failed_call_leaves_nothing_in_the_cache():
    answers = [OSError("the file is gone"), RANKS]
    def known(words):
        if isinstance(answers[0], OSError): raise answers.pop(0)
        return toy(words)
    stream = cleaner("aware", known)
    with pytest.raises(OSError): stream(["#ForestFire"])
    assert stream(["#ForestFire big"]) == ["forest fire big"]


def encoded(vocabulary, cleaned, seq_len=None):
    "Encode row by row: the definition of `encode`."
    rows = [[vocabulary.ids[word] for word in text.split() if word in vocabulary.ids] or [1]
            for text in cleaned]
    seq_len = min(max(map(len, rows), default=1), MAX_SEQ_LEN) if seq_len is None else seq_len
    return np.array([(row + [0]*seq_len)[:seq_len] for row in rows],
                    dtype="int32").reshape(len(rows), seq_len)


def test_encode():
    texts = clean(nasty(3_000)) + ["zz", "", " \n", "fire "*300, "zz fire", "fire zz "*99]
    for vocabulary in (build_vocabulary(texts), build_vocabulary(texts, 12),
                       Vocabulary(("fire",), (1,))):
        for part in (texts, texts[-6:], texts[-6:-3], []):
            for seq_len in (None, 1, 7, 400):
                out = encode(vocabulary, iter(part), seq_len)
                assert out.dtype == "int32"
                assert np.array_equal(out, encoded(vocabulary, part, seq_len))
                assert out.shape == encoded(vocabulary, part, seq_len).shape


@pytest.fixture(scope="module")
def tweets(kaggle): return [*kaggle.train.text, *kaggle.test.text]


@pytest.fixture(scope="module")
def written(tweets): return clean(tweets, "aware", glove_ranks)


def test_real_tweets_are_cleaned_as_defined(kaggle, tweets, written):
    texts = (tweets + [f"{keyword} {text}" for frame in (kaggle.train, kaggle.test)
                       for keyword, text in zip(keywords_of(frame), frame.text)])
    assert clean(texts) == [clean_study(text) for text in texts]
    assert clean(texts, "aware", GLOVE) == [clean_aware(text, GLOVE) for text in texts]
    assert clean(tweets, "aware", GLOVE) == written


def test_ranks_of_what_was_written_suffice(tweets, written):
    assert clean(tweets, "aware", only(glove_ranks, words_of(written))) == written
    part, kept = tweets[:2000], words_of(written[:2000])
    assert clean(part, "aware", only(glove_ranks, kept)) == written[:2000]


def test_coverage_on_real_tweets(tweets, written):
    def shares(texts):
        words = [word for text in texts for word in text.split()]
        known = glove_ranks(words)
        return len(known)/len(set(words)), sum(word in known for word in words)/len(words)
    study, aware_, unasked = shares(clean(tweets)), shares(written), shares(clean(tweets, "aware"))
    assert aware_[0] > 0.92 > 0.85 > study[0]
    assert aware_[1] > 0.989 > 0.975 > study[1]
    assert unasked[0] < aware_[0]


def test_mojibake_is_repaired(tweets):
    marked = [text for text in tweets if any(mark in text for mark in "\x89\x81\u00db")]
    assert len(marked) > 800
    assert sum(any(mark in repair(text) for mark in "\x89\x81\u00db") for text in marked) <= 1
    escaped = [text for text in tweets if "&amp;" in text]
    assert len(escaped) > 300 and not any("amp" in tokens(text) for text in escaped)


# Canonically equal texts

LETTERS = ("aAeoIn kK#@:/1\u00e9\u00e5\u212b\u212a\u1e9b\u0323\u0301\u0308\u0316\u0327\u0345\u0130"
           "\u1100\u1161\u11a8\uac01\u0958\ufb01\ufb2a\u0374\u2260=\u0338\u00db\u0089\u00cc\u00a9 "
           "\ud800")
ACCENTED = st.text(st.sampled_from(LETTERS), max_size=24)
TWEETS = ACCENTED.map(lambda text: f"#{text} @{text} http://t.co/{text} &#769;")


@settings(max_examples=300, deadline=None)
@given(st.one_of(ACCENTED, st.text(max_size=24), TWEETS))
def test_canonically_equal_texts_are_cleaned_alike(text):
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]
    for way in (partial(clean, name="study"), partial(clean, name="aware"),
                partial(clean, name="aware", ranks=toy), tidy):
        assert len({way([form])[0] for form in forms}) == 1
    for way in (clean_study, clean_aware, repair, normalized, composed,
                lambda text: " ".join(tokens(text))):
        assert len(set(map(way, forms))) == 1
    whole = clean(forms * 3, "aware", toy)
    assert len(set(whole)) == 1 and len(set(clean(forms * 3))) == 1


def test_a_composed_letter_is_a_letter_for_every_cleaning():
    for written in ("caf\u00e9", "cafe\u0301", "caf&#233;", "cafe&#769;"):
        assert clean([written], "aware") == tidy([written]) == ["caf\u00e9"]
    # the study removes the letter, and the whole word after a hash
    assert (clean(["caf\u00e9 #r\u00e9sum\u00e9s in", "cafe\u0301 #re\u0301sume\u0301s in"])
            == ["caf  in"] * 2)
    assert keyword_words(["cr%C3%A9", "cre%CC%81"]) == ["cr\u00e9"] * 2
    assert keywords(pd.DataFrame({"keyword": ["cr%C3%A9", "cre%CC%81"]})).nunique() == 1
    vocabulary = build_vocabulary(clean(["cafe\u0301 caf\u00e9 \ud55c\uae00 "
                                         "\u1112\u1161\u11ab\u1100\u1173\u11af"], "aware"))
    assert vocabulary.words == ("caf\u00e9", "\ud55c\uae00")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("text", [
    "a" + "\u0301\u0316"*50_000, "\u0301"*300_000, "e\u0301"*100_000,
    "\u1112\u1161\u11ab"*50_000 + "\ud800"], ids=["alternating", "one accent", "letters", "jamo"])
def test_composing_long_texts_takes_bounded_time(text):
    assert (composed(unicodedata.normalize("NFC", text[:2000]))
            == unicodedata.normalize("NFC", text[:2000]))
    assert unicodedata.is_normalized("NFC", composed(text)[:1000])


@settings(max_examples=100, deadline=None)
@given(ACCENTED.map(lambda text: text * 60))
def test_a_long_text_is_composed_as_a_short_one(text):
    assert composed(text) == unicodedata.normalize("NFC", text)
