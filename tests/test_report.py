"""Check the report's pages: hostile tweets do no harm, and every page lists all the others."""
import os
import re

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings, strategies as st
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from conftest import LONG
from disaster_nbdev import core
from disaster_nbdev.core import UserError
from disaster_nbdev.html_output import show, table
from disaster_nbdev.site import SAMPLE_BANNER, read_page, write_site

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "jinja": "{{ 7 * 7 }} {% raw %} {{ cycler.__init__.__globals__ }}",
    "math": "$\\href{javascript:alert(1)}{x}$ \\(y\\)",
    "markdown": "[x](javascript:alert(1)) `code` **bold**",
    "comment": "<!-- end of pages --></main></body>",
    "entity": "&lt;script&gt; &#60;b&#62; &amp;amp;",
    "terminal": "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07x",
    "direction": "abc \u202egpj.exe \u2067",
    "nul": "a\x00b\x08c\x7f\x85",
    "half a character": "fire \ud83d",
    "long": "x" * 100_000,
    "many combining marks": "a" + "\u0301" * 5_000,
}


def notebook(*cells, title="A study", **metadata):
    """Return a notebook that looks executed."""
    return new_notebook(cells=[new_markdown_cell(f"# {title}\n\n> One sentence."), *cells],
                        metadata=metadata)


def cell(html=None, text=None, source="1", tags=(), **streams):
    """Return a code cell with outputs."""
    outputs = [new_output("stream", name=name, text=content) for name, content in streams.items()]
    if html is not None or text is not None:
        outputs.append(new_output("execute_result",
                                  {"text/plain": text or "x"}
                                  | ({"text/html": html} if html else {})))
    return new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


def written(folder, name, content):
    """Write a notebook to a file."""
    path = folder / f"{name}.ipynb"
    nbformat.write(content, path)
    return path


def page(folder, *cells, **options):
    """Return the page of these cells, parsed."""
    path = write_site(folder / "site", {"compare": written(folder, "compare", notebook(*cells))},
                      **options)
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def addresses(soup):
    """Return the addresses that a browser might fetch or follow."""
    names = ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction",
             "ping", "background")
    return [element[name] for element in soup.find_all(True) for name in names
            if name in element.attrs]


def outside(soup):
    """Return the addresses that are neither in the page nor a page of the report."""
    return [a for a in addresses(soup)
            if not re.match(r"data:(image/|,$)|#|[\w.+=,-]+\.html(#|$)", a)]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tweet_in_a_table_is_only_text(tmp_path, name):
    tweet = HOSTILE[name]
    # pandas' own strings cannot hold half a character
    objects = {"dtype": object}
    frame = pd.DataFrame([[tweet, 1.0]], pd.Index([tweet], name=tweet, **objects),
                         pd.Index(["text", tweet], **objects), **objects)
    soup = page(tmp_path, cell(table(frame, caption=tweet, index=True).data))
    assert not soup.find(["script", "img", "iframe", "object"]) and not outside(soup)
    assert not [name for element in soup.find_all(True) for name in element.attrs
                if name.startswith("on")]
    cells = soup.select("table.data bdi")
    assert len(cells) == 7 and {element.parent.name for element in cells} == {"caption", "th", "td"}
    if name in ("script", "attribute", "jinja", "math", "markdown", "comment", "entity"):
        assert cells[5].get_text() == cells[4].get_text() == cells[0].get_text() == tweet
    assert all(len(element.get_text()) <= 3_001 for element in cells)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tweet_that_a_cell_prints_is_only_text(tmp_path, name):
    # the notebook's own file cannot hold half a character
    tweet = HOSTILE[name].replace("\ud83d", "")
    error = new_code_cell(tweet, outputs=[
        new_output("error", ename="E", evalue=tweet, traceback=[tweet, "\x1b[0;31mE\x1b[0m"])])
    soup = page(tmp_path, cell(text=tweet, source=tweet, stdout=tweet, stderr=tweet), error,
                new_raw_cell(tweet))
    assert not soup.find(["script", "img", "iframe", "object"]) and not outside(soup)
    assert len(soup.find("main").find_all("pre")) == 7
    assert "\x1b" not in str(soup) and "\x00" not in str(soup)
    assert soup.find("main").find_next_sibling() is None and soup.find("nav", class_="pages")


