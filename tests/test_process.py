"""Check how commands end: signals, killed workers, closed streams, links, odd folder names."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from conftest import LONG, run, slow
from soak import alive
from test_scoring import WORDS, tweets

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
MARK = "DISASTER_SOAK"
ODD = "a {b} {} } 'c' \"d\" %s [x]* \u00e9\nnew"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Save a run that is larger than a pipe, a file to score, and its expected scores."""
    from disaster_nbdev.model import build
    from disaster_nbdev.featurizer import Featurizer, save_featurizer
    from disaster_nbdev.run_config import RunConfig
    from disaster_nbdev.vocabulary import Vocabulary
    folder, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    config = RunConfig(cell="none", pooling="mean", use_keyword=True)
    (folder/"run").mkdir()
    build(config, rng.normal(size=(9, 30_000)).astype("float32")).save(folder/"run"/"model.keras")
    save_featurizer(folder/"run", Featurizer(config, Vocabulary(tuple(WORDS), (1,) * 8), None))
    tweets(40_000).to_csv(folder/"in.csv", index=False)
    words = ("score", "in.csv", "--run", "run", "--output", "whole.csv")
    assert run("disaster", *words, folder=folder).returncode == 0
    return folder


def words_of(place: Path, target: object, *more: object) -> list[str]:
    """Return `disaster score` as a shell would run it."""
    return ["disaster", "score", str(place/"in.csv"), "--run", str(place/"run"), "--output",
            str(target), *map(str, more)]


def begun(words: list[str], mark: str, **options) -> subprocess.Popen:
    """Start a command whose processes can be found by a mark."""
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, MARK: mark}, **options)


def until(condition, process: subprocess.Popen | None = None):
    """Wait for what must come, and return it; fail if the process ends before."""
    end = time.monotonic() + LONG
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        assert process is None or process.poll() is None, "the process ended before"
        time.sleep(0.02)
    return found


def is_whole(place: Path, target: Path) -> bool:
    """Return whether an output is that of an undisturbed run."""
    found, expected = pd.read_csv(target, dtype=str), pd.read_csv(place/"whole.csv", dtype=str)
    one, other = (table.pop("probability").astype(float) for table in (found, expected))
    return np.allclose(one, other, rtol=0, atol=1e-6) and found.equals(expected)


def resumes(place: Path, target: Path) -> None:
    """Check that the same command, undisturbed, writes the whole output and nothing else."""
    answer = run(*words_of(place, target, "--workers", "2"))
    assert answer.returncode == 0 and is_whole(place, target), answer.stderr
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("number, wait", [
    slow(signal.SIGKILL, 0), (signal.SIGKILL, 0.1), slow(signal.SIGKILL, 0.8),
    slow(signal.SIGTERM, 0.05), slow(signal.SIGINT, 0.5)])
def test_a_worker_that_is_killed_at_any_moment_is_one_sentence(number, wait, place, tmp_path):
    mark = f"worker-{os.getpid()}-{number}-{wait}"
    process = begun(words_of(place, tmp_path/"out.csv", "--workers", 2), mark)
    worker = until(lambda: [pid for pid, words in alive(mark).items() if "import serve" in words]
                   or process.poll() is not None)
    time.sleep(wait)
    try: os.kill(worker[0], number)
    except (ProcessLookupError, TypeError): pass  # the command was quicker
    _, stderr = process.communicate(timeout=LONG)
    assert "Traceback" not in stderr and process.returncode in (0, 2)
    if process.returncode:
        assert "A worker process was ended from outside" in stderr
        assert not (tmp_path/"out.csv").exists()
    until(lambda: not alive(mark))
    resumes(place, tmp_path/"out.csv")


@pytest.mark.parametrize("number, workers", [
    slow(number, workers) if number != signal.SIGTERM else (number, workers)
    for number in ENDING for workers in (1, 2)])
def test_a_signal_is_128_and_its_number_and_the_parts_are_kept(number, workers, place, tmp_path):
    mark = f"signal-{os.getpid()}-{number}-{workers}"
    process = begun(words_of(place, tmp_path/"out.csv", "--workers", workers), mark)
    until((tmp_path/".out.csv.parts"/"note.json").exists, process)
    process.send_signal(number)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=LONG)
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert "leaked" not in stderr
    assert "run the same command again to resume" in stderr
    assert (tmp_path/".out.csv.parts"/"note.json").is_file()
    until(lambda: not alive(mark))
    resumes(place, tmp_path/"out.csv")


