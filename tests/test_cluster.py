"""Notebooks on a real Dask cluster: one scheduler and two workers, each a process of its own in a folder that is not the project's."""
import json
import os
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager

import pandas as pd
import psutil
import pytest

from conftest import BIN, LONG, ROOT, wait_for

pytest.importorskip("distributed")
SAMPLE = ROOT/"data"/"sample"
SMALL = {"hidden_size": 2, "batch_size": 128, "embedding": "corpus", "epochs": 1}


@contextmanager
def begun(folder, workers: int, threads: int = 1):
    """A scheduler and workers, who know nothing of the data: its address, and their processes."""
    known = folder/"scheduler.json"
    environment = {**os.environ, "DISASTER_DATA": "/no/such/folder"}
    words = [["scheduler", "--port", "0"],
             *[["worker", "--nthreads", str(threads), "--local-directory", str(folder)]]*workers]
    with open(folder/"said", "w") as said:
        started = [subprocess.Popen([BIN/"dask", *each, "--scheduler-file", str(known),
                                     "--no-dashboard"], cwd=folder, env=environment, stdout=said,
                                    stderr=said) for each in words]
    wait_for(known.is_file)
    address = json.loads(known.read_text())["address"]
    from distributed import Client
    with Client(address) as client: client.wait_for_workers(workers, timeout=LONG)
    try: yield address, started
    finally:
        for process in reversed(started): process.send_signal(signal.SIGINT)
        for process in started: process.wait(LONG)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler with two workers of one thread."""
    with begun(tmp_path_factory.mktemp("cluster"), 2) as (address, _): yield address


def small_jobs():
    """A network, one that starts from it, and a baseline in folds."""
    from disaster_nbdev.launcher import entry_job, read_matrix, training_job
    return [training_job({"recipe": "base", **SMALL}),
            entry_job(read_matrix(), {"template": "crossfit", "baseline": "logistic-words",
                                      "folds": 2}), training_job(
                                          {"recipe": "tuned", "finetune": True,
                                           "finetune_from": "base", **SMALL})]


def run_small(report, where, jobs=None):
    """Run jobs as `make_report` does."""
    from dataclasses import replace
    from disaster_nbdev.launcher import Race, run_jobs
    race = Race(report/"notebooks", [replace(job,
                                             parameters={**job.parameters, "output": str(report)})
                                     for job in jobs or small_jobs()])
    run_jobs(race, where)
    assert race.failed == {}
    return report


@pytest.fixture(scope="module")
def local(tmp_path_factory, sample):
    """A report made without a cluster."""
    from disaster_nbdev.launcher import ThisMachine
    return run_small(tmp_path_factory.mktemp("local"), ThisMachine(sample.folder, 2))


def without_times(value):
    """A record's facts without those of the clock and of the process, for which Dask sets variables of its own."""
    left_out = ("created", "seconds", "seconds_per_epoch", "environment")
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in left_out}
    return value


def assert_alike(one, other):
    """Two values of JSON are equal, numbers to within what the number of threads may change."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one: assert_alike(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for each in zip(one, other): assert_alike(*each)
    elif isinstance(one, float): assert one == pytest.approx(other, abs=1e-3)
    else: assert one == other


def assert_same_run(one, other):
    """The same files in two records, equal but for what the clock says and for rounding."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for path in one.glob("[ps]*.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(other/path.name),
                                      check_exact=False, rtol=0, atol=1e-4, obj=path.name)
    assert_alike(*(without_times(json.loads((folder/"run.json").read_text()))
                   for folder in (one, other)))


def test_a_matrix_on_a_cluster_gives_the_same_records(scheduler, local, sample, tmp_path):
    from dataclasses import asdict
    from disaster_nbdev.remote import on_cluster
    from disaster_nbdev.runs import why_stale
    from disaster_nbdev.training import from_parameters
    for name in ("runs", "models"):
        # what the second network starts from
        shutil.copytree(local/name/"base-corpus", tmp_path/name/"base-corpus")
    with on_cluster(scheduler, sample, tmp_path) as cluster:
        run_small(tmp_path, cluster, small_jobs()[1:])
    names = {path.name for path in (local/"runs").iterdir()}
    assert (names == {path.name for path in (tmp_path/"runs").iterdir()}
            == {"base-corpus", "tuned-corpus", "logistic-words-folds"})
    for name in names: assert_same_run(local/"runs"/name, tmp_path/"runs"/name)
    assert {path.name for path in (tmp_path/"models").iterdir()} == {"base-corpus", "tuned-corpus"}
    config = asdict(from_parameters(small_jobs()[2].parameters))
    assert (why_stale(tmp_path, "tuned-corpus", config, sample,
                      "train") is None), "a report without a cluster has nothing to do"
    for page in (tmp_path/"notebooks").glob("*.ipynb"):
        cells = json.dumps(json.loads(page.read_text())["cells"])
        assert (str(tmp_path) not in cells
                and "dask" not in cells), "no page tells of a folder of a worker"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_killed_worker_costs_time_and_nothing_else(scheduler, local, sample, tmp_path):
    import threading
    from disaster_nbdev.remote import on_cluster
    with on_cluster(scheduler, sample, tmp_path) as cluster:
        pids = cluster.client.run(os.getpid)
        log, ended = tmp_path/"notebooks"/"logistic-words-folds.log", []

        def kill():
            """Kill the worker once its notebook has said something."""
            wait_for(lambda: log.is_file() and log.read_text().strip())
            worker = pids[cluster.given["logistic-words-folds"][1]]
            ended.extend(psutil.Process(worker).children(recursive=True))
            os.kill(worker, signal.SIGKILL)
        killer = threading.Thread(target=kill)
        killer.start()
        run_small(tmp_path, cluster, small_jobs()[1:2])
        killer.join()
    assert len(ended) >= 2, "papermill and its kernel"
    assert not psutil.wait_procs(ended, timeout=LONG)[1], "they end with their worker"
    assert_same_run(local/"runs"/"logistic-words-folds", tmp_path/"runs"/"logistic-words-folds")


