"""Test `disaster score`: all formats, hostile files, stopped runs and complete outputs."""
import contextlib
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import LONG, run, wait_for
from disaster_nbdev import cluster, resumable, scoring
from disaster_nbdev import score_file as file_module
from disaster_nbdev.core import UserError
from disaster_nbdev.resumable import locked
from disaster_nbdev.score_file import score_file
from disaster_nbdev.scoring import ADDED, score, score_texts
from disaster_nbdev.tables import ROWS

WORDS = "fire flood party calm storm train news love".split()


def made(folder: Path, seed: int = 0, ranks: dict | None = None, scale: float = 1.0,
         **settings) -> Path:
    """Save a random network as a run."""
    from disaster_nbdev.model import build
    from disaster_nbdev.featurizer import Featurizer, save_featurizer
    from disaster_nbdev.run_config import RunConfig
    from disaster_nbdev.vocabulary import Vocabulary
    config, rng = RunConfig(use_keyword=True, hidden_size=4,
                            **settings), np.random.default_rng(seed)
    folder.mkdir()
    model = build(config, rng.normal(size=(9, 3)).astype("float32"))
    model.set_weights([(scale * rng.normal(size=w.shape)).astype("float32")
                       for w in model.get_weights()])
    model.save(folder/"model.keras")
    save_featurizer(folder, Featurizer(config, Vocabulary(tuple(WORDS), (1,) * 8), ranks))
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a run with thresholds and a temperature."""
    folder = made(tmp_path_factory.mktemp("run")/"toy")
    (folder/"operating.json").write_text(
        json.dumps({"temperature": 2.0, "thresholds": {"0.90": 0.4, "0.95": 0.3},
                    "fitted_on": "validation"}))
    return folder


def tweets(n: int, seed: int = 0) -> pd.DataFrame:
    """Return rows of random words."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"id": [f"{i:07d}" for i in range(n)],
                         "keyword": [["", "fire", "train%20news"][i % 3] for i in range(n)],
                         "text": [" ".join(row) for row in rng.choice(WORDS, (n, 6))]})


def command(*words: object) -> list[str]:
    """Return the command as a shell would run it."""
    return ["disaster", "score", *map(str, words)]


def asked(*words: object) -> str:
    """Run a command with a mistake, and return its one-sentence answer."""
    answer = run(*command(*words))
    assert (answer.returncode == 2 and "Traceback" not in answer.stderr
            and len(answer.stderr.strip().splitlines()) == 1), answer.stderr
    return answer.stderr


def said(call) -> str:
    """Return the message of the `UserError` that a call raises."""
    with pytest.raises(UserError) as caught: call()
    return str(caught.value)


FRAME = pd.DataFrame({"id": ["007", "8", "9"], "keyword": ["fire", "", "train%20news"],
                      "text": ['Fire, "big"\nfire', " zzz ", "party 🎉 café"],
                      "note": ["NA", " x ", "1.50"]})


def put(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table in the format of its name."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"): frame.to_parquet(path)
    elif name.endswith(".csv"): frame.to_csv(path, index=False)
    else: frame.to_json(path, orient="records", lines=True, force_ascii=False)
    return path


