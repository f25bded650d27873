"""Check the public names: what they are, what `help` says about them, and what they cost."""
import inspect
import json
import re
import subprocess
import sys
from dataclasses import is_dataclass

import pytest
from fastcore.docments import docments

import disaster_nbdev
from conftest import ROOT


def explained_items(name: str) -> list:
    """Return a public function or dataclass, or the public methods and `__init__` of a class."""
    item = getattr(disaster_nbdev, name)
    if not inspect.isclass(item) or is_dataclass(item): return [item]
    methods = [method for method in vars(item) if not method.startswith("_")]
    return [getattr(item, method) for method in ("__init__", *methods)]


@pytest.mark.parametrize("name", disaster_nbdev.__all__)
def test_help_shows_every_parameter_with_its_comment(name):
    for item in explained_items(name):
        shown, comments = inspect.getdoc(item), docments(item)  # what nbdev's pages show
        for parameter in inspect.signature(item).parameters:
            if parameter == "self": continue
            comment = " ".join(comments[parameter].split())
            assert f"\n    {parameter}: {comment}" in shown, item
        if comments.get("return"):
            assert f"\nReturns:\n    {comments['return']}" in shown, item


def test_the_start_page_uses_the_public_names():
    cells = json.loads((ROOT/"nbs"/"index.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    imports = ", ".join(re.findall(r"^from disaster_nbdev import (.*)$", text, re.MULTILINE))
    assert {*imports.split(", "), "Classifier"} == set(disaster_nbdev.__all__)


def test_the_public_names_are_listed_for_editors_and_completion():
    assert set(disaster_nbdev.__all__) == disaster_nbdev._MODULES.keys()
    assert set(disaster_nbdev.__all__) <= set(dir(disaster_nbdev))
    text = (ROOT/"disaster_nbdev"/"__init__.py").read_text(encoding="utf-8")
    listed = text.split("_MODULES")[0]
    imported = re.findall(r"^    from \.(\w+) import (.*)$", listed, re.MULTILINE)
    assert disaster_nbdev._MODULES == {name: module for module, names in imported
                                       for name in names.split(", ")}


SCRIPT = """
import sys
before = set(sys.modules)
import disaster_nbdev
print({"ast", "inspect", "numpy", "tokenize"} & (set(sys.modules) - before))
disaster_nbdev.clean_study
print({"pandas", "tensorflow"} & set(sys.modules))
"""


def test_a_name_is_imported_when_it_is_used():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True,
                          check=True, cwd=ROOT)
    assert done.stdout == "set()\nset()\n"
