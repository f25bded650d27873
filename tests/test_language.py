"""Check the words of CONTRIBUTING.md: replaced words stay out, docstrings are imperative."""
import ast
import json
import re
from pathlib import Path

import pytest

from conftest import ROOT
from disaster_nbdev.notebooks import project_notebooks

REPLACED = re.compile(
    r"\b(near-cop(?:y|ies)|tempered|tempering|contestants?|crossfitt?\w*|told apart|by chance|"
    r"doors|taken at (?:its|their) word|the way (?:back|there)|whoever|commoner|oftener|"
    r"nineteen in twenty|vectoris\w+|normalis\w+|optimis(?:e|ing|ation|er)\w*|"
    r"colours?|neighbours?|labelled)\b", re.IGNORECASE)
# a key of the published datasheet.json
KEPT = re.compile(r"[\"']normalised[\"']")
DOCUMENTS = ("README.md", "GUIDE.md", "MODEL_CARD.md", "data/README.md", "CHANGELOG.md",
             "benchmarks/README.md")
NOTEBOOKS = project_notebooks(ROOT/"nbs")
MODULES = sorted(path for path in (ROOT/"disaster_nbdev").glob("*.py") if path.name != "_modidx.py")


def replaced_words(text: str) -> list[str]:
    """Return the replaced words that a text uses."""
    return sorted({match[0].lower() for match in REPLACED.finditer(KEPT.sub("", text))})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_standard_words(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert replaced_words("\n".join("".join(cell["source"]) for cell in cells)) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_uses_standard_words(name):
    assert replaced_words((ROOT/name).read_text(encoding="utf-8")) == []


def long_sentences(text: str) -> list[str]:
    """Return the sentences of over 30 words, without code, formulas, tables and links."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^\s*[|#].*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)", "x", text)
    parts = re.split(r"\n\s*\n|\n\s*[-*] |\n\d+\. ", text)
    sentences = [each for part in parts for each in re.split(r"(?<=[.:;!?])\s+", part)]
    return [" ".join(each.split()) for each in sentences if len(each.split()) > 30]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_sentence_of_a_notebook_has_over_30_words(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert [each for text in prose for each in long_sentences(text)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_sentence_of_a_document_has_over_30_words(name):
    assert long_sentences((ROOT/name).read_text(encoding="utf-8")) == []


def test_test_names_use_standard_words():
    for path in (ROOT/"tests").glob("*.py"):
        names = re.findall(r"def (\w+)", path.read_text(encoding="utf-8"))
        assert replaced_words(" ".join(names).replace("_", " ")) == [], path.name


def docstrings(path: Path) -> list[str]:
    """Return the docstrings of a module's functions and classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return [text for node in nodes if (text := ast.get_docstring(node))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_docstrings_start_with_a_verb(path):
    nouns = re.compile(r"(The|A|An|What|Who|Which|Whether|How|All|Some|Every|Each|Where|One|As)\b")
    assert [text for text in docstrings(path) if nouns.match(text)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_has_at_most_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