@pytest.mark.slow
def test_a_signal_that_was_ignored_stays_so(place, tmp_path):
    script = 'trap "" INT HUP; exec "$@"'
    process = begun(["bash", "-c", script, "bash",
                     *words_of(place, tmp_path/"out.csv", "--workers", 2)],
                    f"ignored-{os.getpid()}")
    until((tmp_path/".out.csv.parts"/"note.json").exists, process)
    for number in (signal.SIGINT, signal.SIGHUP): process.send_signal(number)
    _, stderr = process.communicate(timeout=LONG)
    assert process.returncode == 0 and is_whole(place, tmp_path/"out.csv"), stderr


def test_workers_end_with_a_parent_that_is_killed(place, tmp_path):
    mark = f"parent-{os.getpid()}"
    process = begun(words_of(place, tmp_path/"out.csv", "--workers", 2), mark)
    until(lambda: len(alive(mark)) > 1, process)
    process.kill()
    process.wait()
    until(lambda: not alive(mark))
    resumes(place, tmp_path/"out.csv")


@pytest.mark.parametrize("closed", [
    slow("2>&-"), slow(">&-"), slow("<&-"), "<&- >&- 2>&-", "2>/dev/full", slow(">/dev/full")])
def test_scoring_into_a_file_needs_no_standard_stream(closed, place, tmp_path):
    words = words_of(place, tmp_path/"out.csv", "--workers", 2)
    answer = run("bash", "-c", f'"$@" {closed}', "bash", *words)
    assert answer.returncode == 0
    assert is_whole(place, tmp_path/"out.csv")
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("shell, code, said", [
    ('"$@" >&-', 2, "Standard output is closed"),
    ('"$@" >/dev/full', 2, "Standard output cannot be written: No space left on device."),
    ('"$@" | head -1 >/dev/null; exit ${PIPESTATUS[0]}', 141, ""),
    slow('"$@" 2>&- >/dev/null', 0, ""),
])
def test_standard_output_that_takes_nothing(shell, code, said, place):
    answer = run("bash", "-c", shell, "bash", *words_of(place, "-"), PYTHONUNBUFFERED="")
    assert answer.returncode == code and said in answer.stderr and "Traceback" not in answer.stderr
    assert len(answer.stderr.splitlines()) <= 1


COMMANDS = [("--help",), ("data", "show", "--data", "data/sample")]


@pytest.mark.parametrize("shell, code", [('"$@" >/dev/full', 2), ('"$@" >&-', 0), ('"$@" 2>&-', 0)])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_other_commands_without_a_stream(shell, code, words):
    answer = run("bash", "-c", shell, "bash", "disaster", *words, PYTHONUNBUFFERED="")
    assert answer.returncode == code and "Traceback" not in answer.stderr, answer.stderr


@pytest.mark.parametrize("unbuffered, said", [
    ("", "Standard output cannot be written: No space left on device."),
    ("1", "Standard output or a file cannot be written: No space left on device.")])
def test_a_full_disk_is_one_sentence(unbuffered, said):
    answer = run("bash", "-c", '"$@" >/dev/full', "bash", "disaster", *COMMANDS[1],
                 PYTHONUNBUFFERED=unbuffered)
    assert (answer.returncode, answer.stderr) == (2, f"Error: {said}\n")


def test_a_mistake_that_nobody_hears_is_a_mistake():
    for shell in ('"$@" 2>&-', '"$@" 2>/dev/full'):
        for words in (("score", "none.csv", "--run", "none"), ("score", "--none")):
            for unbuffered in ("", "1"):
                answer = run("bash", "-c", shell, "bash", "disaster", *words,
                             PYTHONUNBUFFERED=unbuffered)
                assert answer.returncode == 2


def refused(place: Path, target: Path) -> str:
    """Return the sentence with which a command refuses a planted folder."""
    answer = run(*words_of(place, target, "--workers", "1"))
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    return answer.stderr


def test_a_folder_of_parts_that_is_a_link_is_not_followed(place, tmp_path):
    other = tmp_path/"other"
    other.mkdir()
    (other/"0000000.part").write_text("precious")
    (tmp_path/".out.csv.parts").symlink_to(other)
    assert ".out.csv.parts is a link" in refused(place, tmp_path/"out.csv")
    assert [path.name for path in other.iterdir()] == ["0000000.part"]
    assert (other/"0000000.part").read_text() == "precious"


@pytest.mark.parametrize("name", [
    "lock", "note.json", "note.part.tmp", "0000000.part", "0000000.part.tmp", "whole.part.tmp"])
def test_links_and_pipes_in_a_folder_of_parts_are_not_followed(name, place, tmp_path):
    parts, precious = tmp_path/".out.csv.parts", tmp_path/"precious"
    precious.write_text("precious")
    parts.mkdir(0o700)
    for plant in (lambda: (parts/name).symlink_to(precious), lambda: os.mkfifo(parts/name),
                  lambda: os.link(precious, parts/name), (parts/name).mkdir):
        plant()
        assert name in refused(place, tmp_path/"out.csv")
        assert precious.read_text() == "precious"
        assert not (tmp_path/"out.csv").exists()
        (parts/name).rmdir() if (parts/name).is_dir() else (parts/name).unlink(missing_ok=True)