def got(path: Path) -> pd.DataFrame:
    """Read a table, with every value but the scores as text."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"): frame = pd.read_parquet(path)
    elif name.endswith(".csv"): frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    else: frame = pd.read_json(path, lines=True, dtype=False)
    return frame.astype({"probability": float, "label": int})


FORMS = ["csv", "csv.gz", "jsonl", "ndjson.gz", "parquet"]


@pytest.mark.parametrize("into", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_every_form(form, into, saved, tmp_path):
    source, target = put(FRAME, tmp_path/f"in.{form}"), tmp_path/f"out.{into}"
    assert score_file(str(source), str(target), saved).rows == 3
    scored, expected = got(target), score(FRAME, saved)
    assert list(scored) == [*FRAME, *ADDED]
    assert scored[list(FRAME)].to_numpy().tolist() == FRAME.to_numpy().tolist()
    odds = np.sqrt(expected.probability / (1 - expected.probability)) # the temperature is 2
    np.testing.assert_allclose(scored.probability, odds / (1 + odds), rtol=1e-6)
    assert scored.label.tolist() == expected.label.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({source.name, target.name})


def test_json_keeps_every_character_and_parquet_every_type(saved, tmp_path):
    lines = ['{"id":12345678901234567890, "x": 1.10,"text":"fire","deep":{"a":[1, 2]}}',
             '{"n":1e400,"text": "flood"}', '{"text":"a","big":' + "9" * 5000 + "}"]
    (tmp_path/"in.jsonl").write_text("\n".join(lines) + "\n\n")
    score_file(str(tmp_path/"in.jsonl"), str(tmp_path/"out.jsonl"), saved)
    written = (tmp_path/"out.jsonl").read_text().splitlines()
    assert [new.startswith(old[:-1]) for new, old in zip(written, lines)] == [True] * 3
    assert [list(json.loads(line, parse_int=str))[-3:] for line in written] == [list(ADDED)] * 3
    table = pa.table({"id": pa.array([1, 2], pa.uint8()),
                      "when": pa.array([0, None], pa.timestamp("ms")), "tags": [["a"], []],
                      "text": pa.array(["fire", "flood"]).dictionary_encode()})
    pq.write_table(table, tmp_path/"in.parquet")
    score_file(str(tmp_path/"in.parquet"), str(tmp_path/"out.parquet"), saved)
    assert pq.read_table(tmp_path/"out.parquet").select(table.column_names).equals(table)
    assert "which cannot be written as CSV" in said(
        lambda: score_file(str(tmp_path/"in.parquet"), str(tmp_path/"out.csv"), saved))


def test_the_keyword_is_read_from_its_column(saved, tmp_path):
    frame = FRAME.rename(columns={"keyword": "topic", "text": "tweet"})
    source = put(frame, tmp_path/"in.csv")
    score_file(str(source), str(tmp_path/"out.csv"), saved, "tweet", "topic")
    score_file(str(source), str(tmp_path/"none.csv"), saved, "tweet")
    with_it, without = got(tmp_path/"out.csv").probability, got(tmp_path/"none.csv").probability
    assert with_it[1] == without[1] and with_it[2] != without[2]


def test_operating_points_and_priorities(saved, tmp_path):
    source, given = put(tweets(200), tmp_path/"in.csv"), score(tweets(200), saved).probability
    for point, threshold in [("balanced", 0.5), ("recall-0.90", 0.4), ("recall-0.95", 0.3),
                             ("0.8", 0.8)]:
        score_file(str(source), str(tmp_path/"out.csv"), saved, point=point)
        scored = got(tmp_path/"out.csv")
        assert scored.label.tolist() == (given > threshold).astype(int).tolist()
        assert scored.priority.tolist() == np.select([given > 0.4, given > 0.3],
                                                     ["high", "medium"], "low").tolist()
    answer = asked(source, "--run", saved, "--operating-point", "recall-0.99")
    assert "Unknown operating point 'recall-0.99'" in answer
    assert "this run has balanced, recall-0.90, recall-0.95" in answer


PACKED = gzip.compress(b"text\n" + bytes(
    np.random.default_rng(0).integers(97, 122, 90_000, "uint8")) + b"\n")
HOSTILE = [ # content, what is said
    (b"", "is empty"),
    (b"\n\n", "is empty"),
    (b"tweet\nfire\n", "has no column text; it has tweet."),
    (b"id;tweet\n1;fire\n", "it has id, tweet (separated by semicolons)"),
    (b"id,text\n1,\n", "row 2: no text in text (absent, empty or blank)"),
    (b"text\nfire\n\"  \"\n", "row 3: no text in text"),
    (b"text\nfire\0\n", "holds NUL bytes (row 2)"),
    (b"text,text\na,b\n", "has the column text twice"),
    (b"text,probability\nfire,1\n", "has a column probability already"),
    (b"text,priority\nfire,1\n", "has a column priority already"),
    (b"id,text\n1,fire, big fire\n", "row 2: 3 fields, but the header has 2"),
    (b"id,text\n" + b"1,fire\n" * 20_000 + b"2\n", "row 20002: 1 fields, but the header has 2"),
    (b'id,text\n1,"fire\n2,flood\n', "a quotation mark is never closed"),
    (b'id,text\n1,"fire' + b"\n2,flood" * 1_200_000, "a quotation mark is never closed"),
    (b"id,text\n1,fire\n2,caf\xe9\n", "is not UTF-8: row 3, column text"),
    (b"caf\xe9,text\n1,fire\n", "is not UTF-8: row 1"),
    ("id,text\n1,fire\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
    ("id,text\n1,fire\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
    (b"PK\x03\x04....", "a workbook or an archive"),
    (PACKED[:-2_000], "cannot be unpacked"),
    (PACKED[:40_000] + b"\xff" * 1_000 + PACKED[41_000:], "cannot be unpacked"),
    (PACKED[:10] + b"\xff" * 1_000, "cannot be unpacked: Error -3"),
    (b"x," * 3_000_000, "the header, which is the first row, is longer than 4 MB"),
    (b"x" * 99 + b"\nfire\n", f"it has {'x' * 60}…."),
]


@pytest.mark.parametrize("content, sentence", HOSTILE, ids=[sentence for _, sentence in HOSTILE])
def test_a_hostile_file_is_one_sentence_and_leaves_the_output_alone(content, sentence, saved,
                                                                    tmp_path):
    (tmp_path/"in.csv").write_bytes(content)
    (tmp_path/"out.csv").write_text("precious")
    assert sentence in said(lambda: score_file(str(tmp_path/"in.csv"), str(tmp_path/"out.csv"),
                                               saved, workers=1))
    assert (tmp_path/"out.csv").read_text() == "precious" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name, content, sentence", [
    ("in.jsonl", b'{"text": "a"}\n[1]\n', "line 2: this is not a JSON object"),
    ("in.jsonl", b'{"text": "a"\n', "line 1: this is not a JSON object"),
    ("in.jsonl", b'{"tweet": "a"}\n', "has no column text"),
    ("in.jsonl", b'{"text": "a", "label": 1}\n', "has a column label already"),
    ("in.jsonl", b'{"text": "caf\xe9"}\n', "not UTF-8: line 1"),
    ("in.jsonl", b"[" * 200_000 + b"\n", "line 1: this is not a JSON object"),
    ("in.jsonl", b'{"text": "a"}\n{"text": "\\ud800"}\n', "line 2: there is half of a character"),
    ("in.jsonl", b'{"text": "a", "\\uDFFF": 1}\n', "line 1: there is half of a character"),
    ("in.jsonl", b'{"text": "\xed\xa0\x80"}\n', "not UTF-8: line 1"),
    ("in.jsonl", '{"text": "a"}\n'.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    ("in.jsonl", b'{"text": "' + b"a" * (4 << 20) + b'"}\n', "line 1: it is longer than 4 MB"),
    ("in.jsonl", PACKED[:10] + b"\xff" * 1_000, "cannot be unpacked: Error -3"),
    ("in.parquet", b"text\nfire\n", "is not a Parquet file"),
    ("in.jsonl", b'{"text": "a"}\n' * 20_000 + b'{"text": "a", "who": 1}\n',
     "the field who occurs only in later lines"),
    ("in.xlsx", b"text\nfire\n", "it must be one of .csv"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_other_hostile_files(name, content, sentence, saved, tmp_path):
    (tmp_path/name).write_bytes(content)
    assert sentence in said(lambda: score_file(str(tmp_path/name), str(tmp_path/"out.csv"), saved))
    assert len(list(tmp_path.iterdir())) == 1


def test_files_that_are_none(saved, tmp_path):
    source = put(tweets(10), tmp_path/"in.csv")
    (tmp_path/"folder.parquet").mkdir()
    def score(source, target): return said(lambda: score_file(str(source), str(target), saved))
    assert score(tmp_path, "-") == f"{tmp_path} cannot be read: Is a directory."
    assert (score(tmp_path/"folder.parquet", "-")
            == f"{tmp_path}/folder.parquet cannot be read: Is a directory.")
    assert (score(tmp_path/"none.parquet", "-")
            == f"{tmp_path}/none.parquet cannot be read: No such file or directory.")
    assert "is a folder: name a file" in score(source, tmp_path)
    assert "each need a name" in score("", "-")
    assert "The input and the output each need a name" in asked(source, "--run", saved, "--output",
                                                                "")
    for closed, sentence in [("<&-", "Standard input is closed"), (">&-", "")]:
        answer = run("bash", "-c",
                     f"disaster score {'-' if sentence else source} --run {saved} {closed}")
        assert ("Traceback" not in answer.stderr and sentence in answer.stderr
                and answer.returncode == 2), answer.stderr


def test_columns_that_cannot_be_kept_are_one_sentence(saved, tmp_path):
    source = tmp_path/"in.parquet"
    def sentence(table: pa.Table, target: str) -> str:
        pq.write_table(table, source)
        return said(lambda: score_file(str(source), str(tmp_path/target), saved))
    text, raw = pa.array(["fire"]), pa.array([b"\xff"])
    for target, name in [("out.jsonl", "JSON lines"), ("out.csv", "CSV")]:
        words = sentence(pa.table({"text": text, "raw": raw}), target)
        assert words == (f"The column raw holds binary, which cannot be written as {name}: write "
                         f"Parquet.")
    assert "list<element: binary>, which cannot be written as JSON lines" in sentence(
        pa.table({"text": text, "raw": pa.array([[b"a"]])}), "out.jsonl")
    assert "has the column text twice" in sentence(pa.table([text, text], names=["text", "text"]),
                                                   "out.csv")
    assert "is damaged" in sentence(pa.table(
        {"text": pa.Array.from_buffers(pa.string(), 1, raw.buffers())}), "out.csv")
    pq.write_table(pa.table({"text": text, "x": [float("nan")], "deep": [[{"y": float("inf")}]]}),
                   source)
    score_file(str(source), str(tmp_path/"out.jsonl"), saved)
    assert json.loads((tmp_path/"out.jsonl").read_text(),
                      parse_constant=lambda name: pytest.fail(name))["deep"] == [{"y": None}]


def test_no_row_is_taken_for_the_end(saved, tmp_path):
    # what an earlier version put behind the end stands where its chunks end
    frame = tweets(3 * 16_384 - 1)
    frame.loc[frame.index % 16_384 > 16_380, ["id", "keyword", "text"]] = "\x1ethe end\x1e"
    source = put(frame, tmp_path/"in.csv")
    assert score_file(str(source), str(tmp_path/"out.csv"), saved, workers=1).rows == len(frame)
    assert got(tmp_path/"out.csv").id.tolist() == frame.id.tolist()


def test_odd_tables_that_are_scored(saved, tmp_path):
    def scored(content: bytes) -> pd.DataFrame:
        (tmp_path/"in.csv").write_bytes(content)
        score_file(str(tmp_path/"in.csv"), str(tmp_path/"out.csv"), saved)
        return pd.read_csv(tmp_path/"out.csv", dtype=str, keep_default_na=False)
    assert scored(b"text,id\n").columns.tolist() == ["text", "id", *ADDED]
    assert (tmp_path/"out.csv").read_bytes() == b"text,id,probability,label,priority\n"
    assert len(scored(b"text\nfire")) == 1
    assert scored("\ufefftext\n\nfire\n".encode()).text.tolist() == ["fire"]
    assert (scored(b'"my\ntext",text\r\n"a\r\nb","x, ""y"""\r\n').iloc[0, :2].tolist()
            == ["a\r\nb", 'x, "y"'])
    assert scored(b'text\n"' + b"fire " * 600_000 + b'"\n').text.str.len().tolist() == [3_000_000]
    assert scored("text\n\U0001F525\n<b>\n=1+1\n\u202Eerif\n\x07\n".encode()).probability.astype(
        float).between(0, 1).tolist() == [True] * 5


