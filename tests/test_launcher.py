"""A whole report of the sample, made as a user makes it: repeated, with a failure, interrupted, and two at once."""
import json
import re
import os
import signal
import subprocess

import psutil
import pytest

from conftest import LONG, ROOT, run, wait_for
from disaster_nbdev.baseline import available

SAMPLE = ROOT/"data"/"sample"
SMALL = ["-p", "epochs", "2", "-p", "hidden_size", "2", "-p", "batch_size", "128", "-p", "patience",
         "1"]


def disaster_run(output, *words: str):
    """`disaster run` on the sample, into a folder of the test."""
    return run("disaster", "run", *words, "--data", str(SAMPLE), "--output", str(output))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with one small network, and what the command said."""
    folder = tmp_path_factory.mktemp("report")
    return folder, disaster_run(folder, "-p", "recipe", "small", *SMALL)


def times(folder) -> dict[str, int]:
    """When each record was last written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}


def test_a_report_has_every_page_and_record(report):
    folder, answer = report
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().endswith(f"The report is {folder/'index.html'}")
    assert ({path.name for path in folder.glob("*.html")}
            == {"index.html", "explore.html", "topics.html", "baseline.html", "small-glove.html"})
    records = {path.name for path in (folder/"runs").iterdir()}
    assert records == {"small-glove", *available()}
    index = (folder/"index.html").read_text(encoding="utf-8")
    for name in records: assert name in index
    assert not list(folder.rglob("*.tmp")) and not list((folder/"notebooks").glob(".*.ipynb"))


def test_every_page_says_that_it_is_made_from_the_sample(report):
    folder, _ = report
    for page in folder.glob("*.html"):
        assert "Made from the sample tweets" in page.read_text(encoding="utf-8"), page.name


def test_pages_name_no_folder_of_this_machine(report):
    folder, _ = report
    for page in ("explore.html", "topics.html", "baseline.html"):
        assert str(ROOT) not in (folder/page).read_text(encoding="utf-8")


def test_a_second_call_runs_nothing_again(report):
    folder, _ = report
    before = times(folder)
    answer = disaster_run(folder, "-p", "recipe", "small", *SMALL)
    assert answer.returncode == 0 and times(folder) == before
    told = [line.split(":")[0] for line in answer.stdout.splitlines()[:-1]]
    assert told == ["compare"]


def test_one_failure_costs_only_itself(report, tmp_path):
    folder, _ = report
    before = times(folder)
    bad = tmp_path/"bad.txt"
    # the loss soon is no number
    bad.write_text("the 1e30 -1e30 1e30\na 1e30 1e30 -1e30\nfire 1e30 1e30 1e30\nin -1e30 1e30 "
                   "1e30\n", encoding="utf-8")
    answer = disaster_run(folder, "-p", "recipe", "broken", "-p", "embedding", str(bad), "-p",
                          "cell", "none", "-p", "pooling", "mean", "-p", "optimizer", "sgd", "-p",
                          "learning_rate", "10", "-p", "epochs", "1", "-p", "batch_size", "16")
    assert answer.returncode == 1
    assert "Failed: broken-bad.txt-" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert (times(folder)
            == before), "no other record is touched, and none is written for the failed run"
    index = (folder/"index.html").read_text(encoding="utf-8")
    page, = folder.glob("broken-bad.txt-*.html")
    assert page.name in index and "did not run to its end" in page.read_text(encoding="utf-8")
    again = disaster_run(folder, "-p", "recipe", "small", *SMALL)
    assert again.returncode == 0


def test_vectors_of_few_words_are_a_warning_in_the_terminal_and_on_the_page(report, tmp_path):
    folder, _ = report
    (tmp_path/"few.txt").write_text("the 0.1 0.2\nfire 0.3 0.4\n", encoding="utf-8")
    answer = disaster_run(folder, "-p", "recipe", "few", "-p", "embedding", str(tmp_path/"few.txt"),
                          *SMALL)
    assert answer.returncode == 0, answer.stderr
    page, = folder.glob("few-few.txt-*.html")
    said = re.search(r"Warning: only [0-9.]+% of the running words have a vector in \S*few.txt; "
                     r"the network does not see the others.", answer.stdout)
    assert said and said[0] in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("content, said", [
    ("/c/en/fire 0.1 0.2\n/c/en/flood 0.3 0.4\n", "No word of the tweets has a vector in"), ("fire 1 2 3\nflood 1 2\n", "vectors.txt, line 2: the row does not hold a word and 3 numbers")], ids=["no word", "uneven"])
@pytest.mark.parametrize("beside", ["", "glove+", "corpus+"])
def test_vectors_that_cannot_be_used_are_refused_before_anything_is_written(content, said, beside,
                                                                            tmp_path):
    (tmp_path/"vectors.txt").write_text(content, encoding="utf-8")
    answer = disaster_run(tmp_path/"report", "gru", "-p", "epochs", "1", "-p", "embedding",
                          f"{beside}{tmp_path/'vectors.txt'}")
    assert answer.returncode == 2
    assert said in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not (tmp_path/"report").exists()


def test_a_damaged_record_is_made_again(report):
    folder, _ = report
    (folder/"runs"/"small-glove"/"run.json").write_text("{")
    answer = disaster_run(folder, "-p", "recipe", "small", *SMALL)
    assert answer.returncode == 0, answer.stderr
    assert json.loads((folder/"runs"/"small-glove"/"run.json").read_text())["schema"] == 1


