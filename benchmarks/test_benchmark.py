"""Run the benchmark on tiny inputs; check its page, its figures and their details."""
import json
import os

import pytest

import benchmark
import capacity
from conftest import ROOT, run

TOY = """{cells: [gru], contenders: [ours, "study's recipe"], repetitions: 2, tweets: 64,
          embed_dim: 3, hidden_size: 2, product_size: 64, rows: 120, rows_study: 40,
          rows_counts: 60, score_repetitions: 1, vector_rows: 4000, vector_repetitions: 1,
          clean_repetitions: 1, start_repetitions: 1, rows_many: 0}"""
TARGETED = ["train_vs_study_recipe", "train_vs_pytorch_packed", "train_vs_floor",
            "recurrent_dropout_vs_plain", "score_rows_per_second", "score_vs_study_path",
            "score_vs_tfidf", "vectors_peak_mb", "vectors_vs_read", "vectors_vs_gunzip",
            "clean_rows_per_second_core", "import_seconds"]


def papermill(template, folder, *words, **environment):
    """Run a report template on the sample."""
    return run("papermill", f"benchmarks/{template}.ipynb", str(folder/f"{template}.ipynb"), "-p",
               "output", str(folder/"report"), *words, DISASTER_DATA=str(ROOT/"data"/"sample"),
               **{"PYTHONPATH": str(ROOT/"benchmarks"), **environment})


HOST = "host-of-the-tests-4711"
# a fake name, since a real one may be a word that occurs anyway
ELSEWHERE = f"import os, platform, socket; platform.node = socket.gethostname = lambda: {HOST!r}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Run a toy benchmark with a fake host name and its own home; return folder and figures."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder/"home").mkdir()
    (folder/"sitecustomize.py").write_text(ELSEWHERE)
    answer = papermill("benchmark", folder, "-y", TOY, HOME=str(folder/"home"),
                       PYTHONPATH=os.pathsep.join([str(folder), str(ROOT), str(ROOT/"benchmarks")]))
    assert answer.returncode == 0, answer.stderr
    return folder, json.loads((folder/"report"/"benchmark.json").read_text())


def outputs(path):
    """Return all outputs of an executed notebook."""
    return [output for cell in json.loads(path.read_text())["cells"]
            for output in cell.get("outputs", [])]


def test_every_figure_is_a_number_or_was_not_measured(made):
    _, facts = made
    assert list(facts) == ["schema", *TARGETED, "details"] and list(benchmark.TARGETS) == TARGETED
    # their contenders were not included
    absent = {"train_vs_pytorch_packed", "recurrent_dropout_vs_plain"}
    for name in TARGETED:
        assert ((facts[name] is None) == (name in absent)
                and (facts[name] is None or type(facts[name]) in (int, float)
                     and facts[name] > 0)), name


def test_the_details_hold_every_repetition_and_the_figures_follow_from_them(made):
    details = made[1]["details"]
    taken = {name: [row["seconds"] for row in details["training"]
                    if row["contender"] == f"gru, {name}"] for name in ("ours", "study's recipe")}
    assert [len(seconds) for seconds in taken.values()] == [2, 2]
    ratios = [study / ours for study, ours in zip(taken["study's recipe"], taken["ours"])]
    assert made[1]["train_vs_study_recipe"] == pytest.approx(sum(ratios) / 2)
    floor = benchmark.operations("gru", details["work"]["tokens"], 3, 2) / details["product_rate"]
    assert made[1]["train_vs_floor"] == pytest.approx(sum(taken["ours"]) / 2 / floor)
    assert details["answers_apart"] < 1e-4, "a faster scorer must return the same probabilities"
    assert ({"score_rate", "read_rate", "write_rate", "bytes_in", "bytes_out", "memory_mb",
             "start_seconds", "cores"} == set(details["capacity"]))


def test_neither_figures_nor_page_name_the_machine(made):
    folder, facts = made
    assert ({"processor", "cores", "memory_gb", "system", "versions", "threads", "date"}
            <= set(facts["details"]["machine"]))
    texts = [json.dumps(facts), *(json.dumps(output)
                                  for output in outputs(folder/"benchmark.ipynb"))]
    for text in texts:
        assert HOST not in text
        assert str(ROOT) not in text
        assert str(folder) not in text, "this folder contains the home, too"


def test_the_page_begins_with_the_targets(made):
    shown = outputs(made[0]/"benchmark.ipynb")
    assert not [output for output in shown if output.get("name") == "stderr"
                or output["output_type"] == "error"]
    first = next("".join(output["data"]["text/html"]) for output in shown
                 if "text/html" in output.get("data", {}))
    for name in TARGETED: assert f"<bdi>{name}</bdi>" in first
    assert "not measured" in first


def test_capacity_needs_only_the_benchmark(made):
    answer = papermill("capacity", made[0], "-p", "tweets_per_day", "1000000")
    assert answer.returncode == 0, answer.stderr
    text = json.dumps(outputs(made[0]/"capacity.ipynb"))
    count = capacity.machines(capacity.Demand(1e6), capacity.measured(made[1]))
    assert f"need **{count:,} machine" in text


@pytest.mark.parametrize("template, words, said", [
    ("capacity", [], "run `make benchmark` first"),
    ("benchmark", ["-p", "row", "3"], "Unknown parameter 'row'"),
    ("benchmark", ["-y", "contenders: [theirs]"], "Unknown contender 'theirs'"),
])
def test_a_mistake_is_one_sentence(template, words, said, tmp_path):
    answer = papermill(template, tmp_path, *words)
    assert answer.returncode != 0 and said in answer.stderr and "UserError" in answer.stderr


def test_the_stream_has_no_tweet_twice_and_is_the_same_every_time():
    texts = ["one two three four", "five six", "seven", ""]
    tweets = list(benchmark.stream(texts, 1000))
    assert len(set(tweets)) == 1000 and tweets == list(benchmark.stream(texts, 1000))
    assert tweets[0] == "one two six http://t.co/0000000000"
