"""Execute the numbered notebooks on the sample and write them as pages: `make book`.

The pages go to reports/book, in reading order, with nbs/index.ipynb as home. A notebook that fails
is named at the end, with the cell's error, and the book has no page for it. `--site` also copies
the book and the report on Kaggle's tweets into the folder site, with links between them.
"""
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DIRECTIVE = re.compile(r"^#\|.*\n?", re.MULTILINE)  # for nbdev, not for a reader
SKIPPED = re.compile(r"^#\|\s*eval:\s*false", re.MULTILINE)  # nbdev does not run such a cell either
LIMIT = 600  # seconds that one cell may take
FORWARD = """<!DOCTYPE html>
<title>disaster_nbdev</title>
<meta http-equiv="refresh" content="0; url=book/index.html">
"""
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


def link(folder: Path, href: str, title: str) -> None:
    """Add a link to the list of pages on every page of a folder."""
    from disaster_nbdev.site import END
    added = f'<ul><li><a href="{href}">{title}</a></li></ul></nav>{END}'
    for path in folder.glob("*.html"):
        html = path.read_text(encoding="utf-8")
        path.write_text(html.replace(f"</nav>{END}", added, 1), encoding="utf-8")


def write_both(site: Path) -> None:
    """Copy the book and the report into a folder to publish, with links between them."""
    shutil.rmtree(site, ignore_errors=True)
    for name in ("book", "kaggle"):
        shutil.copytree(ROOT/"reports"/name, site/name, ignore=shutil.ignore_patterns("notebooks"))
    link(site/"kaggle", "../book/index.html", "The book: how it is made")
    link(site/"book", "../kaggle/index.html", "The report on Kaggle's tweets")
    (site/"index.html").write_text(FORWARD, encoding="utf-8")


def executed_chapters(folder: Path, wanted: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Execute chapters into a folder; return the files by name, and the errors of those failed."""
    from nbclient.exceptions import CellExecutionError
    executed, failed = {}, {}
    for path in chapters():
        if wanted and path.stem not in (*wanted, "index"): continue
        started = time.perf_counter()
        try:
            execute(path, folder/path.name)
            executed[path.stem] = folder/path.name
        except CellExecutionError as error: failed[path.stem] = str(error)
        print(f"{path.stem}: {time.perf_counter() - started:.0f} s", flush=True)
    return executed, failed


def main() -> None:
    """Execute every chapter, or those that are named, and write the pages."""
    from disaster_nbdev.site import heading, read_notebook, write_site
    os.environ["DISASTER_DATA"] = str(ROOT/"data"/"sample")
    wanted = [word for word in sys.argv[1:] if word != "--site"]
    with tempfile.TemporaryDirectory() as scratch:
        executed, failed = executed_chapters(Path(scratch), wanted)
        titles = {name: f"{name[:2]} {heading(read_notebook(path)) or name[3:]}"
                  for name, path in executed.items() if name != "index"}
        groups = {name: PARTS[name[0]] for name in titles}
        # `compare` is the page that the site calls index.html
        if "index" in executed: executed["compare"] = executed.pop("index")
        index = write_site(ROOT/"reports"/"book", executed, titles=titles, groups=groups)
    print(f"The book is in {index.parent}: open {index.name}.")
    if failed: sys.exit("\n".join(f"{name} failed. {error}" for name, error in failed.items()))
    if "--site" in sys.argv: write_both(ROOT/"site")


if __name__ == "__main__": main()