def test_a_lost_baseline_is_made_again_and_a_damaged_trial_is_left_out(report):
    import shutil
    folder, _ = report
    shutil.rmtree(folder/"runs"/"bayes-words")
    (folder/"runs"/"trial-glove").mkdir()
    (folder/"runs"/"trial-glove"/"run.json").write_text('{"schema": 1}')
    answer = disaster_run(folder, "-p", "recipe", "small", *SMALL)
    assert answer.returncode == 0 and (folder/"runs"/"bayes-words"/"run.json").is_file()
    assert "Left out:" in (folder/"index.html").read_text(encoding="utf-8")
    shutil.rmtree(folder/"runs"/"trial-glove")


def test_fine_tuning_brings_the_run_that_it_starts_from(tmp_path):
    """Through the launcher's own functions, so that the recipe may be small."""
    from disaster_nbdev.data import load
    from disaster_nbdev.launcher import make_report, training_job
    small = {"hidden_size": 2, "batch_size": 128, "embedding": "corpus"}
    jobs = [training_job({"recipe": "base", "epochs": 2, **small}),
            training_job({"recipe": "tuned", "finetune": True, "finetune_from": "base", "epochs": 1,
                          **small})]
    index, failed = make_report(load(SAMPLE), jobs, output=tmp_path)
    assert failed == {} and index == tmp_path/"index.html"
    base, tuned = (json.loads((tmp_path/"runs"/f"{name}-corpus"/"run.json").read_text())
                   for name in ("base", "tuned"))
    assert tuned["started_from"] == {"run": "base-corpus", "created": base["created"]}
    assert (tuned["parameters"]["trainable"] == tuned["parameters"]["total"]
            == base["parameters"]["total"])


def test_folds_splits_and_a_blend_are_made_once_and_shown_together(tmp_path):
    """Through the launcher's own functions, on baselines, so that it takes seconds a page."""
    from disaster_nbdev.data import load
    from disaster_nbdev.launcher import entry_job, make_report, plan, read_matrix
    sample, matrix = load(SAMPLE), read_matrix()
    entries = [{"template": "crossfit", "baseline": "logistic-words", "folds": 3},
               {"template": "crossfit", "baseline": "bayes-characters", "folds": 3},
               {"template": "splits", "baseline": "logistic-words", "seeds": [1, 2]},
               {"template": "splits", "baseline": "bayes-words", "seeds": [1, 2]},
               {"template": "blend", "runs": ["logistic-words-folds", "bayes-characters-folds"]}]
    jobs = [entry_job(matrix, entry) for entry in entries]
    index, failed = make_report(sample, jobs, output=tmp_path)
    assert failed == {}
    assert ({"logistic-words-folds", "bayes-characters-folds", "blend-average", "blend-stacked"}
            <= {path.parent.name for path in tmp_path.glob("runs/*/run.json")})
    assert ({path.parent.name for path in tmp_path.glob("splits/*/splits.json")}
            == {"logistic-words", "bayes-words"})
    page = index.read_text(encoding="utf-8")
    assert all(name in page for name in ("blend-stacked", "logistic-words-folds.html",
                                         "bayes-words-splits.html", "On three splits"))
    assert plan(sample, tmp_path, jobs) == [], "a second call has nothing to do"
    (tmp_path/"runs"/"bayes-characters-folds"/"run.json").unlink()
    assert ([job.page for job in plan(sample, tmp_path, jobs)]
            == ["bayes-characters-folds",
                "blend"]), "what is lost is made again, and what rests on it"


def processes_of(folder) -> list[str]:
    """Command lines of processes that were started with this folder among their words."""
    listed = [" ".join(process.info["cmdline"] or ())
              for process in psutil.process_iter(["cmdline"])]
    return [line for line in listed if str(folder) in line and "pytest" not in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "closed terminal"])
def test_an_interrupt_leaves_nothing_half_written_and_nothing_running(number, tmp_path):
    words = ["disaster", "run", "-p", "recipe", "long", "-p", "epochs", "500", "-p", "patience",
             "500", "--data", str(SAMPLE), "--output", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    log = tmp_path/"notebooks"/"long-glove.log"
    wait_for(lambda: process.poll() is not None or log.is_file()
             and "epoch" in log.read_text(encoding="utf-8"))
    second = run("disaster", "run", "-p", "recipe", "other", *SMALL, "--data", str(SAMPLE),
                 "--output", str(tmp_path))
    assert second.returncode == 2 and "Another report is being written" in second.stderr
    os.kill(process.pid, number)
    process.communicate(timeout=LONG)
    assert process.returncode == 128 + number
    assert not (tmp_path/"runs"/"long-glove").exists() and not list(tmp_path.rglob("*.tmp"))
    wait_for(lambda: processes_of(tmp_path) == [])


def test_the_list_of_runs_in_the_index_is_that_of_the_records(report):
    from disaster_nbdev.comparison import run_table
    from disaster_nbdev.runs import read_records
    folder, _ = report
    runs = run_table(read_records(folder), {}).run.tolist()
    index = (folder/"index.html").read_text(encoding="utf-8")
    assert sorted(runs) == sorted(path.name for path in (folder/"runs").iterdir())
    assert all(run in index for run in runs)
