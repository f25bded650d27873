"""Check how notebooks are edited: running, saving, cleaning, checking and merging them."""
import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec

import nbformat
import pytest
from nbformat.v4 import new_output

from conftest import ROOT, copy_project, run, slow
from disaster_nbdev.notebooks import KERNEL, before_saving, clean_file, faults, parse
from disaster_nbdev.notebooks import project_notebooks, stored

WIDGETS = {"application/vnd.jupyter.widget-state+json": {"state": {"a": {}}, "version_major": 2}}
LAB = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"codemirror_mode": {"name": "ipython", "version": 3},
                      "file_extension": ".py", "name": "python", "version": "3.13.0"},
    "widgets": WIDGETS,
}


def check(folder, *words):
    """Check the notebooks of a project, or clean them first."""
    return run("python", "tests/check_notebooks.py", *words, folder=folder, PYTHONPATH=str(folder))


def run_all_and_save(path, minor=5):
    """Do to a file what Run All and Save do in JupyterLab, without the hook of `make lab`."""
    notebook = parse(path.read_bytes())
    notebook.metadata = nbformat.from_dict(LAB)
    notebook.nbformat_minor = minor
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        cell.outputs = [new_output("stream", text="epoch 1\n" * 50),
                        new_output("execute_result", {"text/plain": "1"}, execution_count=count)]
        cell.metadata |= {"scrolled": True, "collapsed": False,
                          "execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"},
                          "jupyter": {"outputs_hidden": True}, "papermill": {"status": "completed"}}
    path.write_bytes(stored(notebook))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """Copy all notebooks and the package to a folder outside of git."""
    return copy_project(tmp_path_factory.mktemp("project"))


def test_run_all_and_save_is_found_and_one_command_brings_every_notebook_back(copied):
    paths = project_notebooks(copied/"nbs")
    assert {"train", "topics", "10_clean", "69_cli"} <= {path.stem for path in paths}
    before = {path: path.read_bytes() for path in paths}
    for path in paths: run_all_and_save(path)
    for path in paths: assert "is not clean: run `make export`" in faults(path), path.name
    answer = check(copied)
    assert answer.returncode == 1
    assert "nbs/train.ipynb: is not clean: run `make export`" in answer.stderr
    assert "nbs/10_clean.ipynb" in answer.stderr
    answer = check(copied, "--clean")
    assert answer.returncode == 0, answer.stderr
    after = {path: path.read_bytes() for path in paths}
    assert after == before, "tags and cell ids are kept, everything else is as it was"


def test_every_fault_that_the_tests_find_is_found_by_the_check(copied):
    path = copied/"nbs"/"explore.ipynb"
    before = path.read_bytes()
    for old, new, said in [("data: str", "data_str", "a parameter is not written as"),
                           ("data: str", "# above\\ndata: str = 'x'\\no: str",
                            "a parameter is not written as"),
                           ("## ", "## <<<<<<< HEAD\\n<<<<<<< HEAD ", "merge conflict"),
                           ("## ", "## /ro" + "ot/x ", "names a folder of one machine")]:
        path.write_bytes(before.decode().replace(old, new, 1).encode())
        assert any(said in fault for fault in faults(path)), said
        answer = check(copied)
        assert answer.returncode == 1
        assert "nbs/explore.ipynb: " in answer.stderr
        assert said in answer.stderr
    path.write_bytes(before)
    module = copied/"disaster_nbdev"/"core.py"
    module.write_text(module.read_text(encoding="utf-8") + "# by hand\n", encoding="utf-8")
    assert "disaster_nbdev/core.py: is not what the notebooks export" in check(copied).stderr
    shutil.copy(ROOT/"disaster_nbdev"/"core.py", module)


