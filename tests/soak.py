"""Kill processes of `disaster report` and `disaster score` at random moments; check the results.

    python tests/soak.py --kills 100 --seed 0 [--resume] [--output FILE]

Each trial starts a command and kills one of its processes, at a moment drawn uniformly from the
lifetime of that process. Nothing may hang, no process may be left over, and every file must be
complete or absent. The same command must then succeed, with the results of an undisturbed run.
The results are written after each trial, so `--resume` resumes an earlier call.

Commands work on small inputs, in a copy of the project in a temporary folder. The notebook whose
launcher, papermill and kernel are killed is a small one that writes a record and a model folder
again and again.
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT/"tests")]
from disaster_nbdev import page_records
from disaster_nbdev.core import UserError, atomic_write
from disaster_nbdev.process import ended_by_signals
from disaster_nbdev.provenance import git_commit
from disaster_nbdev.record import read_record, to_json

DISASTER = Path(sys.executable).parent/"disaster"

TARGETS = ("launcher", "papermill", "kernel", "worker", "scorer")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
WORDS = {  # words in the command line of a process
    "papermill": 'run_module("papermill"',
    "kernel": "ipykernel_launcher",
    "worker": "from disaster_nbdev.process import serve",
}
MARK = "DISASTER_SOAK"  # in the environment of every process of a trial
LIMIT = 120  # seconds after a kill until the command counts as hanging
FAREWELL = 30  # seconds after the end of a command until other processes count as orphans


def alive(mark: str) -> dict[int, str]:  # process id -> command line
    """Return the processes of a trial that have not ended."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit(): continue
        try:
            mine = f"{MARK}={mark}".encode() in (folder/"environ").read_bytes().split(b"\0")
            state = (folder/"stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            if mine and state != "Z":
                found[int(folder.name)] = (folder/"cmdline").read_bytes().decode(errors="replace")
        except OSError: continue  # it has ended meanwhile
    return found


@dataclass
class Work:
    """Describe a command to be disturbed, and check its results."""
    folder: Path  # its working directory; its standard error is written there too
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    # target -> seconds that it lives undisturbed
    life: dict[str, float] = field(default_factory=dict)

    def prepare(self, number: int) -> None:
        """Make sure that the command has something to do."""

    def damaged(self) -> list[str]:
        """Return a sentence for each result that is neither complete nor absent."""
        return []

    def right(self) -> bool:
        """Return whether the results are those of an undisturbed run."""
        return True

    def left_over(self) -> list[str]:
        """Return the names of files that should not be there when the command has succeeded."""
        return []

    def start(self, mark: str) -> subprocess.Popen:
        """Start the command; its standard error goes to a file."""
        environment = {**os.environ, **self.environment, MARK: mark}
        with open(self.folder/"stderr.txt", "w") as errors:
            return subprocess.Popen(self.command, cwd=self.folder, env=environment,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=errors, start_new_session=True)

    def said(self) -> str:
        """Return what the command has written to standard error."""
        return (self.folder/"stderr.txt").read_text(errors="replace")


def victims(process: subprocess.Popen, mark: str, target: str) -> list[int]:
    """Return the processes that a target names: the command itself, or others of its trial."""
    if process.poll() is not None: return []
    if target not in WORDS: return [process.pid]
    return sorted(pid for pid, words in alive(mark).items() if WORDS[target] in words)


def ended(process: subprocess.Popen, limit: float) -> bool:
    """Wait for a process, and return whether it ended in time."""
    try: process.wait(limit)
    except subprocess.TimeoutExpired: return False
    return True


def orphans(mark: str, limit: float) -> list[str]:
    """Wait for all processes of a trial; end the rest, and return their command lines."""
    until = time.monotonic() + limit
    while (left := alive(mark)) and time.monotonic() < until: time.sleep(0.1)
    for pid in left:
        try: os.kill(pid, signal.SIGKILL)
        except ProcessLookupError: pass
    return [words.replace("\0", " ")[:200] for words in left.values()]


def undisturbed(work: Work, limit: float) -> int | None:
    """Run the command, measure the lives of its targets, and return its exit code or None."""
    mark, seen, until = f"{os.getpid()}-again-{time.monotonic_ns()}", {}, time.monotonic() + limit
    process = work.start(mark)
    while process.poll() is None and time.monotonic() < until:
        there = alive(mark)
        for target in TARGETS:
            if target not in WORDS or any(WORDS[target] in words for words in there.values()):
                seen.setdefault(target, []).append(time.monotonic())
        time.sleep(0.1)
    code = process.poll()
    orphans(mark, 0 if code is None else FAREWELL)
    process.wait()
    work.life.update({target: times[-1] - times[0] for target, times in seen.items()})
    return code


def kill(process: subprocess.Popen, mark: str, target: str, name: str, moment: float,
         choose: random.Random) -> bool:
    """Send the signal `moment` seconds after the target appears; False if it had ended before."""
    def found() -> list[int]:
        while not (there := victims(process, mark, target)) and process.poll() is None:
            time.sleep(0.02)
        return there
    found()
    try: process.wait(moment)
    except subprocess.TimeoutExpired: pass
    there = found()  # one notebook may have ended, and the next not started
    if not there: return False
    try: os.kill(choose.choice(there), getattr(signal, name))
    except ProcessLookupError: return False
    return True


def trial(work: Work, number: int, target: str, name: str, seed: int, limit: float = LIMIT) -> dict:
    """Disturb the command once, check the results, and run it again undisturbed."""
    choose = random.Random(f"{seed} {number}")
    moment = choose.random() * work.life.get(target, 1.0)
    work.prepare(number)
    began, mark = time.monotonic(), f"{os.getpid()}-{number}-{time.monotonic_ns()}"
    process = work.start(mark)
    killed = kill(process, mark, target, name, moment, choose)
    hangs = not ended(process, limit)
    left = orphans(mark, 0 if hangs else FAREWELL)
    process.wait()
    said, damaged = work.said(), work.damaged()
    if process.returncode == 0 and not work.right():
        damaged.append("exit code 0 without the right results")
    facts = {"number": number, "target": target, "signal": name, "moment": round(moment, 3),
             "killed": killed, "code": process.returncode, "hang": hangs,
             "orphans": [] if hangs else left, "damaged": damaged,
             "traceback": "Traceback" in said or "leaked" in said}
    again = undisturbed(work, limit)
    return {**facts, "again": again, "equal": again == 0 and not work.damaged() and work.right(),
            "left_over": work.left_over(), "seconds": round(time.monotonic() - began, 1)}


class Scoring(Work):
    """Run `disaster score` with two workers, on a file that takes a second or two."""
    def __init__(self, folder: Path):
        from test_scoring import made, put, tweets
        folder.mkdir()
        made(folder/"run", cell="none", pooling="mean")
        put(tweets(60_000), folder/"in.csv")
        words = ["score", "in.csv", "--run", "run", "--workers", "2", "--output"]
        super().__init__(folder, [str(DISASTER), *words, "out.csv"], {"PYTHONPATH": str(ROOT)})
        if undisturbed(self, 600): raise SystemExit(self.said())
        (folder/"out.csv").rename(folder/"expected.csv")

    def prepare(self, number: int) -> None:
        (self.folder/"out.csv").unlink(missing_ok=True)

    def damaged(self) -> list[str]:
        """Return a sentence if there is an incomplete output: the command started without one."""
        there = (self.folder/"out.csv").exists()
        return ["out.csv is incomplete"] if there and not self.right() else []

    def right(self) -> bool:
        import pandas as pd
        found, expected = (pd.read_csv(self.folder/name, dtype=str)
                           for name in ("out.csv", "expected.csv"))
        if len(found) != len(expected) or list(found) != list(expected): return False
        gap = (found.pop("probability").astype(float)
               - expected.pop("probability").astype(float)).abs().max()
        return bool(gap <= 1e-6) and found.equals(expected)

    def left_over(self) -> list[str]:
        known = {"run", "in.csv", "out.csv", "expected.csv", "stderr.txt"}
        return sorted(path.name for path in self.folder.iterdir() if path.name not in known)


PAGE = "logistic-words-folds"  # the page and record of the notebook below
NOTEBOOK = ['recipe = embedding = baseline = data = output = ""\nfolds = members = seed = 1', f'''
import time
import numpy as np
from disaster_nbdev.data import load
from disaster_nbdev.split import split
from disaster_nbdev.core import atomic_folder
from disaster_nbdev.record import models_folder, prediction_table, report_folder
from disaster_nbdev.record import write_folder, write_record
dataset, rng = load(data), np.random.default_rng(seed)
report = report_folder(dataset.name, output)
frames = dict(zip(("train", "validation"), split(dataset.train))) | {{"test": dataset.test}}
tables = {{part: prediction_table(frame, rng.random(len(frame))) for part, frame in frames.items()}}
facts = dict(kind="crossval", config={{"seed": seed}}, seed=seed, seconds=0.0,
             parameters={{"total": 1, "trainable": 1}})
record = write_record(report, "{PAGE}", dataset, "crossval", tables, **facts)
files = {{path.name: path.read_text() for path in record.folder.iterdir()}}
until = time.monotonic() + 2
while time.monotonic() < until:  # so many kills hit a write
    write_folder(record.folder, files)
    with atomic_folder(models_folder(report)/"soak") as fresh:
        for name in "abcd": (fresh/name).write_bytes(bytes([seed]) * 2_000_000)
''']


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook; its first code cell takes the parameters."""
    import nbformat
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {path.stem.title()}")])
    made.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    if cells: made.cells[1].metadata["tags"] = ["parameters"]
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3",
                                   "language": "python"}
    nbformat.write(made, path)


class Report(Work):
    """Run `disaster report` in a small copy of the project, with one small notebook."""
    def __init__(self, folder: Path):
        import pandas as pd
        shutil.copytree(ROOT/"disaster_nbdev", folder/"disaster_nbdev",
                        ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT/"data"/"sample", folder/"data"/"sample")
        for name in ("settings.ini", "setup.py", "pyproject.toml"): shutil.copy(ROOT/name, folder)
        (folder/"nbs").mkdir()
        shutil.copy(ROOT/"nbs"/"baseline.ipynb", folder/"nbs")
        for name in ("explore", "topics", "compare"):
            notebook(folder/"nbs"/f"{name}.ipynb", 'data = output = ""')
        notebook(folder/"nbs"/"crossval.ipynb", *NOTEBOOK)
        train = pd.read_csv(folder/"data"/"sample"/"train.csv", dtype=str, keep_default_na=False)
        (folder/"tiny").mkdir()
        train.groupby("target").head(50).to_csv(folder/"tiny"/"train.csv", index=False)
        train.tail(20).drop(columns="target").to_csv(folder/"tiny"/"test.csv", index=False)
        words = ["report", "--set", "soak", "--data", "tiny", "--output", "out"]
        super().__init__(folder, [str(DISASTER), *words],
                         {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": ""})
        self.seed, self.expected = 0, {}
        for number in (0, 1):
            self.prepare(number)
            if undisturbed(self, 600): raise SystemExit(self.said())
            self.expected[number] = self.predictions()

    def prepare(self, number: int) -> None:
        """Change the seed and delete the page, so that the record has to be replaced."""
        self.seed, out = number % 2, self.folder/"out"
        for path in (out/f"{PAGE}.html", out/"notebooks"/f"{PAGE}.ipynb"):
            path.unlink(missing_ok=True)
        entry = {"template": "crossval", "baseline": "logistic-words", "folds": 2,
                 "seed": self.seed}
        matrix = {"recipes": {"gru": {"cell": "gru"}}, "sets": {"soak": [entry]}}
        (self.folder/"nbs"/"recipes.yaml").write_text(json.dumps(matrix))

    def predictions(self) -> str:
        """Return the predictions of the record."""
        return (self.folder/"out"/"runs"/PAGE/"predictions_validation.csv").read_text()

    def damaged(self) -> list[str]:
        found, report = [], self.folder/"out"
        for folder in (report/"runs").glob("[!.]*"):
            try: read_record(folder)
            except UserError as error: found.append(str(error))
        model = report/"models"/"soak"
        sizes = {path.name: path.stat().st_size for path in model.glob("*")}
        if model.exists() and sizes != dict.fromkeys("abcd", 2_000_000):
            found.append("the model folder is incomplete")
        pages = [path for path in report.glob("*.html") if "</html>" not in path.read_text()[-20:]]
        return found + [f"{path.name} is incomplete" for path in pages]

    def right(self) -> bool:
        model = (self.folder/"out"/"models"/"soak"/"a").read_bytes()
        return self.predictions() == self.expected[self.seed] and model[:1] == bytes([self.seed])

    def left_over(self) -> list[str]:
        return sorted({path.name for pattern in ("*.tmp", "*.lock")
                       for path in (self.folder/"out").rglob(pattern)})


@contextmanager
def workplace() -> Iterator[dict[str, Work]]:  # target -> what is disturbed
    """Make the inputs, run everything once undisturbed, and remove it all at the end."""
    with tempfile.TemporaryDirectory(prefix="disaster-soak-") as scratch:
        score, report = Scoring(Path(scratch)/"score"), Report(Path(scratch)/"report")
        yield {target: score if target in ("worker", "scorer") else report for target in TARGETS}


def fresh_record(kills: int, seed: int) -> dict:
    """Return the facts of a soak that has not started."""
    sys.path.insert(0, str(ROOT/"benchmarks"))
    from benchmark import machine
    here = {name: value for name, value in machine().items()
            if name in ("processor", "cores", "memory_gb", "system", "date")}
    return {"schema": 1, "kills": kills, "seed": seed, "limit": LIMIT, "farewell": FAREWELL,
            "machine": here, "git_commit": git_commit(), "seconds": 0.0, "trials": []}


def opened(path: Path, kills: int, seed: int, resume: bool) -> dict:
    """Return the facts of an earlier call with the same seed, or new ones."""
    if not resume or not path.is_file(): return fresh_record(kills, seed)
    facts = json.loads(path.read_text())
    if facts["seed"] != seed:
        raise SystemExit(f"{path} was started with seed {facts['seed']}: give that, or leave out "
                         f"--resume.")
    return {**facts, "kills": kills}


def faults(tried: dict) -> list[str]:
    """Return the faults of one trial, as the page about the soak names them."""
    return [name for name, found in page_records.faults(tried).items() if found]


def soak(output: Path, kills: int, seed: int, resume: bool) -> int:  # trials with faults
    """Run the trials, and write the results after each."""
    # a command in the background inherits ignored signals, and its children would too
    for name in SIGNALS[1:]:
        if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    facts = opened(output, kills, seed, resume)
    with workplace() as works:
        while (done := sum(tried["killed"] for tried in facts["trials"])) < kills:
            target = TARGETS[done % len(TARGETS)]
            name = SIGNALS[done // len(TARGETS) % len(SIGNALS)]
            tried = trial(works[target], len(facts["trials"]), target, name, seed)
            facts["trials"].append(tried)
            facts["seconds"] = round(facts["seconds"] + tried["seconds"], 1)
            atomic_write(output, to_json(facts))
            what = ("; ".join(faults(tried))
                    or ("no fault" if tried["killed"] else "it had ended before"))
            print(f"{done + 1}/{kills} {name} to the {target} after {tried['moment']:.2f} s: exit "
                  f"code {tried['code']}, {what}", flush=True)
    return sum(bool(faults(tried)) for tried in facts["trials"])


def main() -> None:
    """Read the command line, and soak."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--kills", type=int, default=100)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--resume", action="store_true", help="continue the trials in the output")
    words.add_argument("--output", type=Path, default=ROOT/"reports"/"kaggle"/"trust.json")
    given = words.parse_args()
    with ended_by_signals(): wrong = soak(given.output, given.kills, given.seed, given.resume)
    print(f"{given.kills} kills, {wrong} of them with faults: {given.output}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__": main()
