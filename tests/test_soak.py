"""Check the soak: a few kills without faults, and faults that it must find."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import soak
from conftest import LONG, ROOT, run


def work(folder: Path, code: str) -> soak.Work:
    """Return a command that runs some Python code."""
    return soak.Work(folder, [sys.executable, "-c", code], life={"scorer": 1.0})


def tried(command: soak.Work, name: str = "SIGTERM", limit: float = 60) -> dict:
    """Send a signal to a command, and return the facts of the trial."""
    return soak.trial(command, 0, "scorer", name, seed=0, limit=limit)


def test_a_command_without_faults(tmp_path):
    again = f"'again' in os.environ[{soak.MARK!r}]"
    found = tried(work(tmp_path, f"import os, time; time.sleep(0 if {again} else 600)"))
    assert found["killed"]
    assert found["code"] == -signal.SIGTERM
    assert found["again"] == 0
    assert soak.faults(found) == []


def test_an_orphan_is_found_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "FAREWELL", 1)
    child = "import time; time.sleep(600)"
    code = ("import subprocess, sys, time, pathlib\n"
            "if pathlib.Path('begun').exists(): sys.exit()\n"
            f"child = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
            "pathlib.Path('begun').write_text(str(child.pid)); time.sleep(600)")
    command = work(tmp_path, code)
    command.life["scorer"] = 30.0  # long enough for the child to start, whatever the load
    found = tried(command, "SIGKILL")
    assert len(found["orphans"]) == 1
    assert "time.sleep(600)" in found["orphans"][0]
    assert soak.faults(found) == ["orphans"]
    assert not soak.alive(str(os.getpid())) and not running(int((tmp_path/"begun").read_text()))


def running(pid: int) -> bool:
    """Return whether a process has not ended."""
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError: return False


def test_a_command_that_does_not_end_is_found(tmp_path):
    # a signal that Python ignores
    found = tried(work(tmp_path, "import time; time.sleep(600)"), "SIGCHLD", limit=5)
    assert found["hang"]
    assert found["again"] is None
    assert {"hangs", "next run wrong"} <= set(soak.faults(found))


def test_a_half_written_result_is_found(tmp_path):
    class Record(soak.Work):
        """Represent a command that does not write its two files atomically."""
        def damaged(self):
            there = [(self.folder/name).exists() for name in ("a", "b")]
            return ["b is missing"] if there == [True, False] else []

    code = ("import time, pathlib; pathlib.Path('a').touch(); "
            "time.sleep(0 if pathlib.Path('c').exists() else 600)")
    record = Record(tmp_path, [sys.executable, "-c", code], life={"scorer": 60.0})
    (tmp_path/"a").touch()
    found = tried(record, "SIGKILL", limit=5)
    assert found["damaged"] == ["b is missing"]
    assert "damaged" in soak.faults(found)
    assert not found["equal"]


def test_a_traceback_and_a_next_run_that_fails_are_found(tmp_path):
    code = ("import sys, pathlib, time\n"
            "if pathlib.Path('begun').exists(): sys.exit(3)\n"
            "pathlib.Path('begun').touch(); time.sleep(60)")
    command = work(tmp_path, code)
    command.life["scorer"] = 30.0
    found = tried(command, "SIGINT")
    assert found["traceback"]
    assert found["again"] == 3
    assert set(soak.faults(found)) == {"next run wrong", "tracebacks"}


def test_what_is_killed_is_found_by_what_it_is(tmp_path):
    process = subprocess.Popen([sys.executable, "-c",
                                "import time; time.sleep(600) # ipykernel_launcher"],
                               env={**os.environ, soak.MARK: "x y"})
    try:
        assert (soak.victims(process, "x y", "kernel") == [process.pid]
                == soak.victims(process, "x y", "launcher"))
        assert soak.victims(process, "x y", "worker") == [] == soak.victims(process, "x", "kernel")
    finally:
        process.kill()
        process.wait()
    assert soak.victims(process, "x y", "launcher") == []


def test_a_seed_that_is_not_that_of_the_record_is_refused(tmp_path):
    (tmp_path/"trust.json").write_text(json.dumps({"seed": 1, "kills": 2, "trials": []}))
    assert soak.opened(tmp_path/"trust.json", 5, 1, True)["kills"] == 5
    with pytest.raises(SystemExit, match="started with seed 1"):
        soak.opened(tmp_path/"trust.json", 5, 2, True)


@pytest.mark.slow
def test_a_few_kills_have_no_faults_and_become_a_page(tmp_path):
    words = [sys.executable, str(ROOT/"tests"/"soak.py"), "--kills", "5", "--seed", "4", "--output",
             str(tmp_path/"trust.json")]
    answer = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=LONG)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    from disaster_nbdev.page_records import read_soak, soak_table
    table = soak_table(read_soak(tmp_path))
    assert table.process.tolist() == list(soak.TARGETS) and table.kills.sum() == 5
    page = run("papermill", str(ROOT/"nbs"/"trust.ipynb"), str(tmp_path/"trust.ipynb"), "-p",
               "output", str(tmp_path), DISASTER_DATA=str(ROOT/"data"/"sample"))
    assert page.returncode == 0
    assert "5 processes were killed" in (tmp_path/"trust.ipynb").read_text()


def test_a_record_of_a_soak_is_a_page_of_the_report(sample, tmp_path):
    from disaster_nbdev.status import report_status
    def pages():
        return {each.job.page: each.reason for each in report_status(sample, tmp_path, [])}
    assert "trust" not in pages()
    (tmp_path/"trust.json").write_text("{}")
    assert pages()["trust"] == "there is no page"


def test_success_without_the_results_is_found(tmp_path):
    class Nothing(soak.Work):
        """Represent a command that succeeds without its results."""
        def right(self): return False
    found = tried(Nothing(tmp_path, [sys.executable, "-c", ""], life={"scorer": 1.0}), "SIGKILL")
    assert found["code"] == 0
    assert found["damaged"] == ["exit code 0 without the right results"]
    assert not found["equal"]
