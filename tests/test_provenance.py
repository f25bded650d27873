"""Check that a hash of code changes when a result could change, and only then."""
import ast
import json
import re
import shutil

import pytest

from conftest import ROOT, run
from disaster_nbdev.provenance import CARRIERS, LOADED, Code, changed_parts, code_hash, hash_of
from disaster_nbdev.provenance import parts_of, reach

GRU = {"cell": "gru", "cleaning": "study", "embedding": "glove", "optimizer": "adam",
       "split": "study"}


@pytest.fixture
def project(tmp_path):
    """Copy the project's notebooks and package, so that a test may edit them."""
    for name in ("nbs", "disaster_nbdev"):
        shutil.copytree(ROOT/name, tmp_path/name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT/"settings.ini", tmp_path)
    return tmp_path


def code_of(project, template: str = "train", config: dict = GRU) -> dict:
    """Return the parts of the code that decide a run, from a fresh process of a copied project."""
    code = ("import json, sys; from disaster_nbdev.record import run_code; "
            f"print(json.dumps(run_code({template!r}, {config!r})))")
    done = run("python", "-c", code, folder=project, PYTHONPATH=str(project),
               XDG_CACHE_HOME=str(project/"cache"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def edit(path, old: str, new: str) -> None:
    """Replace a text that occurs once in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path.name, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


class Reworded(ast.NodeTransformer):
    """Give every function and class another docstring."""
    def visit(self, node):
        self.generic_visit(node)
        kinds = (ast.FunctionDef, ast.ClassDef)
        if isinstance(node, kinds) and ast.get_docstring(node):
            node.body[0] = ast.Expr(ast.Constant("Another."))
        return node


def test_docstrings_comments_and_types_make_nothing_stale(project):
    before = code_of(project)
    for path in (project/"disaster_nbdev").glob("[a-z]*.py"):
        tree = Reworded().visit(ast.parse(path.read_text(encoding="utf-8")))
        path.write_text("# a comment\n" + ast.unparse(ast.fix_missing_locations(tree)),
                        encoding="utf-8")
    training = project/"disaster_nbdev"/"training.py"
    training.write_text(training.read_text(encoding="utf-8").replace("prepared: Prepared",
                                                                     "prepared"), encoding="utf-8")
    assert code_of(project) == before


def test_a_function_may_move_to_another_module(project):
    before, package = code_of(project), project/"disaster_nbdev"
    text = (package/"training.py").read_text(encoding="utf-8")
    moved = re.search(r"^def _callbacks\(.*?(?=^# %%)", text, re.M | re.S)[0]
    (package/"training.py").write_text(
        text.replace(moved, "from .elsewhere import _callbacks\n\n"), encoding="utf-8")
    imports = "import keras\nfrom .backend import keras\nRunConfig = EpochLog = object\n\n"
    (package/"elsewhere.py").write_text(imports + moved, encoding="utf-8")
    assert hash_of(code_of(project)) == hash_of(before)


@pytest.mark.parametrize(("module", "old", "new", "part"), [
    ("clean", r'r"\d+", r"http\S+"', r'r"\d+", r"https\S+"', "STUDY_STEPS"),
    ("training", '"val_loss", patience=config.patience',
     '"val_loss", patience=config.patience + 1', "_callbacks"),
    ("vocabulary", "MAX_SEQ_LEN = 100", "MAX_SEQ_LEN = 50", "MAX_SEQ_LEN"),
    ("split", "test_size=0.2, stratify", "test_size=0.3, stratify", "study_split")])
def test_what_can_change_a_result_is_named(project, module, old, new, part):
    before = code_of(project)
    edit(project/"disaster_nbdev"/f"{module}.py", old, new)
    assert changed_parts(before, code_of(project)) == [part]


def test_the_statements_of_a_template_that_lead_to_its_record_count(project):
    before, path = code_of(project), project/"nbs"/"train.ipynb"
    edit(path, "history = training.fit(network, prepared, config)",
         "history = training.fit(network, prepared, None)")
    assert changed_parts(before, code_of(project)) == ["history"]
    edit(path, "history = training.fit(network, prepared, None)",
         "history = training.fit(network, prepared, config)")
    text = path.read_text(encoding="utf-8")
    assert "Training part." in text
    notebook = json.loads(text.replace("Training part.", "The part for training."))
    notebook["cells"].append({"cell_type": "markdown", "source": "More prose.", "metadata": {},
                              "id": "eeeeeeee"})
    notebook["cells"].append({"cell_type": "code", "source": "print(config)\nshare = predictions",
                              "metadata": {}, "outputs": [], "execution_count": None,
                              "id": "ffffffff"})
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert code_of(project) == before, "tables, figures and prose below the record do not"


def test_another_entry_of_a_registry_makes_no_run_stale(project):
    before, lstm = code_of(project), code_of(project, config={**GRU, "cell": "lstm"})
    edit(project/"disaster_nbdev"/"model.py", '"lstm": LSTM, "gru": GRU,',
         '"toy": GRU, "lstm": keras.layers.LSTM, "gru": GRU,')
    assert code_of(project) == before
    assert "CELLS" in changed_parts(lstm, code_of(project, config={**GRU, "cell": "lstm"}))


def test_every_definition_can_be_described():
    roots = [(module, "*") for module in LOADED.sources]
    parts = parts_of(reach(LOADED, roots))
    assert len(parts) > 700 and all(len(digest) >= 16 for digest in parts.values())


def test_definitions_that_use_each_other_come_to_an_end():
    sources = {"a": "from .b import g\ndef f(n): return g(n - 1) if n else 0",
               "b": "from . import a\ndef g(n): return a.f(n)"}
    assert sorted(each.label for each in reach(Code(sources), [("a", "f")])) == ["f", "g"]


def test_a_name_of_a_library_counts_with_its_origin():
    def digest(line):
        return hash_of(parts_of(reach(Code({"a": f"{line}\ndef f(x): return exp(x)"}),
                                      [("a", "f")])))
    assert (digest("from numpy import exp") == digest("import os\nfrom numpy import exp")
            != digest("from math import exp"))


def test_a_run_that_was_trained_with_another_cleaning_is_refused(project, tmp_path):
    from test_scoring import made, put, tweets
    source = put(tweets(3), tmp_path/"in.csv")
    folder, target = made(tmp_path/"run"), tmp_path/"out.csv"
    words = ("disaster", "score", str(source), "--run", str(folder), "--output", str(target))
    assert run(*words, folder=project, PYTHONPATH=str(project)).returncode == 0
    target.unlink()
    edit(project/"disaster_nbdev"/"clean.py", r'r"\d+", r"http\S+"', r'r"\d+", r"https\S+"')
    done = run(*words, folder=project, PYTHONPATH=str(project))
    assert done.returncode == 2
    assert "trained with other cleaning code (STUDY_STEPS changed)" in done.stderr
    assert "train it again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()
    (folder/"code.json").unlink()
    done = run(*words)
    assert done.returncode == 2
    assert "does not say with which cleaning code it was trained" in done.stderr


def test_a_dry_run_lists_what_is_current_and_what_is_stale(project, tmp_path):
    output, data = tmp_path/"report", ROOT/"data"/"sample"
    words = ("disaster", "report", "--only", "gru", "--data", str(data), "--output", str(output),
             "--dry-run")
    where = {"folder": project, "PYTHONPATH": str(project)}
    done = run(*words, **where)
    assert done.returncode == 0
    assert re.search(r"^gru-glove +stale: there is no page$", done.stdout, re.M)
    assert not output.exists(), "nothing is written"
    written = run("python", "-c", RECORD, str(data), str(output), **where)
    assert written.returncode == 0, written.stderr
    assert re.search(r"^gru-glove +current$", run(*words, **where).stdout, re.M)
    edit(project/"disaster_nbdev"/"vocabulary.py", "MAX_SEQ_LEN = 100", "MAX_SEQ_LEN = 50")
    said = run(*words, **where).stdout
    assert re.search(r"^gru-glove +stale: the code has changed: MAX_SEQ_LEN "
                     r"\(3\.0 s the last time\)$", said, re.M)
    edit(project/"nbs"/"recipes.yaml", "gru:           {cell: gru, learning_rate: 0.0001,",
         "gru:           {cell: gru, learning_rate: 0.001,")
    assert re.search(r"^gru-glove +stale: the settings have changed: learning_rate",
                     run(*words, **where).stdout, re.M)


RECORD = """
import dataclasses, sys
from pathlib import Path
import numpy as np
from disaster_nbdev.data import load
from disaster_nbdev.split import split
from disaster_nbdev.recipes import training_set
from disaster_nbdev.site import write_site
from disaster_nbdev.record import prediction_table, write_record
from disaster_nbdev.run_config import from_parameters
dataset, report = load(sys.argv[1]), Path(sys.argv[2])
job = training_set("offline", ["gru"])[0]
frames = dict(zip(("train", "validation"), split(dataset.train))) | {"test": dataset.test}
tables = {part: prediction_table(frame, np.full(len(frame), 0.4)) for part, frame in frames.items()}
config = dataclasses.asdict(from_parameters(job.parameters))
write_record(report, "gru-glove", dataset, "train", tables, kind="network", config=config,
             parameters={}, seconds=3)
write_site(report, {}, failed={"gru-glove": "It broke."})
page = report/"gru-glove.html"
page.write_text(page.read_text(encoding="utf-8").replace("It broke.", ""), encoding="utf-8")
"""


def test_what_carries_a_result_is_defined():
    """A carrier that was renamed would be followed from then on, and make records stale."""
    defined = {name for module in LOADED.sources for name in LOADED.module(module).names}
    assert CARRIERS <= defined


TEMPLATES = sorted(path for path in (ROOT/"nbs").glob("*.ipynb") if not path.stem[:2].isdigit())


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_has_a_hash(path):
    """Also one that prints and writes no record."""
    assert len(code_hash(path.name)) == 64
