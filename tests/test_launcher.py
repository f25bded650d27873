"""Make whole reports of the sample: repeated, with a failure, interrupted, and two at once."""
import json
import os
import re
import shutil
import signal
import subprocess

import psutil
import pytest

from conftest import LONG, ROOT, run, slow, wait_for
from disaster_nbdev.baseline import available

SAMPLE = ROOT/"data"/"sample"
SMALL = ["-p", "epochs", "2", "-p", "hidden_size", "2", "-p", "batch_size", "128",
         "-p", "patience", "1"]


def disaster_run(output, *words: str):
    """Call `disaster run` on the sample, with a report in a folder of the test."""
    return run("disaster", "run", *words, "--data", str(SAMPLE), "--output", str(output))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the folder of a report with one small network, and the result of the command."""
    folder = tmp_path_factory.mktemp("report")
    return folder, disaster_run(folder, "-p", "recipe", "small", *SMALL)


def times(folder) -> dict[str, int]:
    """Return when each record was last written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}


def test_a_report_has_every_page_and_record(report):
    folder, answer = report
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().endswith(f"The report is {folder/'index.html'}")
    pages = {path.name for path in folder.glob("*.html")}
    assert pages == {"index.html", "explore.html", "topics.html", "baseline.html",
                     "small-glove.html"}
    records = {path.name for path in (folder/"runs").iterdir()}
    assert records == {"small-glove", *available()}
    index = (folder/"index.html").read_text(encoding="utf-8")
    for name in records: assert name in index
    assert not list(folder.rglob("*.tmp"))
    assert not list((folder/"notebooks").glob(".*.ipynb"))


def test_every_page_has_a_banner_about_the_sample(report):
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
    reported = [line.split(":")[0] for line in answer.stdout.splitlines()[:-1]]
    assert reported == ["compare"]


def test_a_dry_run_gives_the_time_of_the_last_run(report):
    folder, _ = report
    words = ("disaster", "report", "--only", "gru", "--data", str(SAMPLE), "--output", str(folder),
             "--force", "--dry-run")
    before = times(folder)
    answer = run(*words)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert re.search(r"^gru-glove +stale: it was asked for$", answer.stdout, re.M), "never trained"
    assert re.search(r"^baseline +stale: it was asked for \([\d,.]+ s the last time\)$",
                     answer.stdout, re.M)
    assert re.fullmatch(r"5 of 5 would run; their trainings took [\d,.]+ s the last time.",
                        lines[-1])
    assert times(folder) == before


def test_a_failure_affects_only_its_own_run(report, tmp_path):
    folder, _ = report
    before = times(folder)
    bad = tmp_path/"bad.txt"
    # with these vectors the loss soon is NaN
    rows = ["the 1e30 -1e30 1e30", "a 1e30 1e30 -1e30", "fire 1e30 1e30 1e30", "in -1e30 1e30 1e30"]
    bad.write_text("\n".join(rows) + "\n", encoding="utf-8")
    answer = disaster_run(folder, "-p", "recipe", "broken", "-p", "embedding", str(bad),
                          "-p", "cell", "none", "-p", "pooling", "mean", "-p", "optimizer", "sgd",
                          "-p", "learning_rate", "10", "-p", "epochs", "1", "-p", "batch_size",
                          "16")
    assert answer.returncode == 1
    assert "Failed: broken-bad.txt-" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert times(folder) == before, "no record is changed, and the failed run gets none"
    index = (folder/"index.html").read_text(encoding="utf-8")
    page, = folder.glob("broken-bad.txt-*.html")
    assert page.name in index
    assert "did not run to its end" in page.read_text(encoding="utf-8")
    again = disaster_run(folder, "-p", "recipe", "small", *SMALL)
    assert again.returncode == 0


@pytest.mark.slow
def test_low_coverage_is_a_warning_in_the_terminal_and_on_the_page(report, tmp_path):
    folder, _ = report
    (tmp_path/"few.txt").write_text("the 0.1 0.2\nfire 0.3 0.4\n", encoding="utf-8")
    answer = disaster_run(folder, "-p", "recipe", "few", "-p", "embedding", str(tmp_path/"few.txt"),
                          *SMALL)
    assert answer.returncode == 0, answer.stderr
    page, = folder.glob("few-few.txt-*.html")
    said = re.search(r"Warning: only [0-9.]+% of the tokens have a vector in \S*few.txt; "
                     r"the network ignores the others.", answer.stdout)
    assert said and said[0] in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("content, said", [
    ("/c/en/fire 0.1 0.2\n/c/en/flood 0.3 0.4\n", "No word of the tweets has a vector in"),
    ("fire 1 2 3\nflood 1 2\n",
     "vectors.txt, line 2: the row does not hold a word and 3 numbers"),
], ids=["no word", "uneven"])
@pytest.mark.parametrize("prefix", ["", slow("glove+"), slow("corpus+")])
def test_unusable_vectors_are_refused_before_writing(content, said, prefix, tmp_path):
    (tmp_path/"vectors.txt").write_text(content, encoding="utf-8")
    answer = disaster_run(tmp_path/"report", "gru", "-p", "epochs", "1", "-p", "embedding",
                          f"{prefix}{tmp_path/'vectors.txt'}")
    assert answer.returncode == 2
    assert said in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not (tmp_path/"report").exists()


@pytest.mark.slow
def test_a_damaged_record_is_rerun(report):
    folder, _ = report
    (folder/"runs"/"small-glove"/"run.json").write_text("{")
    answer = disaster_run(folder, "-p", "recipe", "small", *SMALL)
    assert answer.returncode == 0, answer.stderr
    assert json.loads((folder/"runs"/"small-glove"/"run.json").read_text())["schema"] == 1


