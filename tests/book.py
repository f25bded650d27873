"""Execute the numbered notebooks on the sample and write them as pages: `make book`.

The pages go to reports/book, in reading order, with nbs/index.ipynb as home. A notebook that fails stops
the book, with the cell's error.
"""
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
LIMIT = 600  # seconds that one cell may take


def chapters() -> list[Path]:
    """Return the home and the numbered notebooks, in reading order."""
    return [ROOT/"nbs"/"index.ipynb", *sorted((ROOT/"nbs").glob("[0-9][0-9]_*.ipynb"))]


def execute(path: Path, output: Path) -> None:
    """Execute a notebook from the project's root and save it with its outputs."""
    import nbformat
    from nbclient import NotebookClient
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=LIMIT, resources={"metadata": {"path": str(ROOT)}}).execute()
    nbformat.write(notebook, output)


def main() -> None:
    """Execute every chapter, or those that are named, and write the pages."""
    from disaster_nbdev.report import read_notebook, write_site, heading
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
        executed["compare"] = executed.pop("index")  # the page that the site calls index.html
        index = write_site(ROOT/"reports"/"book", executed, titles=titles)
    print(f"The book is in {index.parent}: open {index.name}.")


if __name__ == "__main__": main()
