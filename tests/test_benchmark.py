"""Check that the published benchmark has what its readers need, and that its targets follow."""
import json
import sys

import pytest

from conftest import ROOT
from disaster_nbdev.core import UserError

sys.path.insert(0, str(ROOT/"benchmarks"))
import benchmark  # noqa: E402
import capacity  # noqa: E402


def test_the_published_targets_follow_from_the_measurements():
    facts = benchmark.read_benchmark(ROOT/"reports"/"kaggle")
    assert list(facts) == ["schema", *benchmark.TARGETS, "details"]
    judged = {row["figure"]: row for row in facts["details"]["targets"]}
    for name, (_, larger, target) in benchmark.TARGETS.items():
        assert judged[name]["measured"] == facts[name]
        met = facts[name] >= target if larger else facts[name] <= target
        assert judged[name]["met"] == ("met" if met else "not met")
    assert capacity.machines(capacity.Demand(1e6), capacity.measured(facts)) >= 1


def test_the_floor_is_what_a_hand_count_gives():
    """Count for one unit, one number and one word: 4 gates, 2 products, forward and backward."""
    assert benchmark.operations("lstm", 1, 1, 1) == 2 * 4 * (2 + 2 + 2 + 2 + 2)


def test_a_damaged_benchmark_is_refused(tmp_path):
    for text in ("[]", "{", '{"schema": 2}'):
        (tmp_path/"benchmark.json").write_text(text)
        with pytest.raises(UserError, match="run `make benchmark` again"):
            benchmark.read_benchmark(tmp_path)


def test_the_notebooks_of_the_benchmark_keep_their_parameters():
    for name in ("benchmark", "capacity"):
        cells = json.loads((ROOT/"benchmarks"/f"{name}.ipynb").read_text())["cells"]
        assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) == 1