def test_scratch_and_executed_copies_in_nbs_are_neither_judged_nor_cleaned_nor_exported(copied):
    names = ("Untitled.ipynb", "Untitled12.ipynb", "out.ipynb", "out-gru.ipynb", "monday.ipynb")
    for name in names:
        path = copied/"nbs"/name
        shutil.copy(copied/"nbs"/"10_clean.ipynb", path)
        run_all_and_save(path)
        notebook = parse(path.read_bytes())
        notebook.cells[-1].source += "\nan error"
        next(cell for cell in notebook.cells
             if cell.source.startswith("#| export")).source += "\nraise SystemExit"
        if name == "monday.ipynb":
            notebook.metadata.papermill = {"input_path": "nbs/10_clean.ipynb",
                                           "output_path": "nbs/monday.ipynb"}
        path.write_bytes(stored(notebook))
    before = {name: (copied/"nbs"/name).read_bytes() for name in names}
    answer = check(copied, "--clean")
    assert answer.returncode == 0, answer.stderr
    assert {name: (copied/"nbs"/name).read_bytes() for name in names} == before
    makefile = (ROOT/"Makefile").read_text(encoding="utf-8")
    assert "nbdev_export --file_re '$(NUMBERED)'" in makefile
    assert "nbdev_test --n_workers 2 --file_re '$(NUMBERED)'" in makefile
    numbered = re.search(r"^NUMBERED := (.*)$", makefile, re.M)[1].replace("$$", "$")
    answer = run("nbdev_export", "--file_re", numbered, folder=copied, PYTHONPATH=str(copied))
    assert answer.returncode == 0, answer.stderr
    assert "SystemExit" not in (copied/"disaster_nbdev"/"clean.py").read_text(encoding="utf-8")
    assert check(copied).returncode == 0
    for name in names: (copied/"nbs"/name).unlink()


def test_what_papermill_writes_over_a_template_is_cleaned(copied):
    path = copied/"nbs"/"explore.ipynb"
    before = path.read_bytes()
    answer = run("papermill", "nbs/explore.ipynb", "nbs/explore.ipynb", "--prepare-only", "-p",
                 "data", "data/sample", folder=copied)
    assert answer.returncode == 0, answer.stderr
    assert b"injected-parameters" in path.read_bytes()
    assert clean_file(path) and path.read_bytes() == before


FORMS = {"indented": {"indent": 4}, "escaped": {"ensure_ascii": True},
         "compact": {"sort_keys": True, "separators": (",", ":")}}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_other_editors_forms_become_the_same_file(form, tmp_path):
    for name in ("10_clean", "train"):
        before = (ROOT/"nbs"/f"{name}.ipynb").read_bytes()
        path = tmp_path/f"{name}.ipynb"
        path.write_text(json.dumps(json.loads(before), **form), encoding="utf-8")
        assert clean_file(path) and path.read_bytes() == before
        path.write_bytes(before.replace(b"\n", b"\r\n").rstrip())
        assert clean_file(path) and path.read_bytes() == before


def test_nbdevs_own_cleaning_changes_nothing(tmp_path):
    for name in ("10_clean", "train"):
        path = tmp_path/f"{name}.ipynb"
        shutil.copy(ROOT/"nbs"/path.name, path)
        run_all_and_save(path)
        clean_file(path)
        answer = run("nbdev_clean", "--fname", str(path))
        assert answer.returncode == 0 and path.read_bytes() == (ROOT/"nbs"/path.name).read_bytes()


def test_jupyterlab_saves_an_opened_notebook_as_it_was(tmp_path):
    """Save with the contents manager of Jupyter's server and the hook that `make lab` names."""
    from jupyter_server.services.contents.filemanager import FileContentsManager
    hook = "disaster_nbdev.notebooks.before_saving"
    assert f"pre_save_hook={hook}" in (ROOT/"Makefile").read_text(encoding="utf-8")
    shutil.copy(ROOT/"nbs"/"train.ipynb", tmp_path)
    manager = FileContentsManager(root_dir=str(tmp_path), pre_save_hook=hook)
    manager.notary.db_file, manager.notary.data_dir = ":memory:", str(tmp_path)
    model = manager.get("train.ipynb")
    model["content"]["metadata"] |= LAB
    manager.save(model, "train.ipynb")
    assert (tmp_path/"train.ipynb").read_bytes() == (ROOT/"nbs"/"train.ipynb").read_bytes()
    model["content"]["cells"][-1]["outputs"] = [new_output("stream", text="kept")]
    manager.save(model, "train.ipynb")
    assert "kept" in (tmp_path/"train.ipynb").read_text(), "outputs are there when it is reopened"


# Extras

HIDE = """
import os, sys
from importlib.machinery import PathFinder

class Hide(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN"].split(): return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hide
"""
# extra -> modules that it brings
EXTRAS = {"cluster": "dask distributed", "encoder": "keras_hub", "tune": "optuna"}


