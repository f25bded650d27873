"""Call the command line as a shell does: exit codes, clear sentences, files whole or untouched."""
import io
import json
import subprocess
import sys

import pandas as pd
import pytest

from conftest import ROOT, run
from disaster_nbdev.calibration import temperature_scaled

SAMPLE = ROOT/"data"/"sample"
HEADER = "id,keyword,location,text,target\n"
GOOD = "".join(f"{i},,,tweet {i},{i % 2}\n" for i in range(20))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a small trained run."""
    out = tmp_path_factory.mktemp("saved")
    answer = run("papermill", "nbs/train.ipynb", str(out/"out.ipynb"), "-p", "output", str(out),
                 "-p", "epochs", "1", "-p", "hidden_size", "4", "-p", "recipe", "small", "-p",
                 "batch_size", "64", DISASTER_DATA=str(SAMPLE))
    assert answer.returncode == 0, answer.stderr
    return out/"models"/"small-glove"


def folder_with(tmp_path, train: bytes | None, test: bytes | None):
    """Write these two files into a folder and return it."""
    for name, content in (("train.csv", train), ("test.csv", test)):
        if content is not None: (tmp_path/name).write_bytes(content)
    return str(tmp_path)


TEST = b"id,keyword,location,text\n900,,,calm\n"


def train_file(*rows: str, encoding: str = "utf-8") -> bytes:
    """Return a correct train.csv with more rows at its end."""
    return (HEADER + GOOD + "".join(f"{row}\n" for row in rows)).encode(encoding)


ONE_CLASS = (HEADER + "".join(f"{i},,,t {i},1\n" for i in range(20))).encode()
SEMICOLONS = train_file().replace(b",", b";").replace(b"text", b"tweet")
LABELED = b"id,keyword,location,text,target\n900,,,calm,0\n"
# case -> train.csv, test.csv, message
BAD_DATA = {
    "no files": (None, None, "There is no train.csv in"),
    "no test": (train_file(), None, "There is no test.csv in"),
    "no column": (b"id,keyword,text,target\n1,,fire,1\n", TEST,
                  "has no column location; it has id, keyword, text, target"),
    "label 2": (train_file("77,,,fire,2"), TEST,
                "train.csv, row 22, column target: the label is 0 or 1, not '2'"),
    "id twice": (train_file("3,,,fire,1"), TEST, "train.csv, row 22, column id: 3 occurs twice"),
    "no id": (train_file(" ,,,fire,1"), TEST,
              "train.csv, row 22, column id: an id is needed, of characters that can be seen, not "
              "nothing"),
    "no text": (train_file("77,,,,1"), TEST,
                "train.csv, row 22, column text: a tweet needs a text; without one take the row "
                "out, not nothing"),
    "no label": (train_file("78,,,fire,"), TEST,
                 "train.csv, row 22, column target: the label is 0 or 1, not nothing"),
    "empty": (b"", TEST, "train.csv is empty"),
    "header only": (HEADER.encode(), TEST, "train.csv holds a header and no tweets"),
    "latin-1": (train_file("79,,,caf\u00e9,1", encoding="latin-1"), TEST,
                "train.csv is not UTF-8: row 22, column text"),
    "labeled test": (train_file(), LABELED, "labels of test rows would leak"),
    "open quote": (train_file('80,,,"fire,1'), TEST,
                   "train.csv, row 22: a quotation mark is never closed"),
    "binary": (b"\x00\x01\x02" + HEADER.encode(), TEST, "holds NUL bytes (row 1)"),
    "one class": (ONE_CLASS, TEST, "all labels are 1"),
    "ragged": (train_file("81,,,fire,1,"), TEST,
               "train.csv, row 22: 6 fields, but the header has 5"),
    "semicolons": (SEMICOLONS, TEST,
                   "has no column text; it has id, keyword, location, tweet, target (separated by "
                   "semicolons)"),
    "gzip": (b"\x1f\x8b\x08" + HEADER.encode(), TEST, "cannot be unpacked"),
    "empty test": (b"\xef\xbb\xbf" + train_file(), b"", "test.csv is empty"),
}


@pytest.mark.parametrize("train, test, said", BAD_DATA.values(), ids=BAD_DATA)
@pytest.mark.parametrize("command", [("data", "show"), ("report",)], ids=" ".join)
def test_bad_data_is_one_sentence(command, train, test, said, tmp_path):
    data, output = tmp_path/"data", tmp_path/"output"
    data.mkdir()
    extra = ("--output", str(output)) if command == ("report",) else ()
    answer = run("disaster", *command, "--data", folder_with(data, train, test), *extra)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not output.exists(), "nothing is written before the data are known to be good"


@pytest.mark.parametrize("words, said", [
    (("report", "--set", "nonsense"), "Unknown set 'nonsense': choose one of"),
    (("report", "--only", "gruu"), "Unknown recipe or run 'gruu'"),
    (("report", "--workers", "0"), "0 is not in the range"),
    (("run", "gru", "-p", "epoch", "3"), "Did you mean 'epochs'?"),
    (("run", "-p", "dropout", "1.5"), "dropout must lie between 0 and 0.99, not 1.5."),
    (("run", "-p", "embedding", "/no/such/vectors.bin"), "/no/such/vectors.bin"),
    (("run", "-p", "recipe", "../../x"), "A recipe's name is"),
    (("run", "gru", "-p", "data", "x"), "'data' is an option of the command, --data"),
    (("run", "-p", "recipe", "mine", "-p", "finetune_from", "mine"), "cannot start from itself"),
    (("run", "nobody"), "Unknown recipe 'nobody': choose one of lstm,"),
    (("score", "x.csv", "--run", "nobody"), "There is no saved run 'nobody'"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_wrong_words_are_one_sentence(words, said):
    answer = run("disaster", *words, DISASTER_DATA=str(SAMPLE))
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("words", [("benchmark",), ("report", "--cluster", "local"),
                                   ("run", "gru", "--cluster", "local")], ids=" ".join)
def test_what_is_gone_is_unknown(words):
    answer = run("disaster", *words)
    assert answer.returncode == 2
    assert "No such" in answer.stderr


def test_help_loads_no_large_library():
    code = """