def test_a_page_with_the_longest_tweets_stays_small(tmp_path):
    frame = pd.DataFrame({"text": ["x" * 100_000] * 20})
    page(tmp_path, cell(table(frame).data, source="y" * 100_000, stdout="z" * 1_000_000))
    assert (tmp_path / "site" / "index.html").stat().st_size < 400_000


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_comes_out_as_itself(text, header):
    soup = BeautifulSoup(table(pd.DataFrame({header: [text]})).data, "html.parser")
    assert ([element.name for element in soup.find_all(True)]
            == ["div", "table", "thead", "tr", "th", "bdi", "tbody", "tr", "td", "bdi"])
    if all(c.isprintable() for c in text):
        assert soup.td.get_text() == text


def test_outputs_that_bring_their_own_html_cannot_reach_out(tmp_path):
    html = ('<link rel="stylesheet" href="https://c.example/a.css">'
            '<script src="https://c.example/a.js"></script>'
            '<img src="https://c.example/a.png" alt="a picture">'
            '<a href="https://c.example">there</a><b onclick="x()">c</b>'
            '<meta http-equiv="refresh" content="0;url=https://c.example">'
            '<svg><a xlink:href="javascript:x()">d</a></svg><iframe srcdoc="x"></iframe>'
            '<base href="https://c.example"><form action="https://c.example"><input></form>')
    prose = new_markdown_cell("![e](https://c.example/e.png) <https://c.example> [f](//c.example) "
                              "[g](gru.html)")
    widget = new_code_cell("w", outputs=[
        new_output("display_data", {"application/javascript": "alert(1)", "text/plain": "widget"})])
    soup = page(tmp_path, cell(html), prose, widget)
    assert not outside(soup) and not soup.find(["script", "iframe", "base", "form"])
    assert len(soup.find_all("meta", attrs={"http-equiv": True})) == 1
    assert "there (https://c.example)" in soup.get_text()
    assert soup.find("a", string="g")["href"] == "gru.html"
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'") and "script-src" not in policy


