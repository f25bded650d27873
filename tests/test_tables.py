"""Test that training, scoring and the leaderboard read a table alike, ids and labels exactly."""
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ROOT, run
from disaster_nbdev.leaderboard import read_leaderboard
from disaster_nbdev.csvfile import BYTES
from disaster_nbdev.data import load, read_table, read_tweets
from disaster_nbdev.jsonlines import Lines
from disaster_nbdev.score_file import score_file
from disaster_nbdev.scoring import ADDED
from disaster_nbdev.tables import Format, Rows, as_rows, chunk_bytes, chunks, csv_chunks, format_of
from disaster_nbdev.tables import header_bytes
from test_scoring import made, said, saved  # noqa: F401 (a fixture)


def rows(content: bytes, folder: Path, name: str = "in.csv", size: int = 3) -> list[dict]:
    """Return the rows that scoring reads from a file."""
    (folder/name).write_bytes(content)
    return [row for chunk in csv_chunks(str(folder/name), size, ["text"])
            for row in chunk.table.to_pylist()]


READ = {  # what a file holds, and the texts that are read
    "semicolons": (b"id;text\n1;fire, big\n", ["fire, big"]),
    "tabs": (b"id\ttext\n1\tfire; big\n", ["fire; big"]),
    "bars": (b"id|text\n1|fire, big\n", ["fire, big"]),
    "a comma first": (b"a;b,text\n1,fire\n", ["fire"]),
    "sep=,": (b"sep=,\nid,text\n1,fire\n", ["fire"]),
    "sep=;": (b'\xef\xbb\xbf"sep=;"\r\nid;text\r\n1;fire\r\n', ["fire"]),
    "sep=tab": (b"SEP=\t\r\nid\ttext\r\n1\tfire\r\n", ["fire"]),
    "old Macintosh": (b"id,text\r1,fire\r2,\"a\nb\"\r", ["fire", "a\nb"]),
    "old Macintosh, no end": (b"id,text\r1,fire", ["fire"]),
    "carriage return in quotes": (
        b'id,text\r\n1,"a \r b"\r\n2,"c\r\nd\n\re"\r\n',
        ["a \r b", "c\r\nd\n\re"]),
    "one column": (b'text\n"fire \r in town"\n""\nb', ["fire \r in town", "", "b"]),
    "mixed line ends": (b"id,text\r\n1,a\n2,b\r\n", ["a", "b"]),
    "blank lines": (b"\n\r\n  \nid,text\n\n1,a\n\r\n2,b\n\n\n", ["a", "b"]),
    "a literal mark at the end": (b'id,text\n1,a\n2,5" of snow\n', ["a", '5" of snow']),
    "literal marks": (b'id,text\n1,say "hi" now\n2,5" of snow\n', ['say "hi" now', '5" of snow']),
    "nothing enclosed": (
        b'id\ttext\n1\tRT: "Strong quake\n2\t"No" she said\n3\t"a"\n',
        ['RT: "Strong quake', '"No" she said', '"a"']),
    "tabs, enclosed": (b'id\ttext\n1\t"a\tb"\n2\t"say ""hi"""\n', ["a\tb", 'say "hi"']),
    "no end": (b"id,text\n1,a", ["a"]),
    "quoted header": (b'"id","text"\n1,a\n', ["a"]),
    "mark inside": (
        "id,text\n\ufeff1,a\n2,\ufeffb\u2028c\u0085\n".encode(),
        ["a", "\ufeffb\u2028c\u0085"]),
    "two unnamed": (b",,id,text\n0,0,1,a\n", ["a"]),
    "spaces": (b'id,text\n1, a "b" \n', [' a "b" ']),
    "gzip": (gzip.compress(b"id,text\n1,a\n"), ["a"]),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_exactly(name, tmp_path):
    content, texts = READ[name]
    assert [row["text"] for row in rows(content, tmp_path)] == texts
    frame = read_table(tmp_path/"in.csv", ("text",))
    assert frame["text"].fillna("").tolist() == texts, "training reads the same"


REFUSED = {  # what a file holds, and what is said of it
    "bare carriage return": (
        b"id,text\n1,fire \r in town\n",
        "in.csv, row 2: a line break of another kind is outside quotation marks"),
    "bare carriage return, one column": (
        b"text\nx\nfire \r in town\n",
        "in.csv, row 3: a line break of another kind"),
    "bare carriage return, CRLF": (
        b"id,text\r\n1,fire\r2,x\r\n",
        "in.csv, row 2: a line break of another kind"),
    "bare line feed": (b"id,text\r1,fire\nx\r", "in.csv, row 2: a line break of another kind"),
    "doubled carriage return": (
        b"id,text\n1,fire\r\r\n",
        "in.csv, row 2: a line break of another kind"),
    "text behind a mark": (
        b'id,text\n1,"No" she said\n',
        "in.csv, row 2: text follows the closing quotation mark"),
    "text behind a mark, tabs": (
        b'id\ttext\n1\t"a ""b"""\n2\t"No" she said\n',
        "(columns are separated by tabs)"),
    "text behind a mark at the end": (
        b'id,text\n1,a\n2,"x"y"\n',
        "in.csv, row 3: text follows the closing quotation mark"),
    "open mark": (
        b'id,text\n1,a\n2,"fire\n3,b\n',
        "in.csv, row 3: a quotation mark is never closed"),
    "open mark in the header": (
        b'id,"text\n1,a\n',
        "in.csv, row 1: a quotation mark is never closed"),
    "too many": (
        b"id;text\n1;a;b\n",
        "in.csv, row 2: 3 fields, but the header has 2 (separated by semicolons)"),
    "white space": (b"id,text\n1,a\n  \n", "in.csv, row 3: 1 fields, but the header has 2"),
    "NUL": (b"id,text\n1,a\n2,b\0\n", "in.csv holds NUL bytes (row 3)"),
    "UTF-16": (
        "id,text\n1,a\n".encode("utf-16-le"),
        "UTF-16 without a byte order mark; save it as UTF-8"),
    "Latin": (b"id,text\n1,caf\xe9\n", "in.csv is not UTF-8: row 2, column text"),
    "half a sign": (
        b"id,text\n1,a\n2,\xef\xbf\xbd\xe2\x82\n",
        "in.csv is not UTF-8: row 3, column text"),
    "twice": (b"id,text,text\n1,a,b\n", "has the column text twice"),
    "capitals": (
        b"id,Text\n1,a\n",
        "it has id, Text. The name 'Text' differs in capitals or spaces"),
    "spaces": (
        b"id, text\n1,a\n",
        "it has id, ' text'. The name ' text' differs in capitals or spaces"),
    "no header": (b"1,fire in town\n2,calm\n", "The first row seems to hold data"),
    "JSON": (
        b'{"text": "a"}\n',
        "This looks like JSON lines: name the file .jsonl, or give --format jsonl"),
    "other names": (
        b"tweet_id\ttweet\n1\ta\n",
        "has no column text; it has tweet_id, tweet (separated by tabs)"),
    "sep=^": (b"sep=^\nid^text\n", "it must be one of commas, semicolons, tabs, vertical bars"),
    "Parquet": (b"PAR1....", "a Parquet file; name it .parquet"),
    "empty": (b" \n\n", "in.csv is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_reader_says_the_same(name, saved, tmp_path):  # noqa: F811
    content, sentence = REFUSED[name]
    scoring = said(lambda: rows(content, tmp_path))
    assert sentence in scoring
    assert said(lambda: read_table(tmp_path/"in.csv", ("text",))) == scoring
    assert (said(lambda: score_file(str(tmp_path/"in.csv"), str(tmp_path/"out.csv"), saved))
            == scoring)
    assert not (tmp_path/"out.csv").exists()
    code = "from disaster_nbdev.tables import csv_chunks; list(csv_chunks('-', wanted=['text']))"
    answer = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True)
    assert scoring.replace(str(tmp_path/"in.csv"), "-") in answer.stderr.decode(), "a pipe too"


def test_the_leaderboard_is_read_by_the_same_reader(tmp_path):
    (tmp_path/"leaderboard.csv").write_bytes(
        b"sep=;\r\nrun;score;date\r\ngru-glove;0.5;2026-01-02\r\n")
    assert read_leaderboard(tmp_path) == {"gru-glove": 0.5}
    (tmp_path/"leaderboard.csv").write_bytes(b'run,score,date\ngru-glove,"0.5" or so,2026-01-02\n')
    assert "leaderboard.csv, row 2: text follows the closing quotation mark" in said(
        lambda: read_leaderboard(tmp_path))


MIDDLES = [b"", b'"', b"\r", b'say "hi"', b'"x""', b"\xef\xbb\xbf"]


@pytest.mark.parametrize("middle", MIDDLES, ids=repr)
def test_blocks_do_not_show(middle, tmp_path):
    """Read more rows than a block holds, simple ones and odd ones mixed."""
    field, count = b'"fire, ""big""\r\n' + b"x" * 200 + b'"', 3 * BYTES // 220
    lines = [b"%d,%s\r\n" % (k, field) for k in range(count)]
    if middle:
        lines[count // 2] = (b"a%d,b%s\r\n"
                             % (count // 2, middle if not middle.startswith((b'"', b"\r"))
                                else b'"' + middle.replace(b'"', b'""') + b'"' if middle != b"\r"
                                else b""))
    if middle == b"\r": lines[count // 2] = b'%d,"b\r"\r\n' % (count // 2)
    if middle in (b'"', b'"x""'): lines[count // 2] = b'%d,b"c\r\n' % (count // 2)
    found = rows(b"id,text\r\n" + b"".join(lines), tmp_path, size=16_384)
    assert len(found) == count
    assert found[0]["text"] == found[-1]["text"] == field.decode()[1:-1].replace('""', '"')
    assert [row["id"].removeprefix("a") for row in found] == [str(k) for k in range(count)]


NASTY = st.text(st.one_of(st.sampled_from('\r\n",;\t| \u2028\ufeff\'=a'),
                          st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
                max_size=12)


@settings(max_examples=200, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NASTY, NASTY), min_size=1, max_size=6), st.booleans())
def test_what_is_written_is_read_again(tmp_path, given, tabs):
    form, name = Format("csv", tabs=tabs), "in.tsv" if tabs else "in.csv"
    lines = [json.dumps({"id": a, "text": b}).encode() for a, b in given]
    records = [json.loads(line) for line in lines]
    chunk = as_rows(Lines(lines, records, list(range(len(lines)))), ["id", "text"])
    written = (header_bytes(["id", "text", "label"], form)
               + chunk_bytes(chunk, {"label": np.arange(len(given))}, form))
    assert [(row["id"], row["text"]) for row in rows(written, tmp_path, name)] == given
    assert (read_table(tmp_path/name, ("text",))[["id", "text"]].fillna("").values.tolist()
            == [list(pair) for pair in given])


def test_scores_of_nasty_texts_are_read_by_score_and_by_training(saved, tmp_path):  # noqa: F811
    texts = ["fire \r in town", "\rfire", "fire\r", "a\r\nb", "\n", '"', '""', '"x" y',
             "a,b;c\td|e", " lead", "trail ", "\ufefffire", "x\u2028y\u0085", "=1+1", "fire"]
    frame = pd.DataFrame({"id": range(len(texts)), "keyword": "k", "location": "l\r", "text": texts,
                          "target": [k % 2 for k in range(len(texts))]})
    frame = frame[frame.text.str.strip() != ""].reset_index(drop=True)
    (tmp_path/"in.jsonl").write_text("".join(json.dumps(row) + "\n"
                                             for row in frame.to_dict("records")))
    for target in ("out.csv", "out.tsv", "out.csv.gz"):
        score_file(str(tmp_path/"in.jsonl"), str(tmp_path/target), saved)
        assert read_tweets(tmp_path/target, labeled=True)["text"].tolist() == frame.text.tolist()
        kind = format_of(target)
        assert [text for chunk in chunks(str(tmp_path/target), kind, wanted=["text"])
                for text in chunk.texts("text")] == frame.text.tolist()
    (tmp_path/"nul.jsonl").write_text('{"text": "fire\\u0000"}\n')
    assert "holds a NUL character, which cannot be written as CSV" in said(
        lambda: score_file(str(tmp_path/"nul.jsonl"), str(tmp_path/"out.csv"), saved))
    assert score_file(str(tmp_path/"nul.jsonl"), str(tmp_path/"out.jsonl"), saved).rows == 1


NO_TEXT = [b'{"id": 2}', b'{"text": null}', b'{"text": ""}', b'{"text": " \\n"}',
           b'{"limit": {"track": 5}}']


@pytest.mark.parametrize("line", NO_TEXT, ids=bytes.decode)
def test_there_is_no_probability_for_no_text(line, saved, tmp_path):  # noqa: F811
    source, target = tmp_path/"in.jsonl", tmp_path/"out.jsonl"
    source.write_bytes(b'{"text": "fire"}\r\n\r\n' + line + b'\r\n{"text": "flood"}\r\n')
    assert ("in.jsonl, line 3: no text in text (absent, empty or blank): add it, or leave such "
            "rows out with --skip-without-text." in said(
                lambda: score_file(str(source), str(target), saved)))
    assert not target.exists()
    done = score_file(str(source), str(target), saved, skip_without_text=True)
    assert (done.rows, done.skipped) == (2, 1)
    assert ([json.loads(text)["text"] for text in target.read_text().splitlines()]
            == ["fire", "flood"])
    score_file(str(source), str(tmp_path/"out.csv"), saved, skip_without_text=True)
    assert pd.read_csv(tmp_path/"out.csv").columns.tolist() == ["text", *ADDED]


@pytest.mark.parametrize("value", ["7", "1.5", "true", "NaN", '["fire"]', '{"a": "fire"}'])
def test_a_text_of_another_kind_is_refused(value, saved, tmp_path):  # noqa: F811
    (tmp_path/"in.jsonl").write_text('{"text": "fire"}\n{"text": %s}\n' % value)
    for skip in (False, True):
        assert "in.jsonl, line 2: the field text holds" in said(
            lambda: score_file(str(tmp_path/"in.jsonl"), str(tmp_path/"out.jsonl"), saved,
                               skip_without_text=skip))


def test_rows_without_text_in_other_forms(saved, tmp_path):  # noqa: F811
    (tmp_path/"in.csv").write_text('id,text\n1,fire\n2,\n3,"  "\n4,flood\n')
    pq.write_table(pa.table({"id": [1, 2, 3], "text": ["fire", None, "flood"]}),
                   tmp_path/"in.parquet")
    assert "in.csv, row 3: no text" in said(
        lambda: score_file(str(tmp_path/"in.csv"), str(tmp_path/"out.csv"), saved))
    assert "in.parquet, row 2: no text" in said(
        lambda: score_file(str(tmp_path/"in.parquet"), str(tmp_path/"out.csv"), saved))
    for source, ids, skipped in [("in.csv", [1, 4], 2), ("in.parquet", [1, 3], 1)]:
        done = score_file(str(tmp_path/source), str(tmp_path/"out.csv"), saved,
                          skip_without_text=True)
        assert pd.read_csv(tmp_path/"out.csv").id.tolist() == ids and done.skipped == skipped
    answer = run("disaster", "score", str(tmp_path/"in.csv"), "--run", str(saved),
                 "--skip-without-text")
    assert answer.returncode == 0 and "2 rows without a text were left out" in answer.stderr


def test_a_dotted_name_reads_a_nested_field(saved, tmp_path):  # noqa: F811
    records = [{"data": {"text": "fire", "topic": {"k": "train"}}},
               {"data": {"text": "flood", "topic": None}}]
    (tmp_path/"in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path/"in.parquet")
    for name in ("in.jsonl", "in.parquet"):
        def sentence(*names):
            return said(lambda: score_file(str(tmp_path/name), str(tmp_path/"no.jsonl"), saved,
                                           *names))
        assert "There is a field data.text: name it." in sentence()
        assert "has no column data.tweet" in sentence("data.tweet")
        assert "has no column data.k" in sentence("data.text", "data.k")
        score_file(str(tmp_path/name), str(tmp_path/"out.jsonl"), saved, "data.text",
                   "data.topic.k")
        written = [json.loads(line) for line in (tmp_path/"out.jsonl").read_text().splitlines()]
        (tmp_path/"flat.csv").write_text("text,keyword\nfire,train\nflood,\n")
        score_file(str(tmp_path/"flat.csv"), str(tmp_path/"flat.out.csv"), saved)
        assert ([row["probability"] for row in written]
                == pd.read_csv(tmp_path/"flat.out.csv").probability.tolist())
    (tmp_path/"both.jsonl").write_text('{"data.text": "calm", "data": {"text": "fire"}}\n')
    assert next(chunks(str(tmp_path/"both.jsonl"), Format("jsonl"))).texts("data.text") == ["calm"]
    table = pa.table({"data.text": ["calm"], "data": [{"text": "fire"}]})
    assert Rows(table).texts("data.text") == ["calm"]
    assert "holds binary, not text" in said(
        lambda: Rows(pa.table({"data": [{"text": b"fire"}]})).texts("data.text"))
    assert Rows(pa.table({"text": pa.array(["a"], pa.large_string())})).texts("text") == ["a"]


def test_a_keyword_column_that_was_named_must_be_there(saved, tmp_path):  # noqa: F811
    (tmp_path/"in.csv").write_text("text\nfire\n")
    assert "has no column topic; it has text" in said(
        lambda: score_file(str(tmp_path/"in.csv"), str(tmp_path/"out.csv"), saved, "text", "topic"))


OTHER = [  # name, content, what is said
    ("a.jsonl", '[{"text": "fire"}, {"text": "flood"}]\n', "it is one JSON array"),
    ("my tweets.json", '[\n {"text": "fire"},\n {"text": "flood"}\n]\n', "it is one JSON array"),
    ("page.json", '{\n "data": [\n  {"text": "fire"},\n  {"text": "flood"}\n ]\n}\n',
     "it is one JSON document"),
    ("pages.jsonl", '{"data": [{"text": "fire"}], "meta": {}}\n{"data": [{"text": "flood"}]}\n',
     "The field data holds a list"),
    ("tweets.js", 'window.YTD.tweets.part0 = [\n{"text": "fire"},\n{"text": "flood"}\n]\n',
     "it is a script, such as Twitter's archive"),
]


@pytest.mark.parametrize("name, content, what", OTHER, ids=[name for name, _, _ in OTHER])
def test_the_way_out_that_is_named_works(name, content, what, saved, tmp_path):  # noqa: F811
    (tmp_path/name).write_text(content)
    answer = run("disaster", "score", name, "--run", str(saved), folder=tmp_path)
    assert answer.returncode == 2
    assert what in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    line = answer.stderr[answer.stderr.index("python3 -c"):].strip()
    assert run("bash", "-c", line, folder=tmp_path).returncode == 0
    lines = (tmp_path/"tweets.jsonl").read_text().splitlines()
    assert [json.loads(text)["text"] for text in lines] == ["fire", "flood"]


@pytest.mark.parametrize("line, sentence", [
    (b'{"text": "a", "text": "b"}', "line 1: the field text occurs twice"),
    (b'{"text": "a", "x": {"y": 1, "y": 2}}', "line 1: the field y occurs twice"),
    (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
     "line 1: this is not a JSON object, since it is nested too deeply"),
    (b'{"text": "a"}\r{"text": "b"}',
     "line 1: this is not a JSON object alone; write one object on each line"),
    (b"", "is empty"),
], ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_lines_that_cannot_be_understood(line, sentence, saved, tmp_path):  # noqa: F811
    (tmp_path/"in.jsonl").write_bytes(line)
    assert sentence in said(lambda: score_file(str(tmp_path/"in.jsonl"), str(tmp_path/"out.jsonl"),
                                               saved))


def test_values_stay_as_they_are_written(saved, tmp_path):  # noqa: F811
    line = ('{"id": 798021801540321281, "big": 12345678901234567890.12345678901234567890, "n": -0, '
            '"e": 1E5, "deep": {"b": [1,  2.50]}, "t": true, "none": null, "text": "fire"}')
    (tmp_path/"in.json").write_text(line + "\n")
    score_file(str(tmp_path/"in.json"), str(tmp_path/"out.jsonl"), saved)
    assert (tmp_path/"out.jsonl").read_text().startswith(line[:-1])
    score_file(str(tmp_path/"in.json"), str(tmp_path/"out.csv"), saved)
    row = pd.read_csv(tmp_path/"out.csv", dtype=str, keep_default_na=False).iloc[0]
    assert row.iloc[:8].tolist() == ["798021801540321281",
                                     "12345678901234567890.12345678901234567890", "-0", "1E5",
                                     '{"b": [1,  2.50]}', "true", "", "fire"]


def test_endings(saved, tmp_path):  # noqa: F811
    (tmp_path/"in.txt").write_text("text\nfire\n")
    assert "name the format with --format" in said(
        lambda: score_file(str(tmp_path/"in.txt"), "-", saved))
    assert score_file(str(tmp_path/"in.txt"), str(tmp_path/"out.csv"), saved, form="csv").rows == 1
    (tmp_path/"in.TSV").write_text("text\nfire, big\n")
    assert score_file(str(tmp_path/"in.TSV"), str(tmp_path/"out.tsv"), saved).rows == 1
    assert (tmp_path/"out.tsv").read_text().startswith("text\tprobability")
    assert "which is not supported; save it as CSV" in said(
        lambda: score_file(str(tmp_path/"in.xlsx"), "-", saved))
    assert "is not a known format" in said(
        lambda: score_file(str(tmp_path/"in.TSV"), str(tmp_path/"out.json"), saved))
    (tmp_path/"two.csv").write_text(",,text\n0,0,fire\n")
    score_file(str(tmp_path/"two.csv"), str(tmp_path/"out.csv"), saved)
    assert (tmp_path/"out.csv").read_text().startswith(
        ",,text,probability,label,priority\n0,0,fire,")
    assert "several columns without a name, which only CSV can hold" in said(
        lambda: score_file(str(tmp_path/"two.csv"), str(tmp_path/"out.jsonl"), saved))


def test_long_texts_are_counted(saved, tmp_path):  # noqa: F811
    texts = ["fire " * 100, "fire " * 101, "zzz " * 500 + "fire", ("fire zzz " * 150)]
    (tmp_path/"in.csv").write_text("text\n" + "".join(text + "\n" for text in texts) * 10_000)
    for workers in (1, 2):
        done = score_file(str(tmp_path/"in.csv"), str(tmp_path/"out.csv"), saved, workers=workers)
        assert (done.rows, done.cut, done.reach) == (40_000, 20_000, "100 known words")
    (tmp_path/"few.csv").write_text(f"text\n{texts[1]}\nfire\n")
    answer = run("disaster", "score", str(tmp_path/"few.csv"), "--run", str(saved))
    assert "(100 known words): the rest was not read." in answer.stderr
    assert "first 100 words" in " ".join(run("disaster", "score", "--help").stdout.split())


HEADER = "id,keyword,location,text,target\n"


def folder_of(ids: list[str], folder: Path, labels: list[str] | None = None) -> Path:
    """Write a data folder with these ids; the last five are in the test part."""
    folder.mkdir(exist_ok=True)
    frame = pd.read_csv(ROOT/"data"/"sample"/"train.csv", dtype=str,
                        keep_default_na=False).groupby("target").head(len(ids)).head(
                            len(ids)).assign(id=ids)
    frame["target"] = labels[:len(ids)] if labels else [str(k % 2) for k in range(len(ids))]
    for name, part in (("train.csv", frame[:-5]), ("test.csv", frame[-5:].drop(columns="target"))):
        (folder/name).write_text(part.to_csv(index=False, lineterminator="\r\n"), newline="")
    return folder


WIDE = [str(798021801540321281 + k) for k in range(40)]
TEXTS = ["007", "7", "1e5", "1.0", "NA", "null", "", "+5", " 12", "-0", "nan", "9" * 25, "٣",
         "a,b", 'x"y', "é"]


IDS = {"64 bits": WIDE, "text": [i or "0x1" for i in TEXTS] + [f"t{k}" for k in range(30)],
       "text in one file": [str(k) for k in range(35)] + ["A", "B", "C", "D", "E"]}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_ids_are_kept_exactly_all_the_way(ids, tmp_path):
    from disaster_nbdev import experiment, single_run, repeats
    from disaster_nbdev.record import read_record, read_records, why_stale
    dataset = load(folder_of(ids, tmp_path/"data"))
    assert [str(i) for i in [*dataset.train.id, *dataset.test.id]] == ids
    assert dataset.train.id.dtype == dataset.test.id.dtype
    records = [single_run.write_baseline(tmp_path, dataset, name)[0]
               for name in ("bayes-words", "logistic-words")]
    submission = (records[0].folder/"submission.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in submission[1:]] == ids[-5:]
    for record in read_records(tmp_path):
        both = pd.concat([record.predictions("train"), record.predictions("validation")]).set_index(
            "id").target
        assert (both.loc[dataset.train.id].tolist()
                == dataset.train.target.tolist()), "each id keeps its own label"
        assert record.predictions("test").id.tolist() == dataset.test.id.tolist()
        assert why_stale(tmp_path, record.name, record.run["config"], dataset, "baseline") is None
    folded, fold = experiment.write_cross_validation(tmp_path, dataset, "bayes-words", folds=3)
    judged = experiment.labeled_predictions(read_record(folded.folder))
    assert experiment.by_fold(judged, dataset.train["id"], fold).tweets.sum() == len(dataset.train)
    assert sorted(judged.id.tolist()) == sorted(dataset.train.id.tolist())
    long = pd.DataFrame({"split": "study", "seed": 42, "id": dataset.train.id,
                         "target": dataset.train.target, "probability": 0.25})
    repeats.to_wide(long).to_csv(tmp_path/"p.csv", index=False, lineterminator="\n")
    back = repeats.read_long(tmp_path/"p.csv",
                        {"seeds": [42], "splits": ["study"],
                         "data": {"name": "custom", **dataset.fingerprint}})
    assert (back.set_index("id").target.loc[dataset.train.id].tolist()
            == dataset.train.target.tolist())


def test_ids_and_labels_that_are_refused(tmp_path):
    def sentence(ids, labels=None):
        return said(lambda: load(folder_of(ids, tmp_path/"data", labels)))
    assert "column id: 798021801540321281 occurs twice" in sentence(
        [*WIDE[:20], WIDE[0], *WIDE[20:]])
    assert "row 3, column id: an id is needed" in sentence([WIDE[0], "", *WIDE[1:]])
    assert "row 3, column id: an id is needed, of characters that can be seen, not" in sentence(
        [WIDE[0], "a\rb", *WIDE[1:]])
    for label in ("2", "true", " 1", "-1", "0.5", "1e0", "yes"):
        answer = sentence(WIDE, [label, *["0", "1"] * 30])
        assert f"row 2, column target: the label is 0 or 1, not '{label}'" in answer
    dataset = load(folder_of(WIDE, tmp_path/"data", ["1.0", "0.0"] * 20))
    assert dataset.train.target.tolist() == [1, 0] * 17 + [1]
    assert dataset.train.target.dtype == "int64"
    assert dataset.train.id.dtype == "int64"


def test_a_cleaning_that_leaves_nothing_is_named(capsys):
    from disaster_nbdev.clean import clean
    from disaster_nbdev.run_config import RunConfig
    from disaster_nbdev.training import read_words
    frame = pd.DataFrame({"id": range(20), "keyword": None, "target": [0, 1] * 10,
                          "text": ["地震だ 津波が来る", "今日は楽しい"] * 10})
    frames = {"train": frame, "validation": frame, "test": frame}
    words = said(lambda: read_words(RunConfig(embedding="corpus"), frames))
    assert "once they are cleaned by study; choose another cleaning: study, aware" in words
    reader, matrix = read_words(RunConfig(embedding="corpus", cleaning="aware"), frames)
    assert len(reader.vocabulary.words) == 3 and "Warning" not in capsys.readouterr().out
    mixed = {part: frame.assign(text=["地震だ", "fire and smoke"] * 10)
             for part, frame in frames.items()}
    read_words(RunConfig(embedding="corpus"), mixed)
    assert (
        "Warning: 10 of 20 tweets hold no word that the cleaning leaves" in capsys.readouterr().out)
    assert clean(["地震だ"], "study") == [""] or not clean(["地震だ"], "study")[0].strip()