def test_a_folder_of_parts_that_others_can_write_to_is_refused(place, tmp_path):
    (tmp_path/".out.csv.parts").mkdir()
    (tmp_path/".out.csv.parts").chmod(0o777)
    assert "can be written to by other users" in refused(place, tmp_path/"out.csv")
    if os.geteuid() == 0:
        (tmp_path/".out.csv.parts").chmod(0o700)
        os.chown(tmp_path/".out.csv.parts", 12345, 12345)
        assert "belongs to another user" in refused(place, tmp_path/"out.csv")


def test_temporary_names_cannot_be_planted(tmp_path, monkeypatch):
    from disaster_nbdev import core
    from disaster_nbdev.core import UserError
    (tmp_path/"precious").write_text("precious")
    (tmp_path/".planted.tmp").symlink_to("precious")
    monkeypatch.setattr(core, "temp_path", lambda path: path.with_name(".planted.tmp"))
    with pytest.raises(UserError, match="cannot be written: File exists"):
        core.atomic_write(tmp_path/"page.html", "new")
    monkeypatch.undo()
    core.write_cache(tmp_path/"a.npz", 1000, a=np.zeros(1))
    assert (tmp_path/"precious").read_text() == "precious" and core.read_cache(tmp_path/"a.npz")


def test_a_report_and_a_download_are_not_locked_through_a_link(tmp_path):
    from disaster_nbdev.core import UserError
    from disaster_nbdev.embedding import download_lock
    from disaster_nbdev.launcher import locked
    (tmp_path/"precious").write_text("precious")
    for name, lock in ((".report.lock", locked), (".download.lock", download_lock)):
        (tmp_path/name).symlink_to("precious")
        with pytest.raises(UserError, match="is a link"): lock(tmp_path).__enter__()
        (tmp_path/name).unlink()
        with lock(tmp_path): assert (tmp_path/name).is_file()
        assert not (tmp_path/name).exists()
    assert (tmp_path/"precious").read_text() == "precious"


def test_what_a_killed_run_left_is_removed_by_the_next(place, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    aside = tmp_path/f"..out.csv.parts.{gone.pid}.0123abcd.tmp"
    aside.mkdir()
    (aside/"0000000.part").write_text("old")
    (tmp_path/".out.csv.parts").mkdir(0o700)
    (tmp_path/".out.csv.parts"/"0000000.part.tmp").write_text("half")
    resumes(place, tmp_path/"out.csv")


def test_a_folder_is_replaced_by_a_whole_one(tmp_path, monkeypatch):
    """The old folder is moved away before it is removed, so that a kill leaves no half of it."""
    from disaster_nbdev import core
    (tmp_path/"run").mkdir()
    (tmp_path/"run"/"old").touch()
    seen, real = [], core.shutil.rmtree
    def removing(path, *more, **options):
        seen.append((Path(path).name, sorted(each.name for each in (tmp_path/"run").iterdir())))
        real(path, *more, **options)
    monkeypatch.setattr(core.shutil, "rmtree", removing)
    with core.atomic_folder(tmp_path/"run") as fresh: (fresh/"new").touch()
    assert seen and all(name != "run" and there == ["new"] for name, there in seen)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_scoring_in_a_folder_with_an_odd_name(place, tmp_path):
    (tmp_path/ODD).mkdir()
    for name in ("{name}.csv", "a [b]*.csv", "\u00e9 %s.csv"):
        resumes(place, tmp_path/ODD/name)
        (tmp_path/ODD/name).unlink()


def test_a_notebook_in_a_folder_with_an_odd_name(tmp_path):
    from disaster_nbdev.recipes import Job
    from disaster_nbdev.launcher import start_notebook
    root = tmp_path/ODD
    (root/"nbs").mkdir(parents=True)
    (root/"out {name}").mkdir()
    cells = [nbformat.v4.new_code_cell('output = ""', metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell("print(repr(output))")]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), root/"nbs"/"toy.ipynb")
    notebook = start_notebook(Job("page", "toy", {"output": str(root/"out {name}")}),
                              root/"out {name}", {}, root)
    assert notebook.wait(LONG) == 0, (root/"out {name}"/"page.err").read_text()
    made = json.loads((root/"out {name}"/".page.ipynb").read_text())
    printed = "".join(text for cell in made["cells"] for output in cell.get("outputs", [])
                      if output.get("name") == "stdout" for text in output["text"])
    assert printed.strip() == repr(str(root/"out {name}"))