def test_an_ordinary_page_has_no_outside_address(tmp_path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    soup = page(tmp_path, cell(show(figure, "A line").data),
                cell(table(pd.DataFrame({"a": [1]})).data), cell(text="2"))
    html = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not outside(soup)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", html)
    assert "@import" not in html and soup.find("img")["alt"] == "A line"
    image = soup.find("img")["src"]
    assert image.startswith("data:image/png;base64,iVBOR")


def test_the_frame_of_a_page(tmp_path):
    sections = [new_markdown_cell(f"## Part {n}\n\nText.") for n in range(4)]
    soup = page(tmp_path, *sections)
    assert soup.html["lang"] == "en" and soup.title.string == "A study"
    assert soup.find("meta", attrs={"name": "viewport"})
    assert soup.find("a", class_="skip")["href"] == "#content"
    assert soup.find("main")["id"] == "content" and len(soup.select("nav.contents li a")) == 4
    for link in soup.select("nav.contents a"):
        assert soup.find(id=link["href"][1:]).name == "h2"
    identifiers = [element["id"] for element in soup.find_all(id=True)]
    assert len(identifiers) == len(set(identifiers))


def test_cells_are_folded_as_promised(tmp_path):
    soup = page(tmp_path, new_raw_cell("---\nskip_exec: true\n---"),
                cell(source="cell = 'lstm'", tags=["parameters"]),
                cell(source="cell = 'gru'", tags=["injected-parameters"]),
                cell(source="work()", stderr="\x1b[33ma warning\x1b[0m"))
    details = {d.summary.get_text(): d for d in soup.find("main").find_all("details")}
    assert list(details) == ["Parameters", "Parameters of this run", "Code",
                             "Messages of the libraries"]
    assert [name for name, d in details.items() if d.has_attr("open")] == ["Parameters of this run"]
    assert details["Messages of the libraries"].pre.get_text().strip() == "a warning"
    assert "skip_exec" not in soup.get_text()


@pytest.mark.parametrize("step", ["replace", "write"])
def test_an_interrupted_write_leaves_the_old_page(tmp_path, monkeypatch, step):
    path = written(tmp_path, "compare", notebook(cell(text="first")))
    index = write_site(tmp_path / "site", {"compare": path})
    before, second = index.read_bytes(), notebook(cell(text="second"))

    def interrupted(*_, **__):
        raise KeyboardInterrupt
    monkeypatch.setattr(*((os, "replace") if step == "replace" else (core, "new_file")),
                        interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_site(index.parent, {"compare": written(tmp_path, "compare", second)})
    assert index.read_bytes() == before
    assert [p.name for p in index.parent.iterdir()] == ["index.html"]


def names(path):
    """Return the entries of a page's navigation."""
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    current = soup.select("nav.pages a[aria-current=page]")
    assert len(current) == 1 and current[0]["href"] == path.name
    return [(a["href"], a.bdi.get_text()) for a in soup.select("nav.pages a")]


def test_every_page_lists_all_pages_whichever_call_made_it(tmp_path):
    study = written(tmp_path, "study", notebook(cell(text="1")))
    run = written(tmp_path, "run", notebook(title="Training run",
                                            papermill={"input_path": "nbs/train.ipynb"}))
    site = tmp_path / "site"
    write_site(site, {"compare": study, "lstm": run, "explore": study},
               titles={"lstm": "LSTM & GloVe <50 d>"})
    expected = [("index.html", "A study"), ("explore.html", "A study"),
                ("lstm.html", "LSTM & GloVe <50 d>")]
    assert [names(path) for path in sorted(site.iterdir())] == [expected] * 3

    body = (site / "lstm.html").read_text(encoding="utf-8").partition("<main")[2]
    # a fresh clone: no notebook of the others at hand
    write_site(site, {"gru": run}, titles={"gru": "GRU"})
    expected.insert(2, ("gru.html", "GRU"))
    assert [names(path) for path in sorted(site.iterdir())] == [expected] * 4
    assert (site / "lstm.html").read_text(encoding="utf-8").partition("<main")[2] == body
    assert read_page(site / "lstm.html").group == "Networks"

    write_site(site, {}, remove=["lstm"])
    assert ([names(path) for path in sorted(site.iterdir())]
            == [[e for e in expected if e[0] != "lstm.html"]] * 3)


def test_the_same_notebooks_make_the_same_bytes(tmp_path):
    path = written(tmp_path, "compare", notebook(cell(text="1")))
    first = write_site(tmp_path / "a", {"compare": path}).read_bytes()
    assert first == write_site(tmp_path / "b", {"compare": path}).read_bytes()


def test_files_that_are_not_ours_are_left_alone(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "mine.html").write_text("<p>mine</p>")
    index = write_site(site, {})
    assert (site / "mine.html").read_text() == "<p>mine</p>"
    assert "mine.html" not in index.read_text(encoding="utf-8")
    assert "have not been compared yet" in index.read_text(encoding="utf-8")


def test_the_banner_is_on_every_page(tmp_path):
    study = written(tmp_path, "study", notebook())
    site = tmp_path / "site"
    write_site(site, {"compare": study, "lstm": study}, SAMPLE_BANNER, {"gone": "It never began."})
    for path in site.iterdir():
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        assert soup.find("div", class_="banner", role="note").get_text() == SAMPLE_BANNER
    assert not page(tmp_path / "site").find(class_="banner")


def test_a_failed_run_says_so_everywhere(tmp_path):
    error = new_output("error", ename="ValueError", evalue="bad <cell>",
                       traceback=["\x1b[31mline 1\x1b[0m"])
    broken = notebook(new_code_cell("x", outputs=[error]))
    hint = new_markdown_cell('<span style="color:red">An Exception was encountered</span>',
                             metadata={"tags": ["papermill-error-cell-tag"]})
    broken.cells.insert(0, hint)
    site = tmp_path / "site"
    write_site(site, {"compare": written(tmp_path, "c", notebook()),
                      "lstm": written(tmp_path, "l", broken)}, "", {"lstm": "A <bad> cell."})
    soup = BeautifulSoup((site / "lstm.html").read_text(encoding="utf-8"), "html.parser")
    assert "A <bad> cell." in soup.select_one("main > .failed").get_text()
    assert "An Exception" not in soup.get_text()
    assert soup.find(id="error").strong.get_text() == "ValueError"
    assert "bad <cell>" in soup.find(id="error").p.get_text()
    assert soup.find(id="error").pre.get_text() == "line 1"
    write_site(site, {})
    for path in site.iterdir():
        marks = BeautifulSoup(path.read_text(encoding="utf-8"),
                              "html.parser").select("nav.pages .mark")
        assert [mark.find_parent("a")["href"] for mark in marks] == ["lstm.html"]


def notes(site, name):
    """Return the notes at the top of a page."""
    soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    return [note.get_text() for note in soup.select("main > [role=note]")]


def test_a_stale_page_says_so_until_it_is_current(tmp_path):
    run, site = written(tmp_path, "run", notebook()), tmp_path / "site"
    write_site(site, {"compare": run, "lstm": run, "gru": run}, failed={"gru": "It broke."})
    write_site(site, {})
    plain = {path: path.read_bytes() for path in site.iterdir()}
    reasons = {"lstm": 'the code has changed: <a> & "b"', "gru": "the data have changed"}
    write_site(site, {}, stale=reasons)
    said = ['Made by an earlier version (the code has changed: <a> & "b").']
    assert notes(site, "lstm") == said and notes(site, "index") == []
    assert notes(site, "gru") == ["This notebook did not run to its end. It broke."]
    soup = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    marks = {mark.find_parent("a")["href"]: mark.get_text() for mark in soup.select("nav .mark")}
    assert marks == {"lstm.html": "earlier version", "gru.html": "failed"}

    marked = {path: path.read_bytes() for path in site.iterdir()}
    write_site(site, {}, stale=reasons)
    assert {path: path.read_bytes() for path in site.iterdir()} == marked
    write_site(site, {"lstm": run}, stale=reasons)
    assert notes(site, "lstm") == said, "a page that is rendered again"
    write_site(site, {"lstm": run})
    write_site(site, {})
    assert {path: path.read_bytes() for path in site.iterdir()} == plain


@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "", ".hidden", "a#b", "javascript:x",
                                  "a\x00"])