@pytest.mark.slow
def test_a_lost_baseline_is_rerun_and_a_damaged_trial_is_left_out(report):
    folder, _ = report
    shutil.rmtree(folder/"runs"/"bayes-words")
    (folder/"runs"/"trial-glove").mkdir()
    (folder/"runs"/"trial-glove"/"run.json").write_text('{"schema": 1}')
    answer = disaster_run(folder, "-p", "recipe", "small", *SMALL)
    assert answer.returncode == 0 and (folder/"runs"/"bayes-words"/"run.json").is_file()
    assert "Left out:" in (folder/"index.html").read_text(encoding="utf-8")
    shutil.rmtree(folder/"runs"/"trial-glove")


@pytest.mark.slow
def test_fine_tuning_starts_from_the_run_before_it(tmp_path):
    """Call the launcher's functions, so that the recipe may be small."""
    from disaster_nbdev.data import load
    from disaster_nbdev.launcher import make_report
    from disaster_nbdev.recipes import training_job
    small = {"hidden_size": 2, "batch_size": 128, "embedding": "corpus"}
    jobs = [training_job({"recipe": "base", "epochs": 2, **small}),
            training_job({"recipe": "tuned", "finetune": True, "finetune_from": "base",
                          "epochs": 1, **small})]
    index, failed = make_report(load(SAMPLE), jobs, output=tmp_path)
    assert failed == {}
    assert index == tmp_path/"index.html"
    base, tuned = (json.loads((tmp_path/"runs"/f"{name}-corpus"/"run.json").read_text())
                   for name in ("base", "tuned"))
    assert tuned["started_from"] == {"run": "base-corpus", "created": base["created"]}
    assert tuned["parameters"]["trainable"] == tuned["parameters"]["total"]
    assert tuned["parameters"]["total"] == base["parameters"]["total"]


def test_cross_validation_splits_and_ensemble_run_once(tmp_path):
    """Call the launcher's functions, on baselines, so that a page takes seconds."""
    from disaster_nbdev.data import load
    from disaster_nbdev.recipes import entry_job, read_matrix
    from disaster_nbdev.launcher import make_report
    from disaster_nbdev.status import plan
    sample, matrix = load(SAMPLE), read_matrix()
    entries = [{"template": "crossval", "baseline": "logistic-words", "folds": 3},
               {"template": "crossval", "baseline": "bayes-characters", "folds": 3},
               {"template": "splits", "baseline": "logistic-words", "seeds": [1, 2]},
               {"template": "splits", "baseline": "bayes-words", "seeds": [1, 2]},
               {"template": "blend", "runs": ["logistic-words-folds", "bayes-characters-folds"]}]
    jobs = [entry_job(matrix, entry) for entry in entries]
    index, failed = make_report(sample, jobs, output=tmp_path)
    assert failed == {}
    runs = {path.parent.name for path in tmp_path.glob("runs/*/run.json")}
    assert {"logistic-words-folds", "bayes-characters-folds", "blend-average",
            "blend-stacked"} <= runs
    splits = {path.parent.name for path in tmp_path.glob("splits/*/splits.json")}
    assert splits == {"logistic-words", "bayes-words"}
    page = index.read_text(encoding="utf-8")
    for name in ("blend-stacked", "logistic-words-folds.html", "bayes-words-splits.html",
                 "On three splits"):
        assert name in page, name
    assert plan(sample, tmp_path, jobs) == [], "a second call has nothing to do"
    (tmp_path/"runs"/"bayes-characters-folds"/"run.json").unlink()
    stale = [job.page for job in plan(sample, tmp_path, jobs)]
    assert stale == ["bayes-characters-folds", "blend"], "a lost run, and the ensemble with it"


def processes_of(folder) -> list[str]:
    """Return the command lines of processes that have this folder among their arguments."""
    listed = [" ".join(process.info["cmdline"] or ())
              for process in psutil.process_iter(["cmdline"])]
    return [line for line in listed if str(folder) in line and "pytest" not in line]


@pytest.mark.parametrize("number", [signal.SIGINT, slow(signal.SIGHUP)],
                         ids=["Ctrl-C", "closed terminal"])
def test_an_interrupt_leaves_nothing_half_written_and_nothing_running(number, tmp_path):
    words = ["disaster", "run", "-p", "recipe", "long", "-p", "epochs", "500",
             "-p", "patience", "500", "--data", str(SAMPLE), "--output", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    log = tmp_path/"notebooks"/"long-glove.log"
    wait_for(lambda: process.poll() is not None or log.is_file()
             and "epoch" in log.read_text(encoding="utf-8"))
    second = run("disaster", "run", "-p", "recipe", "other", *SMALL, "--data", str(SAMPLE),
                 "--output", str(tmp_path))
    assert second.returncode == 2
    assert "Another report is being written" in second.stderr
    os.kill(process.pid, number)
    process.communicate(timeout=LONG)
    assert process.returncode == 128 + number
    assert not (tmp_path/"runs"/"long-glove").exists()
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path/".report.lock").exists()
    wait_for(lambda: processes_of(tmp_path) == [])


def test_the_index_lists_every_record(report):
    from disaster_nbdev.compare import run_table
    from disaster_nbdev.record import read_records
    folder, _ = report
    runs = run_table(read_records(folder), {}).run.tolist()
    index = (folder/"index.html").read_text(encoding="utf-8")
    assert sorted(runs) == sorted(path.name for path in (folder/"runs").iterdir())
    assert all(run in index for run in runs)
