"""Check the package as pip installs it: without a clone, in an empty folder."""
import subprocess
import sys
import zipfile
from configparser import ConfigParser

import pytest

import disaster_nbdev
from conftest import ROOT, copy_project, run
from disaster_nbdev.core import REPOSITORY
from test_scoring import saved  # noqa: F401 (a fixture)

COMMAND = "from disaster_nbdev.cli import main; main()"  # what the script `disaster` does
TWEETS = "id,keyword,location,text\n1,,,fire storm\n2,,,party love\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel without a network and unpack it, as pip does."""
    project, folder = (tmp_path_factory.mktemp(name) for name in ("project", "installed"))
    copy_project(project)
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation",
               "--no-index", "--wheel-dir", str(folder), ".", folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive: archive.extractall(folder)
    return folder


@pytest.fixture
def python(installed, tmp_path):
    """Return a function that runs Python in an empty folder, with the installed package."""
    def call(*words: str) -> subprocess.CompletedProcess:
        return run(sys.executable, *words, folder=tmp_path, PYTHONPATH=str(installed),
                   DISASTER_DATA="", PYTHONSAFEPATH="1")
    return call


def test_the_wheel_is_what_is_tested(python, installed):
    answer = python("-c", "import disaster_nbdev; print(disaster_nbdev.__file__)")
    assert answer.stdout.strip() == str(installed/"disaster_nbdev"/"__init__.py")
    names = {path.name for path in (installed/"disaster_nbdev").rglob("*") if path.is_file()}
    ours = {path.name for path in (ROOT/"disaster_nbdev").rglob("*")
            if path.is_file() and path.suffix != ".pyc"}
    assert {name for name in names if not name.endswith(".pyc")} == ours


def test_a_saved_run_classifies_and_help_explains(python, saved):  # noqa: F811
    script = ("import sys; from disaster_nbdev import Classifier; help(Classifier)\n"
              "print(Classifier.load(sys.argv[1]).predict_proba(['fire storm']).shape)")
    answer = python("-c", script, str(saved))
    assert answer.returncode == 0, answer.stderr
    assert "keywords: n keywords, for runs that use them" in answer.stdout
    assert answer.stdout.endswith("(1, 2)\n")


def test_the_command_scores_and_helps(python, saved, tmp_path):  # noqa: F811
    (tmp_path/"tweets.csv").write_text(TWEETS)
    answer = python("-c", COMMAND, "score", "tweets.csv", "--run", str(saved))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("id,keyword,location,text,probability,label,priority\n1,")
    assert "score" in python("-c", COMMAND, "--help").stdout
    assert python("-c", COMMAND, "--version").stdout.strip().endswith(disaster_nbdev.__version__)


def test_tweets_are_scored_without_any_training(python, tmp_path):
    (tmp_path/"tweets.csv").write_text("text\nForest fire near La Ronge\nI love this mixtape\n")
    answer = python("-c", COMMAND, "score", "tweets.csv")
    assert answer.returncode == 0, answer.stderr
    labels = [line.split(",")[-2] for line in answer.stdout.splitlines()[1:]]
    assert labels == ["1", "0"]


@pytest.mark.parametrize("words", [
    "report", "report --dry-run", "report --only gru", "run gru", "run -p cell gru", "run",
    "readme"])
def test_what_needs_a_clone_says_so(words, python):
    answer = python("-c", COMMAND, *words.split())
    assert answer.returncode == 2 and answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    assert "This needs a clone of the project" in answer.stderr
    assert f"git clone {REPOSITORY}, then make report" in answer.stderr


@pytest.mark.parametrize("words, said", [
    ("data show", "There is no train.csv in"), ("score none.csv", "none.csv"),
    ("data kaggle", "pip install 'disaster_nbdev[kaggle]'")])
def test_other_mistakes_are_one_sentence(words, said, python):
    if words == "data kaggle":
        words = ["-c", f"import sys; sys.modules['kagglehub'] = None; {COMMAND}", *words.split()]
    else: words = ["-c", COMMAND, *words.split()]
    answer = python(*words)
    assert answer.returncode == 2 and said in answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr


def test_the_repository_is_that_of_the_settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    assert parser["DEFAULT"]["git_url"] == REPOSITORY