@pytest.mark.parametrize("extra, notebooks", [
    ("cluster", ["64_cluster"]), slow("encoder", ["15_encoder", "19_baseline"]),
    slow("tune", ["44_search_storage", "45_tuning", "46_tuning_figures"])], ids=EXTRAS)
def test_without_an_extra_its_notebooks_still_pass(extra, notebooks, tmp_path):
    (tmp_path/"sitecustomize.py").write_text(HIDE)
    for name in notebooks:
        answer = run("nbdev_test", "--path", f"nbs/{name}.ipynb", "--n_workers", "0",
                     HIDDEN=EXTRAS[extra], PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
        assert answer.returncode == 0, answer.stderr[-2000:]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_installed(extra):
    """Without it the notebooks leave cells out and say nothing: here it is said."""
    missing = [name for name in EXTRAS[extra].split() if find_spec(name) is None]
    if missing:
        pytest.skip(f"the extra `{extra}` is not installed, so notebooks leave its cells out")


# Merging

@pytest.fixture
def repository(tmp_path):
    """Create a git repository with two notebooks, in which `make hooks` has been run."""
    if not shutil.which("git"): pytest.skip("git is not installed")
    folder = copy_project(tmp_path, "08_notebooks", "explore")
    for words in (["init", "-q", "-b", "main"], ["config", "user.email", "a@example.org"],
                  ["config", "user.name", "A"], ["add", "-A"], ["commit", "-qm", "start"]):
        assert git(folder, *words).returncode == 0
    hooks(folder)
    return folder


def git(folder, *words):
    """Run git with no settings but the repository's own."""
    return run("git", *words, folder=folder, GIT_CONFIG_GLOBAL=os.devnull,
               GIT_CONFIG_SYSTEM=os.devnull)


def hooks(folder):
    """Run the Makefile's lines that tell git how to merge."""
    answer = run("make", "hooks", folder=folder, GIT_CONFIG_GLOBAL=os.devnull,
                 GIT_CONFIG_SYSTEM=os.devnull)
    assert answer.returncode == 0, answer.stderr
    return answer


def commit_change(folder, branch, change, name="explore"):
    """Change a notebook on a branch of its own, which starts from the first commit."""
    git(folder, "checkout", "-qB", branch, "start")
    path = folder/"nbs"/f"{name}.ipynb"
    notebook = parse(path.read_bytes())
    change(notebook)
    path.write_bytes(stored(notebook))
    assert git(folder, "commit", "-qam", branch).returncode == 0


def put(at, text):
    """Return a change that adds a line to a cell."""
    def change(notebook): notebook.cells[at].source += f"\n{text}"
    return change


def merged(repository, ours, theirs):
    """Merge two changes of one notebook; return git's answer and the file."""
    git(repository, "tag", "start")
    commit_change(repository, "theirs", theirs)
    commit_change(repository, "ours", ours)
    return git(repository, "merge", "-q", "theirs"), repository/"nbs"/"explore.ipynb"


def test_hooks_are_the_repositorys_own_and_set_once(repository):
    git(repository, "config", "--add", "include.path", "../mine.gitconfig")
    hooks(repository)
    included = git(repository, "config", "--local", "--get-all", "include.path").stdout.split()
    assert included == ["../.gitconfig", "../mine.gitconfig"]
    assert git(repository, "status", "--porcelain").stdout == ""


def test_outside_of_git_the_hooks_do_nothing(tmp_path):
    shutil.copy(ROOT/"Makefile", tmp_path)
    answer = run("make", "hooks", folder=tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_changes_of_two_cells_merge_without_a_person(repository):
    answer, path = merged(repository, put(1, "Ours."), put(-1, "# theirs"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    notebook = parse(path.read_bytes())
    assert notebook.cells[1].source.endswith("Ours.")
    assert notebook.cells[-1].source.endswith("# theirs")
    assert faults(path) == []


def test_a_conflict_in_one_cell_is_shown_as_cells_and_resolved_by_a_choice(repository):
    before = parse((repository/"nbs"/"explore.ipynb").read_bytes())
    at = next(i for i, cell in enumerate(before.cells) if cell.cell_type == "code"
              and "parameters" not in cell.metadata.get("tags", []))
    answer, path = merged(repository, put(at, "ours = 1"), put(at, "theirs = 2"))
    assert answer.returncode == 1
    assert "nbs/explore.ipynb" in git(repository, "diff", "--name-only", "--diff-filter=U").stdout
    notebook = parse(path.read_bytes())
    assert notebook is not None, "it still is a notebook, which JupyterLab opens"
    shown = [cell.source for cell in notebook.cells[at:at + 5]]
    assert shown[0].startswith("`<<<<<<<")
    assert shown[2] == "`=======`"
    assert shown[4].startswith("`>>>>>>>")
    assert shown[1] == before.cells[at].source + "\nours = 1"
    assert shown[3] == before.cells[at].source + "\ntheirs = 2"
    others = notebook.cells[:at] + notebook.cells[at + 5:]
    assert ([(cell.id, cell.source) for cell in others]
            == [(cell.id, cell.source) for i, cell in enumerate(before.cells) if i != at])
    assert "merge conflict" in "; ".join(faults(path))
    assert "merge conflict" in check(repository).stderr

    del notebook.cells[at + 2:at + 5], notebook.cells[at] # the person keeps ours
    path.write_bytes(stored(notebook))
    answer = check(repository, "--clean")
    assert answer.returncode == 0, answer.stderr
    after = parse(path.read_bytes())
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
    assert git(repository, "commit", "-qam", "merged").returncode == 0
    assert git(repository, "status", "--porcelain").stdout == ""


def test_a_conflict_in_outputs_and_metadata_alone_needs_no_person(repository):
    def executed(count):
        def change(notebook):
            notebook.metadata.language_info = {"name": "python", "version": f"3.1{count}"}
            for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
                cell.execution_count, cell.outputs = count, [
                    new_output("stream", text=f"run {count}")]
        return change
    answer, path = merged(repository, executed(1), executed(2))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert clean_file(path) and path.read_bytes() == (ROOT/"nbs"/"explore.ipynb").read_bytes()


def test_without_nbdev_notebooks_merge_as_text(repository, tmp_path_factory):
    tools = tmp_path_factory.mktemp("bin")
    for name in ("git", "sh"): (tools/name).symlink_to(shutil.which(name))
    git(repository, "tag", "start")
    commit_change(repository, "theirs", put(1, "Theirs."))
    commit_change(repository, "ours", put(1, "Ours."))
    answer = subprocess.run(["git", "merge", "-q", "theirs"], cwd=repository,
                            env={**os.environ, "PATH": str(tools)}, capture_output=True, text=True)
    assert answer.returncode == 1, answer.stderr
    text = (repository/"nbs"/"explore.ipynb").read_text(encoding="utf-8")
    assert "Ours." in text and "Theirs." in text and "<<<<<<<" in text, "neither side is dropped"
    assert "nbdev_fix" in faults(repository/"nbs"/"explore.ipynb")[0]
    assert run("nbdev_fix", "nbs/explore.ipynb", folder=repository).returncode in (0, 1)
    assert "holds a merge conflict" in faults(repository/"nbs"/"explore.ipynb")[0]


def listed_names(folder):
    """Return the file names of the project's notebooks."""
    return [path.name for path in project_notebooks(folder/"nbs")]


def test_git_ignores_what_the_check_leaves_alone(repository):
    names = ["nbs/Untitled.ipynb", "nbs/Untitled3.ipynb", "nbs/out.ipynb", "nbs/out-gru.ipynb",
             "nbs/out2.ipynb", "nbs/.hidden.ipynb", "nbs/_quarto.yml", "nbs/explore_files/plot.png",
             "_proc/a.ipynb", "_docs/index.html", "nbs/.ipynb_checkpoints/explore-checkpoint.ipynb"]
    for name in names: assert git(repository, "check-ignore", name).returncode == 0, name
    for name in ("nbs/outlook.ipynb", "nbs/my_report.ipynb"):
        assert git(repository, "check-ignore", name).returncode == 1, name
    (repository/"nbs"/"out.ipynb").write_text("{}")
    git(repository, "add", "-f", "nbs/out.ipynb")
    assert "out.ipynb" in listed_names(repository), "what git tracks is checked whatever its name"
    (repository/"nbs"/"mine.ipynb").write_text("{}")
    assert "mine.ipynb" in listed_names(repository)
    (repository/".git"/"info"/"exclude").write_text("mine.ipynb\n")
    assert "mine.ipynb" not in listed_names(repository), "what git ignores is left alone"


def test_the_kernel_has_one_name_everywhere():
    assert KERNEL["display_name"] == KERNEL["name"] == "python3"
    before_saving({"type": "directory", "content": None})
