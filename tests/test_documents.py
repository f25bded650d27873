"""Check that the figures in README, guide, model card and datasheet are those of the records."""
import json
import re
import shutil

import pytest

from conftest import ROOT

from disaster_nbdev import documents, page_records, experiment, record, single_run
from disaster_nbdev.core import UserError


@pytest.fixture(scope="module")
def report(sample, tmp_path_factory):
    """Write a report on the sample, with a baseline that acts as two networks."""
    from disaster_nbdev.ensemble import write_ensemble
    folder = tmp_path_factory.mktemp("report")
    baseline = single_run.write_baseline(folder, sample, "logistic-words")[0]
    folds = [experiment.write_cross_validation(folder, sample, name, folds=3)[0].name
             for name in ("logistic-words", "bayes-words")]
    write_ensemble(folder, sample, folds, "stacked")
    tables = {part: baseline.predictions(part) for part in ("train", "validation", "test")}
    worse = (tables | {"validation": record.prediction_table(tables["validation"],
                                                             1 - tables["validation"].probability)})
    for name, embedding, said in (("gru", "glove", worse), ("encoder", "minilm", tables)):
        record.write_record(folder, f"{name}-{embedding}", sample, "train", said, kind="network",
                            seconds=60.0, parameters={"total": 9, "trainable": 4},
                            device={"kind": "cpu", "name": "2 cores"},
                            config={"recipe": name, "cell": "gru", "embedding": embedding,
                                    "split": "study", "seed": 42})
    page_records.write_datasheet(folder, sample)
    page_records.write_slices(folder, sample)
    return folder


@pytest.fixture
def root(tmp_path):
    """Copy the pages."""
    (tmp_path/"data").mkdir()
    for name in documents.PAGES: shutil.copy(ROOT/name, tmp_path/name)
    return tmp_path


def blank(text: str) -> str:
    """Return a page without its generated blocks."""
    return re.sub(r"(<!-- [^>]+: written by `disaster readme` -->).*?(<!-- end of)", r"\1\2", text,
                  flags=re.S)


@pytest.mark.parametrize("name", documents.PAGES)
def test_the_pages_have_their_markers_and_keep_their_prose(name, report, root):
    made = documents.documents(report, root)[root/name]
    assert blank(made) == blank((ROOT/name).read_text(encoding="utf-8"))
    assert len(made) > len(blank(made))


def test_the_card_has_no_figure_of_its_own():
    prose = blank((ROOT/"MODEL_CARD.md").read_text(encoding="utf-8"))
    for allowed in ("95 %", "90 %", "license 2.0"): prose = prose.replace(allowed, "")
    assert not re.findall(r"\d\.\d|\d ?%|\d,\d", prose)


def test_the_card_chooses_its_runs_from_the_records(report):
    facts = documents.evidence(report)
    featured = {role: record.name for role, record in documents.featured(facts).items()}
    assert featured["the card's model"] == "encoder-minilm"
    assert featured["best on word vectors"] == "gru-glove"
    assert facts.records[0].name == featured.get("most accurate of all", "encoder-minilm")
    assert "gru-glove" in documents.models_block(facts)
    assert "best validation accuracy of the 2 recorded networks" in documents.choice_block(facts)


def test_writing_is_the_same_everywhere_and_leaves_the_rest(report, root):
    documents.write_documents(report, root)
    first = {path: path.read_text(encoding="utf-8") for path in documents.documents(report, root)}
    elsewhere = root/"copied"
    shutil.copytree(report, elsewhere)
    assert documents.documents(elsewhere, root) == first
    for path, text in first.items():
        assert str(report) not in text and not re.search(r"\bnan\b|\bNone\b", text)


def test_missing_records_are_reported(report, root, tmp_path):
    bare = tmp_path/"bare"
    shutil.copytree(report, bare)
    for name in ("datasheet.json", "slices.json"): (bare/name).unlink()
    pages = {path.name if path.parent == root else "data": text
             for path, text in documents.documents(bare, root).items()}
    assert pages["data"].count(documents.NO_SHEET) == 4
    assert documents.NO_SHEET in pages["MODEL_CARD.md"]
    assert "Errors by slice are not recorded for encoder-minilm" in pages["MODEL_CARD.md"]
    assert "No repeated evaluation" in pages["MODEL_CARD.md"]


