"""Run the benchmark and the capacity notebook, and add both pages to a report.

`make benchmark` calls this with the parameters of `benchmark.ipynb`, as papermill takes them:
`make benchmark ARGS="-p repetitions 3"`.
"""
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGES = ("benchmark", "capacity")


def execute(page: str, output: Path, words: list[str]) -> None:
    """Execute one notebook of this folder with papermill; raise `SystemExit` when it fails."""
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "papermill", str(HERE/f"{page}.ipynb"), str(output), *words]
    code = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
    if code: sys.exit(code)


def main() -> None:
    """Execute both notebooks and write their pages."""
    from disaster_nbdev.data import load
    from disaster_nbdev.site import write_site
    from disaster_nbdev.record import report_folder
    from disaster_nbdev.status import stale_pages
    dataset = load()
    report = report_folder(dataset.name)
    executed = {page: report/"notebooks"/f"{page}.ipynb" for page in PAGES}
    executed["benchmark"].parent.mkdir(parents=True, exist_ok=True)
    execute("benchmark", executed["benchmark"], sys.argv[1:])
    execute("capacity", executed["capacity"], [])
    index = write_site(report, executed, stale=stale_pages(dataset, report))
    print(f"The pages are in {index.parent}.")


if __name__ == "__main__": main()
