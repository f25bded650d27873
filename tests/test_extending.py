"""Check what CONTRIBUTING.md says about adding a recipe or a page."""
import json
import re
import shutil

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from conftest import ROOT, copy_project, run, slow
from disaster_nbdev.notebooks import clean, stored

RECIPES = """
recipes:
  tiny:  {cell: gru, hidden_size: 2, epochs: 1, batch_size: 128}
  tuned: {cell: gru, hidden_size: 2, epochs: 1, batch_size: 128, finetune: true,
          finetune_from: tiny}
  words: {cell: gru, hidden_size: 2, epochs: 1, batch_size: 128, embedding: corpus}
sets:
  offline:
    - {recipe: words, embedding: glove}
  mine:
    - {template: my_report, who: me}
    - {template: broken}
"""


def notebook(*sources, parameters=""):
    """Return the content of a notebook of one heading and these cells."""
    cells = [new_code_cell(source) for source in sources]
    if parameters: cells.insert(0, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    return stored(clean(new_notebook(cells=[new_markdown_cell("# A page of mine"), *cells])))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Copy the project, with recipes and notebooks of its own."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    (folder/"nbs"/"recipes.yaml").write_text(RECIPES, encoding="utf-8")
    parameters = 'who: str = "nobody" # who asks\noutput: str = "" # folder of the report'
    mine = notebook("print(f'written by {who} into {bool(output)}')", parameters=parameters)
    (folder/"nbs"/"my_report.ipynb").write_bytes(mine)
    (folder/"nbs"/"broken.ipynb").write_bytes(notebook("1/0"))
    return folder


def disaster(project, *words):
    """Run `disaster` in the copy, on its sample."""
    return run("disaster", *words, folder=project, PYTHONPATH=str(project),
               DISASTER_DATA=str(project/"data"/"sample"))


def told(answer):
    """Return the pages that a report has made, as it says."""
    return [line.partition(":")[0] for line in answer.stdout.splitlines()
            if re.match(r"\S+: (done|failed)", line)]


def planned(project, name, *only):
    """Return the pages of the jobs of a set, as the copy plans them."""
    code = (f"from disaster_nbdev.recipes import training_set; print(*[job.page for job in "
            f"training_set({name!r}, {list(only)!r})])")
    answer = run("python", "-c", code, folder=project, PYTHONPATH=str(project))
    return (answer.stdout.split() if answer.returncode == 0
            else answer.stderr.strip().splitlines()[-1])


def test_a_recipe_in_no_set_runs_by_its_name(project):
    assert planned(project, "offline", "tiny") == ["tiny-glove"], "on train.ipynb's default vectors"
    assert planned(project, "mine", "words") == ["words-corpus"], "on its own vectors"
    assert planned(project, "offline", "words") == ["words-glove"], "in a set, on those of the set"
    assert (planned(project, "offline", "tuned")
            == ["tiny-glove", "tuned-glove"]), "with the run that it starts from"
    assert planned(project, "offline") == ["words-glove"]
    assert planned(project, "mine") == ["my_report", "broken"]


def test_an_unknown_name_is_answered_with_the_names(project):
    answer = disaster(project, "report", "--only", "tuny")
    assert answer.returncode == 2 and "Traceback" not in answer.stderr
    assert ("Unknown recipe or run 'tuny': choose one of tiny, tuned, words, words-glove. Did you "
            "mean 'tiny'?" in answer.stderr)


@pytest.mark.slow
def test_a_page_of_ones_own_and_a_recipe_alone_join_the_report(project, tmp_path):
    answer = disaster(project, "report", "--set", "mine", "--output", str(tmp_path))
    assert answer.returncode == 1
    assert "Failed: broken. ZeroDivisionError: division by zero" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "written by me into True" in (tmp_path/"my_report.html").read_text(encoding="utf-8")
    index = (tmp_path/"index.html").read_text(encoding="utf-8")
    assert 'href="my_report.html"' in index
    assert "A page of mine" in index
    assert 'href="broken.html"' in index
    pages = json.loads((tmp_path/"pages.json").read_text())
    assert {"my_report", "explore"} <= pages.keys()
    assert "broken" not in pages, "a failed page has no record"

    answer = disaster(project, "report", "--only", "tuned", "--output", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert told(answer) == ["tiny-glove", "tuned-glove", "compare"]
    assert ({path.parent.name for path in tmp_path.glob("runs/t*/run.json")}
            == {"tiny-glove", "tuned-glove"})
    assert "tuned-glove" in (tmp_path/"index.html").read_text(encoding="utf-8")

    assert (told(disaster(project, "report", "--set", "mine", "--output", str(tmp_path)))
            == ["broken", "compare"]), "what is up to date is not rerun"
    mine = project/"nbs"/"my_report.ipynb"
    before = mine.read_bytes()
    mine.write_bytes(before.replace(b"written by", b"signed by"))
    answer = disaster(project, "report", "--set", "mine", "--only", "my_report", "--output",
                      str(tmp_path))
    mine.write_bytes(before)
    assert answer.returncode == 0 and told(answer) == ["my_report", "compare"]
    assert "signed by me" in (tmp_path/"my_report.html").read_text(encoding="utf-8")


def test_only_a_notebook_with_the_parameter_is_given_the_folder(project, tmp_path):
    code = ("from disaster_nbdev.recipes import entry_job, read_matrix; "
            "from disaster_nbdev.status import plan; "
            "from disaster_nbdev.data import load; from pathlib import Path; "
            "names = ('my_report', 'broken'); "
            "jobs = [entry_job(read_matrix(), {'template': name}) for name in names]; "
            f"planned = plan(load(), Path({str(tmp_path)!r}), jobs)[:2]; "
            "print(*[sorted(job.parameters) for job in planned])")
    answer = run("python", "-c", code, folder=project, PYTHONPATH=str(project),
                 DISASTER_DATA=str(project/"data"/"sample"))
    assert answer.stdout.strip() == "['output'] []", answer.stderr


MISTAKES = {
    "{template: my_reprt}": "Unknown template 'my_reprt': choose one of ablation, blend, broken, "
                            "crossval, my_report, splits, train, tune. Did you mean 'my_report'?",
    "{template: 10_clean}": "Unknown template '10_clean': choose one of ablation, blend",
    "{template: explore}": "Unknown template 'explore': choose one of",
    "{template: ../secrets}": "Unknown template '../secrets': choose one of",
    "{template: [my_report]}":
        "has the template ['my_report'], which is not the name of a notebook.",
    "{template: broken, who: me}":
        "nbs/broken.ipynb has no cell with the tag `parameters`, so it cannot be given who.",
    "{template: my_report, whom: me}": "Unknown parameter of nbs/my_report.ipynb 'whom': choose "
                                       "one of who. Did you mean 'who'?",
    "{template: my_report, output: here}": "'output' is an option of the command, --output",
    "{recipe: [tiny, words]}":
        "Unknown recipe '['tiny', 'words']': choose one of tiny, tuned, words.",
    "{template: splits}": "Unknown recipe 'None': choose one of tiny, tuned, words.",
    "{baseline: logistic-words}": "Unknown recipe 'None'",
    "my_report": "an entry of the set mine is not a set of parameters",
}


@pytest.mark.parametrize("entry, said", [case if number % 4 == 0 else slow(*case)
                                         for number, case in enumerate(MISTAKES.items())],
                         ids=lambda value: re.sub(r"\W+", "-", value)[:30])
def test_a_mistake_in_a_set_is_one_sentence_before_anything_runs(entry, said, project, tmp_path):
    recipes = project/"nbs"/"recipes.yaml"
    recipes.write_text(RECIPES.replace("{template: my_report, who: me}", entry), encoding="utf-8")
    try: answer = disaster(project, "report", "--set", "mine", "--output", str(tmp_path/"report"))
    finally: recipes.write_text(RECIPES, encoding="utf-8")
    assert (answer.returncode == 2 and said in answer.stderr
            and answer.stderr.count("\n") <= 1), answer.stderr
    assert not (tmp_path/"report").exists()


def test_a_mistaken_page_in_one_set_does_not_stop_the_others(project):
    recipes = project/"nbs"/"recipes.yaml"
    recipes.write_text(RECIPES.replace("my_report", "my_reprt") + "  empty:\n", encoding="utf-8")
    try: assert planned(project, "offline") == ["words-glove"] and planned(project, "empty") == []
    finally: recipes.write_text(RECIPES, encoding="utf-8")


def test_a_file_that_is_no_notebook_is_refused(project):
    path = project/"nbs"/"my_report.ipynb"
    before = path.read_bytes()
    try:
        for content, said in [(b"<<<<<<< HEAD", "is not a notebook of format 4"),
                              (b'{"nbformat": 3, "worksheets": []}',
                               "is not a notebook of format 4")]:
            path.write_bytes(content)
            assert said in planned(project, "mine")
    finally: path.write_bytes(before)


def test_what_is_added_passes_the_checks(project):
    """Check that a new recipe needs no report of an hour, and that a new page is checked too."""
    recipes = project/"nbs"/"recipes.yaml"
    shipped = (ROOT/"nbs"/"recipes.yaml").read_text(encoding="utf-8")
    entries = ("  extended:\n    - {recipe: new, embedding: corpus}\n"
               "    - {template: my_report}\n  # ")
    added = shipped.replace("  extended:  ", entries)
    added = added.replace("recipes:\n", "recipes:\n  new: {cell: rnn}\n", 1)
    assert added.count("new") == shipped.count("new") + 2
    recipes.write_text(added, encoding="utf-8")
    (project/"reports").mkdir()
    (project/"reports"/"kaggle").symlink_to(ROOT/"reports"/"kaggle")
    shutil.copy(ROOT/"constraints.txt", project)
    try:
        assert planned(project, "extended")[:2] == ["new-corpus", "my_report"]
        words = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_hygiene.py",
                 "-k", "whole or fit_for_git or recipes", "--rootdir", str(project))
        answer = run(*words, folder=project, PYTHONPATH=str(project), DISASTER_STRICT="")
        assert answer.returncode == 0 and "my_report" not in answer.stdout, answer.stdout[-2000:]
        answer = run("python", "tests/check_notebooks.py", folder=project, PYTHONPATH=str(project))
        assert answer.returncode == 0, answer.stderr
    finally: recipes.write_text(RECIPES, encoding="utf-8")


def test_the_contributor_guide_names_what_is_tested_here():
    guide = (ROOT/"CONTRIBUTING.md").read_text(encoding="utf-8")
    for words in ("disaster report --only NAME", "- {template: my_report}"): assert words in guide