import sys, disaster_nbdev.cli
heavy = ("tensorflow", "keras", "sklearn", "matplotlib", "gensim", "pandas", "yaml", "papermill")
print([name for name in heavy if name in sys.modules])
"""
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"
    answer = run("disaster", "--help")
    assert answer.returncode == 0
    listed = [line.split()[0] for line in answer.stdout.partition("Commands:")[2].splitlines()
              if line.startswith("  ") and not line.startswith("   ")]
    assert listed == ["data", "export", "open", "readme", "report", "run", "score", "submit"]


def test_score_keeps_rows_columns_and_order(saved, tmp_path):
    tweets = pd.read_csv(SAMPLE/"test.csv", dtype=str, keep_default_na=False)
    tweets = tweets.sample(frac=1, random_state=1)
    tweets.to_csv(tmp_path/"in.csv", index=False)
    answer = run("disaster", "score", str(tmp_path/"in.csv"), "--run", str(saved), "--output",
                 str(tmp_path/"out.csv"))
    assert answer.returncode == 0
    assert f"{len(tweets)} tweets scored" in answer.stderr
    scored = pd.read_csv(tmp_path/"out.csv", dtype=str, keep_default_na=False)
    assert scored[tweets.columns].to_numpy().tolist() == tweets.to_numpy().tolist()
    record = saved.parent.parent/"runs"/"small-glove"
    recorded = pd.read_csv(record/"predictions_test.csv").set_index("id").probability
    expected = recorded.loc[scored.id.astype(int)].to_numpy()
    facts = saved/"operating.json"
    if facts.is_file():
        temperature = json.loads(facts.read_text())["temperature"]
        expected = temperature_scaled(expected, temperature)
    differences = abs(scored.probability.astype(float) - expected)
    assert differences.max() < 1e-5, "the same tweets get the scores of the record"


def test_score_from_and_to_a_pipe(saved):
    text = 'text,who\n"Fire, near the station",a\nzzz,b\n"two\nlines",c\n'
    answer = subprocess.run(["disaster", "score", "-", "--run", str(saved)], input=text,
                            capture_output=True, text=True)
    assert answer.returncode == 0
    assert pd.read_csv(io.StringIO(answer.stdout)).who.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("content, words, said", [
    (None, (), "cannot be read: No such file or directory"),
    (b"", (), "is empty"),
    (b"tweet\nfire\n", (), "has no column text; it has tweet"),
    (b"text,label\nfire,1\n", (), "has a column label already"),
    (b"id,text\n1,fire, big fire\n", (), "row 2: 3 fields, but the header has 2"),
    ("text\ncaf\u00e9\n".encode("latin-1"), (), "not UTF-8: row 2, column text"),
], ids=["missing", "empty", "no column", "label there", "ragged", "latin-1"])
def test_score_refuses_bad_files_and_leaves_the_output_alone(content, words, said, saved, tmp_path):
    source, target = tmp_path/"in.csv", tmp_path/"out.csv"
    if content is not None: source.write_bytes(content)
    target.write_text("precious")
    answer = run("disaster", "score", str(source), "--run", str(saved), "--output", str(target),
                 *words)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert target.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == (1 if content is None else 2)


def test_score_no_tweets_and_odd_tweets(saved, tmp_path):
    (tmp_path/"none.csv").write_text("text\n")
    answer = run("disaster", "score", str(tmp_path/"none.csv"), "--run", str(saved))
    assert answer.returncode == 0
    assert answer.stdout == "text,probability,label,priority\n"
    odd = pd.DataFrame({"text": ["\U0001F525", "zzzzqqq", "fire " * 20_000,
                                 "<script>alert(1)</script>", "\u202Eerif", "=1+1"]})
    odd.to_csv(tmp_path/"odd.csv", index=False)
    answer = run("disaster", "score", str(tmp_path/"odd.csv"), "--run", str(saved))
    assert pd.read_csv(io.StringIO(answer.stdout)).probability.between(0, 1).tolist() == [True] * 6


def test_score_says_when_the_saved_run_is_damaged(saved, tmp_path):
    (tmp_path/"run").mkdir()
    for name in ("config.json", "code.json", "vocabulary.json", "model.keras"):
        (tmp_path/"run"/name).write_bytes((saved/name).read_bytes())
    (tmp_path/"run"/"model.keras").write_bytes((saved/"model.keras").read_bytes()[:2000])
    (tmp_path/"in.csv").write_text("text\nfire\n")
    answer = run("disaster", "score", str(tmp_path/"in.csv"), "--run", str(tmp_path/"run"))
    assert answer.returncode == 2
    assert "no usable saved run" in answer.stderr
    assert "Traceback" not in answer.stderr


CLIENT = """
class KaggleApi:
    def authenticate(self):
        print("a page of help")
        if not {signed_in}: exit(1)

    def competition_submit(self, file_name, message, competition, quiet):
        if {offline}: raise ConnectionError
        lines = open(file_name).read().splitlines()
        return f"{{competition}}: {{len(lines) - 1}} rows, {{lines[0]}}, {{message}}"
