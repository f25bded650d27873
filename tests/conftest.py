"""What the tests share: the data they may use, a small report of the sample, and a strict mode in which nothing is skipped."""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# papermill, disaster and nbdev_* of this environment
os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
# seconds after which a process hangs; no test depends on its being less, since a machine may be
# slow or busy
LONG = 1800
settings.register_profile("any machine", deadline=None,
                          suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("any machine")  # the same examples on every machine, however long they take
# A shell starts what runs in the background, or under nohup, with signals ignored; the tests'
# processes would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler),
                        (signal.SIGHUP, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN: signal.signal(number, handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With DISASTER_STRICT set, as CI does where the real data are, a skipped test is a failed one."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("DISASTER_STRICT"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"This machine could have run it, but it was skipped: {reason}"


def run(*words: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run a command of this environment and keep what it says; a `make` around the tests is hidden from it."""
    outside = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(words, cwd=folder, env={**outside, **environment}, capture_output=True,
                          text=True, timeout=LONG)


def copy_project(folder: Path, *notebooks: str) -> Path:
    """Copy the project without its reports into a folder, with all its notebooks or with those named."""
    from disaster_nbdev.notebooks import project_notebooks
    for name in ("settings.ini", "pyproject.toml", "setup.py", "README.md", "Makefile",
                 ".gitignore", ".gitattributes", ".gitconfig"):
        shutil.copy(ROOT/name, folder)
    for name in ("disaster_nbdev", "tests", "data/sample"):
        shutil.copytree(ROOT/name, folder/name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder/"nbs").mkdir()
    shutil.copy(ROOT/"nbs"/"recipes.yaml", folder/"nbs")
    for path in project_notebooks(ROOT/"nbs"):
        if not notebooks or path.stem in notebooks: shutil.copy(path, folder/"nbs")
    return folder


def wait_for(what, seconds: float = LONG):
    """Return what the function gives, as soon as that is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def sample():
    """The sample data that come with the project."""
    from disaster_nbdev.data import load
    return load(ROOT/"data"/"sample")


@pytest.fixture(scope="session")
def kaggle():
    """Kaggle's files, where they are found."""
    from disaster_nbdev.data import load
    dataset = load()
    if dataset.name != "kaggle": pytest.skip("Kaggle's files are not here")
    return dataset
