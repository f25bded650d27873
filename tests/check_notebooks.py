"""Check that notebooks are fit for git, and that the package is what they export.

`python tests/check_notebooks.py --clean` cleans the notebooks first, as `make export` does.
The export is checked on a copy, so that it neither needs git nor changes the working tree.
"""
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from disaster_nbdev.notebooks import clean_file, faults, project_notebooks  # noqa: E402


def copy_and_export(folder: Path) -> None:
    """Copy what nbdev needs, then export there."""
    for name in ("settings.ini", "pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT/name, folder)
    shutil.copytree(ROOT/"disaster_nbdev", folder/"disaster_nbdev",
                    ignore=shutil.ignore_patterns("__pycache__"))
    (folder/"nbs").mkdir()
    for path in project_notebooks(ROOT/"nbs"): shutil.copy(path, folder/"nbs")
    subprocess.run(["nbdev_export"], cwd=folder, check=True,
                   env={**os.environ, "PYTHONPATH": str(folder)})


def differing(folder: Path) -> list[str]:
    """Return the files that the export would change."""
    files = [*(folder/"disaster_nbdev").glob("*.py"), folder/"pyproject.toml"]
    names = [file.relative_to(folder) for file in files]
    return sorted(str(name) for name in names if not (ROOT/name).is_file()
                  or not filecmp.cmp(folder/name, ROOT/name, shallow=False))


def main() -> None:
    """Clean with `--clean`, then check; exit with 1 when something is wrong."""
    notebooks = project_notebooks(ROOT/"nbs")
    if "--clean" in sys.argv[1:]:
        for path in notebooks: clean_file(path)
    wrong = [f"{path.relative_to(ROOT)}: {fault}" for path in notebooks for fault in faults(path)]
    with tempfile.TemporaryDirectory() as scratch:
        copy_and_export(Path(scratch))
        wrong += [f"{name}: is not what the notebooks export: run `make export`"
                  for name in differing(Path(scratch))]
    if wrong: sys.exit("\n".join(wrong))
    print("Notebooks are clean, and the package is what they export.")


if __name__ == "__main__": main()