"""


def submit(tmp_path, *words, signed_in=True, offline=False):
    """Call `disaster submit` with a client that needs no network."""
    package = tmp_path/"kaggle"/"api"
    package.mkdir(parents=True)
    for folder in (package, package.parent): (folder/"__init__.py").touch()
    code = CLIENT.format(signed_in=signed_in, offline=offline)
    (package/"kaggle_api_extended.py").write_text(code)
    return run("disaster", "submit", *words, PYTHONPATH=str(tmp_path))


def test_a_recorded_run_is_submitted(tmp_path):
    answer = submit(tmp_path, "gru-glove", "--message", "my words")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "nlp-getting-started: 3263 rows, id,target, my words\n"


@pytest.mark.parametrize("words, client, said", [
    (["gru-glov"], {}, "Unknown run 'gru-glov'"),
    (["gru-glove"], {"signed_in": False}, "knows no credentials: create an API token at"),
    (["gru-glove"], {"offline": True}, "did not take submission.csv (ConnectionError)"),
    (["gru-glove", "--output", "/nowhere"], {}, "Unknown run 'gru-glove'")])
def test_what_cannot_be_submitted_is_one_sentence(words, client, said, tmp_path):
    answer = submit(tmp_path, *words, **client)
    assert answer.returncode == 2 and answer.stdout == ""
    assert said in answer.stderr and len(answer.stderr.splitlines()) == 1


def test_a_report_is_opened(tmp_path):
    (tmp_path/"index.html").write_text("<!doctype html>")
    answer = run("disaster", "open", "--output", str(tmp_path), BROWSER="true %s")
    assert answer.returncode == 0 and answer.stdout.strip() == str(tmp_path/"index.html")
    answer = run("disaster", "open", "--output", str(tmp_path/"none"))
    assert answer.returncode == 2 and "There is no report in" in answer.stderr


def test_facts_about_the_data_as_json():
    answer = run("disaster", "data", "show", "--json", "--data", str(SAMPLE))
    facts = json.loads(answer.stdout)
    assert facts["name"] == "sample" and facts["train_rows"] > 1000
