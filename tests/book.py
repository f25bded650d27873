"""Execute the numbered notebooks on the sample and write them as pages: `make book`.

The pages go to reports/book, in reading order, with nbs/index.ipynb as home. A notebook that fails
stops the book, with the cell's error.
"""
import os
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DIRECTIVE = re.compile(r"^#\|.*\n?", re.MULTILINE)  # for nbdev, not for a reader
SKIPPED = re.compile(r"^#\|\s*eval:\s*false", re.MULTILINE)  # nbdev does not run such a cell either
LIMIT = 600  # seconds that one cell may take
PARTS = {"0": "00–09 Foundations and data", "1": "10–19 Text", "2": "20–29 Models",
         "3": "30–39 Evaluation and exploration", "4": "40–49 Experiments and comparison",
         "5": "50–59 The report", "6": "60–69 Use"}


def chapters() -> list[Path]:
    """Return the home, if there is one, and the numbered notebooks, in reading order."""
    return [*(ROOT/"nbs").glob("index.ipynb"), *sorted((ROOT/"nbs").glob("[0-9][0-9]_*.ipynb"))]


def execute(path: Path, output: Path) -> None:
    """Execute a notebook from the project's root and save it with its outputs."""
    import nbformat
    from nbclient import NotebookClient
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%matplotlib inline"))  # show all figures
    for cell in notebook.cells:
        if SKIPPED.search(cell.source): cell.metadata.tags = ["skip-execution"]
    NotebookClient(notebook, timeout=LIMIT, resources={"metadata": {"path": str(ROOT)}}).execute()
    del notebook.cells[0]
    for cell in notebook.cells: cell.source = DIRECTIVE.sub("", cell.source)
    notebook.metadata["show_code"] = True  # the template folds code otherwise
    nbformat.write(notebook, output)


def main() -> None:
    """Execute every chapter, or those that are named, and write the pages."""
    from disaster_nbdev.site import heading, read_notebook, write_site
    os.environ["DISASTER_DATA"] = str(ROOT/"data"/"sample")
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        executed = {}
        for path in chapters():
            if wanted and path.stem not in (*wanted, "index"): continue
            started = time.perf_counter()
            executed[path.stem] = Path(scratch)/path.name
            execute(path, executed[path.stem])
            print(f"{path.stem}: {time.perf_counter() - started:.0f} s", flush=True)
        titles = {name: f"{name[:2]} {heading(read_notebook(path)) or name[3:]}"
                  for name, path in executed.items() if name != "index"}
        groups = {name: PARTS[name[0]] for name in titles}
        # `compare` is the page that the site calls index.html
        if "index" in executed: executed["compare"] = executed.pop("index")
        index = write_site(ROOT/"reports"/"book", executed, titles=titles, groups=groups)
    print(f"The book is in {index.parent}: open {index.name}.")


if __name__ == "__main__": main()
