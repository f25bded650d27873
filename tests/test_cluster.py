"""Test scoring on a real Dask cluster: a scheduler and workers, outside the project's folder."""
import json
import os
import signal
import socket
import subprocess
from contextlib import contextmanager

import pytest

from conftest import BIN, LONG, wait_for
from test_scoring import assert_same_scores, got, made, put, saved, tweets  # noqa: F401 (a fixture)

pytest.importorskip("distributed")


@contextmanager
def begun(folder, workers: int, threads: int = 1):
    """Start a scheduler and workers, which do not know the data; yield address and processes."""
    known = folder/"scheduler.json"
    environment = {**os.environ, "DISASTER_DATA": "/no/such/folder"}
    worker = ["worker", "--nthreads", str(threads), "--local-directory", str(folder)]
    started = []
    with open(folder/"said", "w") as output:
        for each in [["scheduler", "--port", "0"], *[worker] * workers]:
            words = [BIN/"dask", *each, "--scheduler-file", str(known), "--no-dashboard"]
            started.append(subprocess.Popen(words, cwd=folder, env=environment, stdout=output,
                                            stderr=output))
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
    """Yield the address of a scheduler with two workers of one thread."""
    with begun(tmp_path_factory.mktemp("cluster"), 2) as (address, _): yield address


def answer(*words: str):
    """Run a command in this process, and return its result."""
    from click.testing import CliRunner
    from disaster_nbdev.cli import main
    return CliRunner().invoke(main, list(words))


def test_a_killed_worker_costs_time_and_nothing_else(scheduler, saved, tmp_path):  # noqa: F811
    from distributed import Client
    source = put(tweets(16_384 * 8), tmp_path/"in.csv")
    words = ["disaster", "score", str(source), "--run", str(saved), "--output"]
    here = subprocess.run([*words, str(tmp_path/"here.csv"), "--workers", "1"])
    with Client(scheduler) as client: pid = next(iter(client.run(os.getpid).values()))
    there = subprocess.Popen([*words, str(tmp_path/"there.csv"), "--cluster", scheduler],
                             stderr=subprocess.PIPE, text=True)
    wait_for(lambda: there.poll() is not None
             or list((tmp_path/".there.csv.parts").glob("*.part")))
    os.kill(pid, signal.SIGKILL) # Dask starts another one in its place
    stderr = there.communicate(timeout=LONG)[1]
    assert (here.returncode, there.returncode) == (0, 0), stderr
    assert "Traceback" not in stderr
    assert_same_scores(got(tmp_path/"here.csv"), got(tmp_path/"there.csv"))


def test_a_cluster_that_is_not_there_or_not_the_same_is_one_sentence(
        scheduler, saved, tmp_path, monkeypatch):  # noqa: F811
    from disaster_nbdev import cluster
    source = put(tweets(10), tmp_path/"in.csv")
    score = ("score", str(source), "--run", str(saved), "--output", str(tmp_path/"out.csv"),
             "--cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    nobody = answer(*score, f"tcp://127.0.0.1:{port}")
    assert nobody.exit_code == 2
    assert "No Dask scheduler answers at tcp://127.0.0.1" in nobody.output
    unknown = answer(*score, "tcp://no.such.host:1").output
    assert "No Dask scheduler answers at tcp://no.such.host:1" in unknown
    assert "for the cluster `local` only" in answer(*score, scheduler, "--workers", "2").output
    monkeypatch.setattr(cluster, "package_hash", lambda: "0" * 12)
    other = answer(*score, scheduler)
    assert other.exit_code == 2
    assert "runs another disaster_nbdev (" in other.output
    assert "and not 000000000000" in other.output
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_scheduler_that_is_lost_in_the_middle_of_scoring_is_one_sentence(tmp_path):
    source, target = put(tweets(16_384 * 12), tmp_path/"in.csv"), tmp_path/"out.csv"
    folder = made(tmp_path/"run", cleaning="aware", ranks={"fire": 1})
    (tmp_path/"dask").mkdir()
    words = ["disaster", "score", str(source), "--run", str(folder), "--output", str(target)]
    with begun(tmp_path/"dask", 1, threads=4) as (address, (first, _)):
        score = subprocess.Popen([*words, "--cluster", address], stderr=subprocess.PIPE, text=True)
        wait_for(lambda: score.poll() is not None
                 or list((tmp_path/".out.csv.parts").glob("*.part")))
        score.send_signal(signal.SIGSTOP) # so that it cannot finish before
        first.kill()
        score.send_signal(signal.SIGCONT)
        stderr = score.communicate(timeout=LONG)[1]
    assert score.returncode == 2
    assert "Traceback" not in stderr
    assert "The cluster was lost in the middle of the work. Run the same command" in stderr
    again = subprocess.run([*words, "--workers", "1"], capture_output=True, text=True)
    assert again.returncode == 0
    assert "Resuming an earlier run." in again.stderr
    with open(target) as file: assert sum(1 for _ in file) == 16_384 * 12 + 1


def test_a_scheduler_without_workers_is_one_sentence(monkeypatch):
    from disaster_nbdev import cluster
    from disaster_nbdev.core import UserError
    from distributed import LocalCluster
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0",
                      protocol="tcp") as empty:
        with pytest.raises(UserError, match="No worker has joined the cluster"):
            with cluster.connected(empty.scheduler_address): pass
