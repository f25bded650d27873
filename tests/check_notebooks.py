"""Fails when a notebook is not clean, or when the package is not what the notebooks export.

The check works on a copy, so it neither needs git nor changes the working tree.
"""
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copy_and_export(folder: Path) -> None:
    """Copy what nbdev needs, then export and clean there."""
    for name in ("settings.ini", "pyproject.toml", "setup.py", "README.md"): shutil.copy(ROOT/name, folder)
    for name in ("nbs", "disaster_nbdev"):
        shutil.copytree(ROOT/name, folder/name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for command in ("nbdev_export", "nbdev_clean"):
        subprocess.run([command], cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(folder)})


def differing(folder: Path) -> list[str]:
    """Files that the export or the cleaning would change."""
    files = [*(folder/"nbs").glob("*.ipynb"), *(folder/"disaster_nbdev").glob("*.py"), folder/"pyproject.toml"]
    return [str(file.relative_to(folder)) for file in files
            if not (ROOT/file.relative_to(folder)).is_file() or not filecmp.cmp(file, ROOT/file.relative_to(folder), shallow=False)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        copy_and_export(Path(scratch))
        wrong = sorted(differing(Path(scratch)))
    if wrong: sys.exit(f"Not clean or not exported, run `make export`: {', '.join(wrong)}")
    print("Notebooks are clean, and the package is what they export.")
