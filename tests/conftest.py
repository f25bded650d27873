"""Share data, helpers and a strict mode, in which nothing is skipped, among the tests."""
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
    """Fail skipped tests if DISASTER_STRICT is set, as in CI with the real data."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("DISASTER_STRICT"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"This machine could have run it, but it was skipped: {reason}"


def slow(*values, **options):
    """Mark a case of a parametrized test that only `make slow` runs: a variant of a quicker one."""
    return pytest.param(*values, marks=pytest.mark.slow, **options)


def run(*words: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run a command of this environment, unaware of a surrounding `make`; return its output."""
    outside = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(words, cwd=folder, env={**outside, **environment}, capture_output=True,
                          text=True, timeout=LONG)


def copy_project(folder: Path, *notebooks: str) -> Path:
    """Copy the project without its reports, with all notebooks or only the named ones."""
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
    """Call the function until its result is true, and return that."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def sample():
    """Load the sample data that come with the project."""
    from disaster_nbdev.data import load
    return load(ROOT/"data"/"sample")


@pytest.fixture(scope="session")
def kaggle():
    """Load Kaggle's files, or skip the test if they are missing."""
    from disaster_nbdev.data import load
    dataset = load()
    if dataset.name != "kaggle": pytest.skip("Kaggle's files are not here")
    return dataset