def test_a_page_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(UserError, match="cannot be named"):
        write_site(tmp_path / "site", {name: written(tmp_path, "study", notebook())})


@pytest.mark.parametrize("href", ["javascript:alert(1)", "JAVASCRIPT:x", "https://c.example",
                                  "//c.example", "/\\c.example", "data:text/html,x",
                                  "java\tscript:x"])
def test_a_table_links_only_inside(href):
    with pytest.raises(UserError, match="only inside the report"):
        table(pd.DataFrame({"run": ["x"], "href": [href]}), links={"run": "href"})


def test_a_half_written_notebook_is_named(tmp_path):
    (tmp_path / "half.ipynb").write_text('{"cells": [')
    with pytest.raises(UserError, match="half.ipynb cannot be read as a notebook"):
        write_site(tmp_path / "site", {"lstm": tmp_path / "half.ipynb"})
    assert not list((tmp_path / "site").glob("*.html"))


def test_a_notebook_that_a_kernel_ran(tmp_path):
    source = ("import pandas as pd, matplotlib.pyplot as plt\n"
              "from disaster_nbdev.html_output import show, table\n"
              "figure, axes = plt.subplots()\n"
              "show(figure, 'Nothing yet', 'An empty plot')")
    tweet = "table(pd.DataFrame({'text': ['<b>']}), 'One tweet')"
    content = notebook(new_code_cell(source), new_code_cell(tweet),
                       new_code_cell("print('\\x1b[1mbold\\x1b[0m')"), new_code_cell("1 / 0"))
    NotebookClient(content, kernel_name="python3", allow_errors=True, timeout=LONG).execute()
    soup = page(tmp_path, *content.cells[1:])
    assert soup.find("img")["alt"] == "Nothing yet"
    assert soup.select_one("table.data td").get_text() == "<b>"
    assert soup.select_one("table.data caption").get_text() == "One tweet"
    assert "bold" in soup.get_text()
    assert soup.select_one(".error strong").get_text() == "ZeroDivisionError" and not outside(soup)


def test_lines_printed_one_by_one_are_one_text(tmp_path):
    lines = [new_output("stream", name="stdout", text=f"epoch {i}\n") for i in range(3)]
    notebook = new_notebook(cells=[new_markdown_cell("# Log"),
                                   new_code_cell("fit()", outputs=lines,
                                                 metadata={"tags": ["log"]})])
    nbformat.write(notebook, tmp_path/"compare.ipynb")
    page = write_site(tmp_path/"site",
                      {"compare": tmp_path/"compare.ipynb"}).read_text(encoding="utf-8")
    assert "epoch 0\nepoch 1\nepoch 2" in page and "<summary>Log</summary>" in page