def test_an_old_record_without_operating_points_is_enough(report, tmp_path):
    old = tmp_path/"old"
    shutil.copytree(report, old)
    for path in old.glob("runs/*/run.json"):
        facts = json.loads(path.read_text())
        for name in ("operating", "device", "versions", "git_commit"): facts.pop(name, None)
        path.write_text(json.dumps(facts))
    facts = documents.evidence(old)
    assert documents.operating_block(facts) == documents.operating_block(documents.evidence(report))
    assert "| – |" in documents.models_block(facts)
    assert "a device that is not recorded" in documents.cost_block(facts)


def test_thresholds_are_those_that_the_record_keeps(report):
    facts = documents.evidence(report)
    for recall, threshold in documents.card_model(facts).run["operating"]["thresholds"].items():
        assert f"| recall {recall} | {threshold:.3f} |" in documents.operating_block(facts)


def test_kaggle_is_in_the_readme_when_a_score_is_known(report, tmp_path):
    scored = tmp_path/"scored"
    shutil.copytree(report, scored)
    assert "Kaggle" not in documents.results_block(documents.evidence(scored))
    (scored/"leaderboard.csv").write_text("run,score,date\nencoder-minilm,0.81234,2026-01-01\n")
    block = documents.results_block(documents.evidence(scored))
    assert block.count("| 0.812 (0.799–0.825) |") == 1 and block.count("| – |") == 4


@pytest.mark.parametrize("file, content, said", [
    ("datasheet.json", "{", "datasheet.json is damaged"),
    ("datasheet.json", "other data", "datasheet.json in .* is based on other training data"),
    ("slices.json", "[]", "slices.json is damaged"),
    ("leaderboard.csv", "run,score,date\nx,80,2026-01-01\n", "a score is a fraction of 1"),
])
def test_a_damaged_record_is_one_sentence(file, content, said, report, root, tmp_path):
    broken = tmp_path/"broken"
    shutil.copytree(report, broken)
    if content == "other data":
        sheet = json.loads((report/file).read_text())
        content = json.dumps(sheet | {"data": {"name": "custom", "train_sha256": "0"}})
    (broken/file).write_text(content)
    before = (root/"README.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=said): documents.write_documents(broken, root)
    assert (root/"README.md").read_text(encoding="utf-8") == before


def test_a_missing_page_and_an_empty_report_are_one_sentence(report, root, tmp_path):
    with pytest.raises(UserError, match="make a report first"):
        documents.documents(tmp_path/"nothing", root)
    (root/"MODEL_CARD.md").unlink()
    with pytest.raises(UserError, match="There is no .*MODEL_CARD.md"):
        documents.documents(report, root)


def test_a_keyword_cannot_break_out_of_its_table(report, root):
    kept = json.loads((report/"slices.json").read_text())
    mark = documents.markers("slices")[1]
    kept["slices"].append({"cut": "keyword", "slice": f"a | b\n{mark} <script>", "tweets": 30,
                           "errors": 20, "error_rate": 0.67, "low": 0.5, "high": 0.8})
    hostile = root/"hostile"
    shutil.copytree(report, hostile)
    (hostile/"slices.json").write_text(json.dumps(kept))
    page = documents.documents(hostile, root)[root/"MODEL_CARD.md"]
    assert page.count(mark) == 1 and "<script>" not in page and "a \\| b &lt;!--" in page


def test_the_datasheet_has_the_known_figures_of_kaggles_tweets(kaggle):
    sheet = page_records.datasheet(kaggle)
    assert sheet["files"]["train"]["rows"] == 7613
    assert sheet["files"]["train"]["disasters"] == 3271
    assert sheet["files"]["test"]["rows"] == 3263
    assert sheet["repeats"]["raw"]["repeats"] == 110
    assert sheet["repeats"]["normalised"]["repeats"] == 778
    assert sheet["test_twins"] == 470
    assert sheet["repeats"]["normalised"]["conflicting_groups"] == 83
    assert round(sheet["noise"]["disagreement"], 2) == 0.17
    assert {mark["mark"]: mark["train"] for mark in sheet["marks"]}["broken encoding"] == 612
    assert ((sheet["splits"]["study"]["train"], sheet["splits"]["study"]["validation"])
            == (6090, 1523))
    assert sheet["splits"]["grouped"]["twins"] == 0