def test_an_interrupt_ends_the_kernels_of_the_workers(scheduler, sample, tmp_path):
    from distributed import Client
    words = ["disaster", "run", "-p", "recipe", "long", "-p", "epochs", "500", "-p", "patience",
             "500", "-p", "embedding", "corpus"]
    report = subprocess.Popen([*words, "--data", str(SAMPLE), "--output", str(tmp_path),
                               "--cluster", scheduler], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, start_new_session=True)
    with Client(scheduler) as client:
        workers = [psutil.Process(pid) for pid in client.run(os.getpid).values()]
    log = tmp_path/"notebooks"/"long-corpus.log"
    wait_for(lambda: log.is_file() and "recipe" in log.read_text())
    notebooks = [child for worker in workers for child in worker.children(recursive=True)]
    assert len(notebooks) >= 2
    os.killpg(report.pid, signal.SIGINT)
    assert "Traceback" not in report.communicate(timeout=LONG)[1] and report.returncode != 0
    assert not psutil.wait_procs(notebooks, timeout=LONG)[1]
    assert all(worker.is_running() for worker in workers)
    assert not list((tmp_path/"runs").glob("*long*")) and not list(tmp_path.rglob("*.tmp"))


def answer(*words: str):
    """What the command line answers, in this process."""
    from click.testing import CliRunner
    from disaster_nbdev.cli import main
    return CliRunner().invoke(main, list(words))


def test_a_cluster_that_is_not_there_or_not_the_same_is_one_sentence(scheduler, tmp_path,
                                                                     monkeypatch):
    from disaster_nbdev import cluster
    report = ("report", "--data", str(SAMPLE), "--output", str(tmp_path), "--cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(cluster, "WAIT", 1)
    nobody = answer(*report, f"tcp://127.0.0.1:{port}")
    assert nobody.exit_code == 2 and "No Dask scheduler answers at tcp://127.0.0.1" in nobody.output
    assert "No Dask scheduler answers at tcp://no.such.host:1" in answer(*report, "tcp://no.such.host:1").output
    assert "for the cluster `local` only" in answer(*report, scheduler, "--workers", "2").output
    monkeypatch.setattr(cluster, "_package_hash", lambda: "0" * 12)
    other = answer(*report, scheduler)
    assert other.exit_code == 2
    assert "runs another disaster_nbdev (" in other.output
    assert "and not 000000000000" in other.output
    assert not list(tmp_path.rglob("*.html"))


def test_a_scheduler_that_is_lost_in_the_middle_of_scoring_is_one_sentence(tmp_path):
    from test_scoring import made, put, tweets
    source, folder, target = put(tweets(16_384 * 12), tmp_path/"in.csv"), made(tmp_path/"run", cleaning="aware", ranks={"fire": 1}), tmp_path/"out.csv"
    (tmp_path/"dask").mkdir()
    words = ["disaster", "score", str(source), "--run", str(folder), "--output", str(target)]
    with begun(tmp_path/"dask", 1, threads=4) as (address, (first, _)):
        score = subprocess.Popen([*words, "--cluster", address], stderr=subprocess.PIPE, text=True)
        wait_for(lambda: score.poll() is not None
                 or list((tmp_path/".out.csv.parts").glob("*.part")))
        score.send_signal(signal.SIGSTOP) # so that it cannot come to its end before
        first.kill()
        score.send_signal(signal.SIGCONT)
        said = score.communicate(timeout=LONG)[1]
    assert score.returncode == 2 and "Traceback" not in said and "The cluster was lost in the middle of the work. The same command goes on" in said, said
    again = subprocess.run([*words, "--workers", "1"], capture_output=True, text=True)
    assert again.returncode == 0
    assert "Goes on from an earlier run." in again.stderr
    assert sum(1 for _ in open(target)) == 16_384 * 12 + 1


def test_a_scheduler_without_workers_is_one_sentence(tmp_path, monkeypatch):
    from disaster_nbdev import cluster
    from disaster_nbdev.data import UserError
    from distributed import LocalCluster
    monkeypatch.setattr(cluster, "WAIT", 1)
    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0", protocol="tcp") as empty, pytest.raises(UserError, match="No worker has joined the cluster"):
        with cluster.connected(empty.scheduler_address): pass
