"""Check damaged and stale records."""
import json

import numpy as np
import pandas as pd
import pytest

from disaster_nbdev.data import Dataset
from disaster_nbdev.core import UserError
from disaster_nbdev.record import prediction_table, read_records, why_stale, write_record

CONFIG = {"recipe": "toy", "cell": "gru"}


@pytest.fixture
def toy(tmp_path):
    """Return three tweets."""
    rows = pd.DataFrame({"id": [4, 9, 11], "target": [1, 0, 1]})
    return Dataset("custom", tmp_path, rows, rows[["id"]], {"train_sha256": "0" * 64})


@pytest.fixture
def record(toy, tmp_path):
    """Write the record of an invented run."""
    table = prediction_table(toy.train, np.array([0.9, 0.6, 0.2]))
    tables = {"train": table, "validation": table, "test": prediction_table(toy.test, np.zeros(3))}
    return write_record(tmp_path, "toy", toy, "train", tables, kind="network", config=CONFIG,
                        parameters={}, seconds=0)


def test_a_damaged_record_is_reported(record, tmp_path):
    (record.folder/"run.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"): read_records(tmp_path)
    damaged = []
    assert read_records(tmp_path, damaged) == []
    assert len(damaged) == 1 and "is damaged" in damaged[0]


def test_a_record_with_a_missing_file_is_reported(record, tmp_path):
    (record.folder/"submission.csv").unlink()
    with pytest.raises(UserError, match="lacks submission.csv"): read_records(tmp_path)


def test_changed_code_is_named_while_its_digests_are_there(record, toy, tmp_path):
    digests = json.loads((record.folder/"code.json").read_text()) | {"fit": "0" * 16}
    (record.folder/"code.json").write_text(json.dumps(digests))
    run = json.loads((record.folder/"run.json").read_text()) | {"code_sha256": "0" * 64}
    (record.folder/"run.json").write_text(json.dumps(run))
    assert why_stale(tmp_path, "toy", CONFIG, toy, "train") == "the code has changed: fit"
    (record.folder/"code.json").unlink()
    assert why_stale(tmp_path, "toy", CONFIG, toy, "train") == "it was made by other code"