def test_a_table_of_many_chunks_is_scored_the_same_by_any_number_of_workers(saved, tmp_path):
    frame = tweets(40_000)
    source = put(frame, tmp_path/"in.csv")
    for workers in (1, 2):
        score_file(str(source), str(tmp_path/f"{workers}.csv"), saved, workers=workers)
    assert_same_scores(got(tmp_path/"1.csv"), got(tmp_path/"2.csv"))
    written = got(tmp_path/"1.csv")
    assert written.id.tolist() == frame.id.tolist()
    given = score_texts(str(saved), frame.text.tolist(), frame.keyword.tolist(), [0.5])
    assert written.label.tolist() == (given > 0.5).astype(int).tolist()
    few = frame.sample(100, random_state=1)
    np.testing.assert_allclose(score_texts(str(saved), few.text.tolist(), few.keyword.tolist()),
                               given[few.index], rtol=0, atol=1e-6)


def assert_same_scores(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Check equal rows, labels and priorities, and probabilities within rounding."""
    # of seven digits each
    np.testing.assert_allclose(one.probability, other.probability, rtol=0, atol=1.1e-6)
    rest = [name for name in one if name != "probability"]
    assert one[rest].equals(other[rest])


@pytest.mark.parametrize("step", [-1e-8, 0.0, 1e-8])
def test_a_threshold_on_a_probability_gives_the_same_labels_in_any_order(step, tmp_path):
    folder, frame = made(tmp_path/"run", cell="lstm", scale=0.5), tweets(20_000)
    given = np.sort(score_texts(str(folder), frame.text.tolist(), frame.keyword.tolist()))
    high, medium = float(given[15_000]) + step, float(given[5_000]) + step
    (folder/"operating.json").write_text(
        json.dumps({"temperature": 0.7, "thresholds": {"0.90": high, "0.95": medium}}))
    point = repr(float(given[10_000]) + step)
    assert given[5_000] < given[10_000] < given[15_000]
    orders = [frame, frame.sample(frac=1, random_state=1), frame.iloc[::-1],
              frame.iloc[9_000:11_000], frame.iloc[7:8]]
    outputs = []
    for number, part in enumerate(orders):
        source, target = put(part, tmp_path/f"{number}.csv"), tmp_path/f"out-{number}.csv"
        score_file(str(source), str(target), folder, point=point, workers=1 + number % 2)
        outputs.append(got(target).sort_values("id"))
    whole = outputs[0].set_index("id", drop=False)
    assert set(whole.priority) == {"high", "medium", "low"} and set(whole.label) == {0, 1}
    for part in outputs[1:]:
        assert_same_scores(part.reset_index(drop=True), whole.loc[part.id].reset_index(drop=True))


def begun(source: Path, target: Path, saved: Path, parts: int, *words: object) -> subprocess.Popen:
    """Start a run in the background, and wait until it has finished some parts."""
    process = subprocess.Popen(command(source, "--output", target, "--run", saved, "--workers", 1,
                                       *words), stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    folder = target.with_name(f".{target.name}.parts")
    while len(list(folder.glob("*.part"))) < parts:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)  # less than a chunk takes
    return process


@pytest.fixture(scope="module")
def long(tmp_path_factory, saved):
    """Return a file that takes some seconds to score, and its scores."""
    folder = tmp_path_factory.mktemp("long")
    source = put(tweets(16_384 * 8), folder/"in.csv")
    score_file(str(source), str(folder/"whole.csv"), saved, workers=1)
    return source, (folder/"whole.csv").read_bytes()


def test_a_killed_run_goes_on_and_a_second_one_is_refused(long, saved, tmp_path):
    source, whole = long
    target = tmp_path/"out.csv"
    process = begun(source, target, saved, 2)
    process.send_signal(signal.SIGSTOP)
    assert "is being written by another run" in said(
        lambda: score_file(str(source), str(target), saved))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists() and len(list((tmp_path/".out.csv.parts").glob("*.part"))) >= 2
    told = []
    def tell(text, passing=False): told.append(text)
    done = score_file(str(source), str(target), saved, workers=1, tell=tell)
    assert told[0] == "Resuming an earlier run."
    assert done.kept >= 2 * 16_384
    assert done.rows == 8 * 16_384
    expected = pd.read_csv(io.BytesIO(whole), dtype=str, keep_default_na=False)
    assert_same_scores(got(target), expected.astype({"probability": float, "label": int}))
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_ctrl_c_keeps_the_parts_and_says_so(long, saved, tmp_path):
    source, _ = long
    process = begun(source, tmp_path/"out.csv", saved, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert "run the same command again to resume" in stderr
    assert "Traceback" not in stderr
    other = tmp_path/"other.csv" # the input has changed: parts of another file are of no use
    other.write_bytes(source.read_bytes()[:100_000].rsplit(b"\n", 1)[0] + b"\n")
    told = []
    def tell(text, passing=False): told.append(text)
    score_file(str(other), str(tmp_path/"out.csv"), saved, tell=tell)
    assert told[0].startswith("Starting over: the input has changed")
    score_file(str(other), str(tmp_path/"fresh.csv"), saved)
    assert_same_scores(got(tmp_path/"out.csv"), got(tmp_path/"fresh.csv"))


def test_workers_end_when_their_parent_is_killed(long, saved, tmp_path):
    process = begun(long[0], tmp_path/"out.csv", saved, 1, "--workers", 2)
    children = [int(pid) for pid in Path(
        f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(children) >= 2
    process.kill()
    process.wait()
    def alive(pid):
        path = Path(f"/proc/{pid}/stat")
        return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"
    wait_for(lambda: not any(map(alive, children)))


class Ending:
    """Represent workers that end at once, for any task."""
    def __init__(self, pool): self.pool = pool
    def submit(self, function, *arguments): return self.pool.submit(os._exit, 1)


def test_a_worker_that_is_killed_is_one_sentence(long, saved, tmp_path, monkeypatch):
    real = file_module.processes
    @contextlib.contextmanager
    def ending(workers, run):
        with real(workers, run) as pool: yield Ending(pool)
    monkeypatch.setattr(file_module, "processes", ending)
    assert "A worker process was ended from outside" in said(
        lambda: score_file(str(long[0]), str(tmp_path/"out.csv"), saved, workers=2))
    assert (tmp_path/".out.csv.parts").is_dir()


class Failing:
    """Score some chunks, and then raise an error."""
    def __init__(self, chunks: int, error: Exception): self.left, self.error = chunks, error

    def __call__(self, *arguments):
        self.left -= 1
        if self.left < 0: raise self.error
        return score_texts(*arguments)


ERRORS = [UserError("The run is damaged."), BrokenExecutor(),
          OSError(28, "No space left on device"), MemoryError(), KeyError("a")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_what_is_done_is_kept_unless_the_input_is_wrong(error, saved, tmp_path, monkeypatch):
    source, told = put(tweets(40_000), tmp_path/"in.csv"), []
    monkeypatch.setattr(scoring, "score_texts", Failing(2, error))
    raised = UserError if isinstance(error, BrokenExecutor) else type(error)
    with pytest.raises(raised):
        score_file(str(source), str(tmp_path/"out.csv"), saved, workers=1)
    assert len(list((tmp_path/".out.csv.parts").glob("*.part"))) == 2
    assert (tmp_path/".out.csv.parts").stat().st_mode & 0o777 == 0o700
    monkeypatch.undo()
    def tell(text, passing=False): told.append(text)
    def again():
        return score_file(str(source), str(tmp_path/"out.csv"), saved, workers=1, tell=tell)
    with monkeypatch.context() as other: # parts of another version of the program are not used
        other.setattr(file_module, "code_hash", lambda *_: "0" * 64)
        other.setattr(scoring, "score_texts", Failing(1, KeyError("a")))
        with pytest.raises(KeyError): again()
    assert again().kept == 0
    assert [text for text in told if "over" in text] == [
        "Starting over: the code has changed since an earlier run was stopped."] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_an_output_keeps_its_mode_and_nothing_is_joined_next_to_it(saved, tmp_path, monkeypatch):
    source, seen, synced = put(tweets(10), tmp_path/"in.csv"), [], []
    real = file_module.join_parts
    (tmp_path/"out.csv").touch(0o640)
    os.chmod(tmp_path/"out.csv", 0o640)
    def join(*arguments, **options):
        real(*arguments, **options)
        seen.extend(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(file_module, "join_parts", join)
    monkeypatch.setattr(resumable, "sync", lambda path: synced.append(path.name))
    score_file(str(source), str(tmp_path/"out.csv"), saved)
    assert (tmp_path/"out.csv").stat().st_mode & 0o777 == 0o640
    assert sorted(seen) == [".out.csv.parts", "in.csv", "out.csv"]
    # the disk holds the output before its parts go
    assert synced[-2:] == ["whole.part.tmp", tmp_path.name]
    score_file(str(source), str(tmp_path/"new.csv"), saved)
    assert (tmp_path/"new.csv").stat().st_mode == source.stat().st_mode


def test_a_folder_of_parts_that_somebody_has_planted_is_refused(tmp_path):
    place, precious = tmp_path/".parts", tmp_path/"precious"
    def refusal(): return said(lambda: locked(place, Path("out.csv")).__enter__())
    with locked(place, Path("out.csv")): assert "is being written by another run" in refusal()
    with locked(place, Path("out.csv")): pass # free again
    assert "cannot be written: No such file" in said(
        lambda: locked(tmp_path/"none"/".parts", Path("out.csv")).__enter__())
    precious.write_text("mine")
    for name in ("lock", "note.json", "0000000.part", "whole.part.tmp", "0000001.part.tmp"):
        (place/name).symlink_to(precious)
        assert str(place/name) in refusal()
        (place/name).unlink()
        os.mkfifo(place/name) # opening it would wait for a writer
        assert str(place/name) in refusal()
        (place/name).unlink()
    os.link(precious, place/"0000000.part")
    assert "0000000.part was not put there by an earlier run" in refusal()
    (place/"0000000.part").unlink()
    (place/"letter.txt").write_text("mine")
    assert "letter.txt was not put there" in refusal()
    shutil.rmtree(place)
    place.symlink_to(tmp_path)
    assert "is a link" in refusal()
    assert precious.read_text() == "mine"


def test_parts_are_out_of_reach_before_they_are_removed(saved, tmp_path, monkeypatch):
    source, folder = put(tweets(10), tmp_path/"in.csv"), tmp_path/".out.csv.parts"
    seen, real = [], shutil.rmtree
    def removing(path, *rest, **more):
        seen.append((Path(path) != folder, folder.exists()))
        real(path, *rest, **more)
    monkeypatch.setattr(shutil, "rmtree", removing)
    score_file(str(source), str(tmp_path/"out.csv"), saved)
    assert seen == [(True, False)]


def test_a_run_that_is_retrained_meanwhile_is_not_mixed_in(saved, tmp_path, monkeypatch):
    folder, source = made(tmp_path/"run"), put(tweets(40_000), tmp_path/"in.csv")
    real = file_module.executor
    score_file(str(source), str(tmp_path/"before.csv"), folder, workers=1)
    @contextlib.contextmanager
    def retraining(*arguments):
        shutil.copy(made(tmp_path/"other", seed=1)/"model.keras", folder/"model.keras")
        with real(*arguments) as ready: yield ready
    monkeypatch.setattr(file_module, "executor", retraining)
    score_file(str(source), str(tmp_path/"out.csv"), folder, workers=2)
    assert (tmp_path/"out.csv").read_bytes() == (tmp_path/"before.csv").read_bytes()


def test_threads_of_one_process_score_as_one(tmp_path):
    folder = str(made(tmp_path/"run", ranks={word: place for place, word in enumerate(WORDS)},
                      cleaning="aware"))
    rng = np.random.default_rng(0)
    texts = [" ".join(f"{a}{b}" for a, b in zip(rng.choice(WORDS, 6),
                                                rng.choice([*WORDS, "X" * 9,
                                                            *map(str, range(9_999))], 6)))
             for _ in range(2_000)]
    parts = [texts[start:start + 100] for start in range(0, len(texts), 100)]
    alone = [score_texts(folder, part, [None] * 100) for part in parts]
    scoring.open_run.cache_clear() # nothing is learned yet
    score_texts(folder, ["fire"], [None])
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(lambda part: score_texts(folder, part, [None] * 100),
                                        parts))
    finally: sys.setswitchinterval(before)
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(alone), rtol=0, atol=1e-6)


WORDS_RUN = b'{"embedding": "glove", "cleaning": "study", '


@pytest.mark.parametrize("name, content", [
    ("operating.json", b"[]"), ("operating.json", b"null"),
    ("operating.json", b'{"temperature": "2"}'), ("operating.json", b'{"temperature": 0}'),
    ("operating.json", b'{"temperature": NaN}'), ("operating.json", b'{"thresholds": [0.3]}'),
    ("operating.json", b'{"thresholds": {"0.90": "x"}}'),
    ("operating.json", b'{"thresholds": {"0.90": true}}'),
    ("operating.json", b'{"thresholds": {"0.90": 3}}'),
    ("config.json", b"[]"), ("config.json", b'{"embedding": 3}'),
    ("config.json", b'{"embedding": "glove", "cleaning": 3, "cell": "lstm"}'),
    ("config.json", WORDS_RUN + b'"cell": ["lstm"]}'),
    ("config.json", WORDS_RUN + b'"cell": "rnn"}'),
    ("config.json", WORDS_RUN + b'"cell": "gru", "pooling": "both"}'),
    ("config.json", WORDS_RUN + b'"cell": "gru", "pooling": 1}'),
    ("vocabulary.json", b'{"words": ["fire"], "counts": [1], "size": null}'),
    ("vocabulary.json", b"[]"), ("model.keras", b"PK"),
], ids=lambda value: value.decode() if isinstance(value, bytes) else value)
def test_a_damaged_run_is_one_sentence(name, content, saved, tmp_path):
    shutil.copytree(saved, tmp_path/"run")
    (tmp_path/"run"/name).write_bytes(content)
    source = put(tweets(10), tmp_path/"in.csv")
    sentence = said(lambda: score_file(str(source), str(tmp_path/"out.csv"), tmp_path/"run"))
    assert "no usable saved run" in sentence
    assert name in sentence
    assert "train it" not in sentence
    assert "\n" not in sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "run"]


def test_pipes(saved):
    text = 'text,who\n"Fire, near the station",a\nzzz,b\n"two\nlines",c\n'
    for given in (text.encode(), gzip.compress(text.encode())):
        answer = subprocess.run(command("-", "--run", saved), input=given, capture_output=True)
        assert answer.returncode == 0
        assert pd.read_csv(io.BytesIO(answer.stdout)).who.tolist() == ["a", "b", "c"]
    answer = subprocess.run(command("-", "--run", saved, "--format", "jsonl"),
                            input=b'{"text": "fire"}\n', capture_output=True)
    assert json.loads(answer.stdout)["text"] == "fire"


def test_a_reader_that_leaves_early_is_no_mistake(long, saved):
    process = subprocess.Popen(command(long[0], "--run", saved), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("id,keyword,text,probability")
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(LONG) == 128 + signal.SIGPIPE


def test_outputs_that_cannot_be_written(saved, tmp_path):
    source = put(tweets(10), tmp_path/"in.csv")
    (tmp_path/"file").write_text("")
    answer = asked(source, "--run", saved, "--output", tmp_path/"none"/"out.csv")
    assert "cannot be written: No such file or directory" in answer
    for target, sentence in [(tmp_path/"file"/"out.csv", "Not a directory"),
                             (tmp_path, "is a folder"), (source, "is the input"),
                             (tmp_path/"out.xlsx", "must be one of")]:
        assert sentence in said(lambda: score_file(str(source), str(target), saved))
    if Path("/dev/full").exists():
        assert "No space left" in asked(source, "--run", saved, "--output", "/dev/full")
    (tmp_path/"link.csv").symlink_to("real.csv")
    score_file(str(source), str(tmp_path/"link.csv"), saved)
    assert (tmp_path/"link.csv").is_symlink() and len(got(tmp_path/"real.csv")) == 10


def test_a_cluster_gives_the_same(saved, tmp_path):
    pytest.importorskip("distributed")
    source = put(tweets(20_000), tmp_path/"in.csv")
    score_file(str(source), str(tmp_path/"here.csv"), saved, workers=1)
    score_file(str(source), str(tmp_path/"there.csv"), saved, workers=1, cluster="local")
    assert_same_scores(got(tmp_path/"here.csv"), got(tmp_path/"there.csv"))


@pytest.mark.parametrize("children", [1, 2, 3])
def test_an_interrupt_while_a_cluster_starts_is_one_sentence(children, saved, tmp_path):
    """Interrupt at Python's resource tracker, at the first worker, and at the second."""
    pytest.importorskip("distributed")
    psutil = pytest.importorskip("psutil")
    words = command("-", "--format", "jsonl", "--output", tmp_path/"out.jsonl", "--run", saved,
                    "--workers", 2, "--cluster", "local")
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    # the cluster starts when two chunks are read; more never comes, so the command cannot end
    process.stdin.write('{"text": "fire"}\n' * (2 * ROWS + 1))
    process.stdin.flush()
    wait_for(lambda: process.poll() is not None
             or len(psutil.Process(process.pid).children()) >= children)
    os.killpg(process.pid, signal.SIGINT) # as a terminal does
    process.wait(LONG)
    sentences = [line for line in process.stderr.read().splitlines()
                 if not line.endswith("a second")] # without progress
    assert process.returncode == 130, sentences
    assert len(sentences) == 1 and sentences[0].startswith("Stopped after "), sentences


def test_a_worker_with_other_software_refuses_even_if_it_was_not_asked(saved, tmp_path,
                                                                       monkeypatch):
    pytest.importorskip("distributed")
    source = put(tweets(10), tmp_path/"in.csv")
    # here: as for one that joins later
    monkeypatch.setattr(cluster, "check_software", lambda *_: None)
    monkeypatch.setattr(cluster, "package_hash", lambda: "0" * 12)
    assert "runs another disaster_nbdev" in said(
        lambda: score_file(str(source), str(tmp_path/"out.csv"), saved, workers=1, cluster="local"))
    assert (tmp_path/".out.csv.parts").is_dir()


def test_scoring_words_does_not_load_tensorflow(saved, tmp_path):
    source = put(tweets(10), tmp_path/"in.csv")
    code = f"""
import sys
from pathlib import Path
from disaster_nbdev.resumable import locked
from disaster_nbdev.score_file import score_file
score_file({str(source)!r}, {str(tmp_path/'out.csv')!r}, Path({str(saved)!r}), point='recall-0.90')
heavy = ('tensorflow', 'keras', 'sklearn', 'matplotlib', 'torch', 'jax', 'distributed')
print([name for name in heavy if name in sys.modules])
"""
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"
