"""The soak itself: a few kills end well, and what goes wrong is found."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import soak
from conftest import ROOT, run


def work(folder: Path, code: str) -> soak.Work:
    """A command that is some Python code, and lives for a second."""
    return soak.Work(folder, [sys.executable, "-c", code], life={"scorer": 1.0})


def tried(command: soak.Work, name: str = "SIGTERM", limit: float = 60) -> dict:
    """What is found after a signal to a command of the test."""
    return soak.trial(command, 0, "scorer", name, seed=0, limit=limit)


def test_a_command_that_ends_as_it_should(tmp_path):
    found = tried(work(tmp_path, "import sys, time; time.sleep(2)"))
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
    """Whether a process has not ended."""
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError: return False


def test_a_command_that_does_not_end_is_found(tmp_path):
    # which nobody minds
    found = tried(work(tmp_path, "import time; time.sleep(600)"), "SIGCHLD", limit=5)
    assert found["hang"]
    assert found["again"] is None
    assert {"hang", "the next run is not right"} <= set(soak.faults(found))


def test_a_half_written_result_is_found(tmp_path):
    class Record(soak.Work):
        """A command that writes two files, and not as a whole."""
        def damaged(self):
            there = [(self.folder/name).exists() for name in ("a", "b")]
            return ["b is missing"] if there == [True, False] else []

    code = "import time, pathlib; pathlib.Path('a').touch(); time.sleep(600 if not pathlib.Path('c').exists() else 0)"
    record = Record(tmp_path, [sys.executable, "-c", code], life={"scorer": 60.0})
    (tmp_path/"a").touch()
    found = tried(record, "SIGKILL", limit=5)
    assert found["damaged"] == ["b is missing"]
    assert "damaged" in soak.faults(found)
    assert not found["equal"]


def test_a_traceback_and_a_next_run_that_fails_are_found(tmp_path):
    code = "import sys, pathlib, time\nif pathlib.Path('begun').exists(): sys.exit(3)\npathlib.Path('begun').touch(); time.sleep(60)"
    command = work(tmp_path, code)
    command.life["scorer"] = 30.0
    found = tried(command, "SIGINT")
    assert found["traceback"]
    assert found["again"] == 3
    assert set(soak.faults(found)) == {"the next run is not right", "traceback"}


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
    with pytest.raises(SystemExit, match="begun with seed 1"):
        soak.opened(tmp_path/"trust.json", 5, 2, True)


def test_a_few_kills_end_well_and_become_a_page(tmp_path):
    words = [sys.executable, str(ROOT/"tests"/"soak.py"), "--kills", "5", "--seed", "4", "--output",
             str(tmp_path/"trust.json")]
    answer = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=850)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    from disaster_nbdev.trust import outcome_table, read_trust
    facts = read_trust(tmp_path)
    table = outcome_table(facts)
    assert table.process.tolist() == list(soak.TARGETS) and table.kills.sum() == 5
    page = run("papermill", str(ROOT/"nbs"/"trust.ipynb"), str(tmp_path/"trust.ipynb"), "-p",
               "output", str(tmp_path), DISASTER_DATA=str(ROOT/"data"/"sample"))
    assert page.returncode == 0
    assert "5 processes were killed" in (tmp_path/"trust.ipynb").read_text()


def test_a_record_of_a_soak_is_a_page_of_the_report(sample, tmp_path):
    from disaster_nbdev.launcher import plan_with_reasons
    pages = lambda: {job.page: reason for job, reason in plan_with_reasons(sample, tmp_path, [])}
    assert "trust" not in pages()
    (tmp_path/"trust.json").write_text("{}")
    assert pages()["trust"] == "there is no page"


def test_success_without_the_results_is_found(tmp_path):
    class Nothing(soak.Work):
        """A command that says it has done its work, and has not."""
        def right(self): return False
    found = tried(Nothing(tmp_path, [sys.executable, "-c", ""], life={"scorer": 1.0}), "SIGKILL")
    assert found["code"] == 0
    assert found["damaged"] == ["exit code 0 without the right results"]
    assert not found["equal"]
