"""Check what rots in such projects: layers, templates, pins, stale figures, machine paths."""
import ast
import json
import re
from pathlib import Path

import pytest

from conftest import ROOT
from disaster_nbdev.notebooks import MACHINE_PATH, faults, project_notebooks

NOTEBOOKS = project_notebooks(ROOT/"nbs")
MODULES = {path.stem.split("_", 1)[1]: int(path.stem[:2]) for path in NOTEBOOKS
           if path.stem[:2].isdigit()}
PUBLISHED = ROOT/"reports"/"kaggle"


def source(cell: dict) -> str:
    """Return a cell's text, stored as one string or as lines."""
    return "".join(cell["source"])


def code_cells(path: Path) -> list[dict]:
    """Return the code cells of a notebook."""
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if cell["cell_type"] == "code"]


def imported_modules(path: Path) -> set[str]:
    """Return the modules of this package that a module imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module == "disaster_nbdev"):
            names |= ({node.module} if node.module and node.module != "disaster_nbdev"
                      else {alias.name for alias in node.names})
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("disaster_nbdev."):
            names.add(node.module.split(".")[1])
    return names & MODULES.keys()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_its_own_decade_or_lower_ones(name):
    for other in imported_modules(ROOT/"disaster_nbdev"/f"{name}.py"):
        assert MODULES[other]//10 <= MODULES[name]//10, f"{name} imports {other}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_fit_for_git(path):
    assert faults(path) == [], "tests/check_notebooks.py says the same"


def test_training_parameters_are_the_fields_of_the_configuration():
    from dataclasses import fields
    from disaster_nbdev.run_config import PATHS, RunConfig
    cell = next(cell for cell in code_cells(ROOT/"nbs"/"train.ipynb")
                if cell["metadata"].get("tags") == ["parameters"])
    shown = {}
    exec(source(cell), {}, shown)
    defaults = {field.name: field.default for field in fields(RunConfig)} | dict.fromkeys(PATHS, "")
    shown.pop("__annotations__", None)
    assert shown == defaults, "the notebook's defaults and the package's are the same"


def test_every_requirement_is_pinned_in_constraints():
    from configparser import ConfigParser
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    wanted = (parser["DEFAULT"]["requirements"] + " "
              + parser["DEFAULT"]["dev_requirements"]).split()
    pinned = {line.split("==")[0].lower().replace("_", "-")
              for line in (ROOT/"constraints.txt").read_text().splitlines() if "==" in line}
    for requirement in wanted:
        assert re.split(r"[<>=\[]", requirement)[0].lower().replace("_", "-") in pinned, requirement


def test_the_readme_names_recipes_and_notebooks_that_exist():
    readme = (ROOT/"README.md").read_text(encoding="utf-8")
    for name in re.findall(r"disaster run (\w[\w-]*)", readme):
        assert name in (ROOT/"nbs"/"recipes.yaml").read_text(encoding="utf-8")
    for path in re.findall(r"`(nbs/[\w.]+)`", readme): assert (ROOT/path).is_file(), path


# The published report

def records() -> list:
    """Return the committed records of recipes and baselines, without a reader's own trials."""
    from disaster_nbdev.compare import of_recipes
    from disaster_nbdev.record import read_records
    return of_recipes(read_records(PUBLISHED))


def test_the_published_report_is_complete():
    """Check reports/kaggle as it is: a new recipe of a set need not be run first."""
    from disaster_nbdev.baseline import BASELINES, ENCODED
    from disaster_nbdev.status import page_keys
    assert {record.name for record in records()} >= set(BASELINES) - set(ENCODED)
    for record in records():
        page = {"baseline": "baseline", "blend": "blend"}.get(record.run["template"], record.name)
        assert (PUBLISHED/f"{page}.html").is_file(), record.name
    for page in page_keys(PUBLISHED): assert (PUBLISHED/f"{page}.html").is_file(), page
    for path in PUBLISHED.glob("*-splits.html"):
        assert (PUBLISHED/"splits"/path.stem.removesuffix("-splits")
                /"splits.json").is_file(), path.name
    for path in PUBLISHED.glob("*-folds.html"):
        assert (PUBLISHED/"runs"/path.stem/"run.json").is_file(), path.name
    assert (PUBLISHED/"ablation"/"ablation.json").is_file() == (PUBLISHED/"ablation.html").is_file()


def test_the_published_records_describe_themselves():
    index = (PUBLISHED/"index.html").read_text(encoding="utf-8")
    for record in records():
        facts = record.run
        assert record.name in index and facts["name"] == record.name
        assert (record.name.removesuffix("-folds")
                == f"{facts['config']['recipe']}-{facts['config']['embedding']}")
        assert facts["data"]["name"] == "kaggle"
        assert 0.5 < facts["metrics"]["validation"]["accuracy"] < 1
        assert (facts["kind"] in ("crossval", "blend")
                or facts["parameters"]["total"] >= facts["parameters"]["trainable"] > 0)


def test_published_submissions_have_every_test_tweet(kaggle):
    for record in records():
        lines = (record.folder/"submission.csv").read_text().splitlines()
        assert lines[0] == "id,target"
        assert [int(line.split(",")[0]) for line in lines[1:]] == kaggle.test.id.tolist()
        assert {line.split(",")[1] for line in lines[1:]} == {"0", "1"}


def test_published_figures_are_those_of_the_published_predictions():
    from disaster_nbdev.metrics import compute_metrics
    for record in records():
        table = record.predictions("validation")
        assert (record.run["metrics"]["validation"]["accuracy"]
                == compute_metrics(table.target, table.probability)["accuracy"])


@pytest.mark.skipif(not (PUBLISHED/"runs").is_dir(), reason="no report on Kaggle's tweets here")
def test_every_document_shows_what_the_records_hold():
    from disaster_nbdev.documents import documents
    for path, text in documents(PUBLISHED, ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `disaster readme`"
    assert (PUBLISHED/"accuracy.png").is_file()


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.html")), ids=lambda path: path.stem)
def test_a_published_page_names_no_machine_and_loads_nothing(path):
    page = path.read_text(encoding="utf-8")
    assert not MACHINE_PATH.search(re.sub(r"base64,[\w+/=]+", "", page))
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//", page)
    assert "Made from the sample tweets" not in page


def test_the_published_report_is_small_enough_to_be_cloned():
    assert sum(path.stat().st_size for path in PUBLISHED.rglob("*") if path.is_file()
               and "notebooks" not in path.parts) < 25e6


def test_the_book_and_the_report_are_linked_where_both_are_published(tmp_path):
    from book import link
    pages = sorted(PUBLISHED.glob("*.html"))
    for path in pages: (tmp_path/path.name).write_bytes(path.read_bytes())
    link(tmp_path, "../book/index.html", "The book")
    for path in pages:
        html = (tmp_path/path.name).read_text(encoding="utf-8")
        navigation = html.partition("<!-- end of pages -->")[0].rpartition("<nav")[2]
        assert '<a href="../book/index.html">The book</a>' in navigation, path.name
