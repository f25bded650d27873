"""Check the report in Chromium, which opens the pages from the disk as a reader does."""
import shutil
from contextlib import contextmanager

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from conftest import LONG
from disaster_nbdev.html_output import show, table
from disaster_nbdev.site import SAMPLE_BANNER, write_site

BROWSER = next(filter(None, map(shutil.which,
                                ("chromium", "chromium-browser", "google-chrome",
                                 "google-chrome-stable", "chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed (chromium, google-chrome)")
TWEETS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<svg onload=alert(1)>",
          "abc \u202egpj.exe", "a\x00b \x1b[31mred", "x" * 100_000, "a" + "\u0301" * 500,
          "Forest fire near La Ronge Sask. Canada, all residents asked to shelter in place"]


HOSTILE = ("<script>alert(2)</script><img src='x' alt='' onerror='alert(3)'>"
           "<p onclick='alert(4)'>text</p>")


def html_cell(source, made, **streams):
    """Return a code cell that shows this HTML."""
    outputs = [new_output("stream", name=name, text=text) for name, text in streams.items()]
    return new_code_cell(source, outputs=outputs
                         + [new_output("execute_result", {"text/html": made, "text/plain": "x"})])


def study():
    """Return a notebook with every kind of output."""
    figure, axes = plt.subplots(figsize=(8, 4))
    axes.plot([1, 2, 3])
    wide = pd.DataFrame({f"column {n}": [n / 7] for n in range(30)})
    tweets = pd.DataFrame({"text": TWEETS, "probability": 0.5, "run": "the other page",
                           "href": "other.html"})
    error = new_code_cell("1 / 0", outputs=[
        new_output("error", ename="ZeroDivisionError", evalue="division by zero",
                   traceback=["y" * 500])])
    given = new_code_cell("cell = 'gru'", metadata={"tags": ["injected-parameters"]})
    prose = [new_markdown_cell(f"## Part {n}\n\nSome words, `{'code' * 40}`, "
                               f"<https://example.org/{'long' * 40}>.\n\n### Detail")
             for n in range(4)]
    return new_notebook(cells=[new_markdown_cell("# A study\n\n> What it is about."), given, *prose,
                               html_cell("show(figure)",
                                         show(figure, "A rising line", "It rises.").data,
                                         stdout="w" * 500, stderr="warned " * 90),
                               html_cell("table(wide)", table(wide, "A wide table").data),
                               html_cell("table(tweets)",
                                         table(tweets, "Tweets", links={"run": "href"}).data),
                               html_cell("plain", wide.to_html()),
                               html_cell("hostile", HOSTILE), error])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Write a small report."""
    folder = tmp_path_factory.mktemp("report")
    nbformat.write(study(), folder / "study.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# The other page\n\nText.")]),
                   folder / "other.ipynb")
    write_site(folder, {"compare": folder / "study.ipynb", "other": folder / "other.ipynb"},
               SAMPLE_BANNER, {"compare": "It divided by zero."})
    return folder


@pytest.fixture(scope="module")
def chromium():
    """Start one browser for all tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=ARGUMENTS, timeout=LONG * 1000)
        yield browser
        browser.close()


@contextmanager
def window(chromium, site, width, scheme):
    """Open the index in a fresh window; fail if it logs, requests or pops up anything."""
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(LONG * 1000)
    opened, seen = context.new_page(), []
    opened.on("console", lambda message: seen.append(f"console: {message.text}"))
    opened.on("pageerror", lambda error: seen.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: (seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    opened.on("request", lambda asked: asked.url.startswith(("file:", "data:"))
              or seen.append(f"request: {asked.url}"))
    opened.goto((site / "index.html").as_uri())
    yield opened
    context.close()
    assert not seen


@pytest.fixture(params=[1280, 390])
def page(request, chromium, site):
    """Open the index on a wide and on a narrow screen."""
    with window(chromium, site, request.param, "light") as opened:
        yield opened


@pytest.fixture(params=["light", "dark"])
def tinted(request, chromium, site):
    """Open the index in light and in dark colors."""
    with window(chromium, site, 1280, request.param) as opened:
        yield opened


def test_nothing_runs_loads_or_sticks_out(page):
    page.mouse.wheel(0, 10_000)
    page.get_by_text("text", exact=True).last.click()
    width, inner = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert width <= inner
    assert page.locator("script").count() == 0
    for name in ("src", "href"):
        found = page.locator(f"main [{name}]").evaluate_all(
            f"all => all.map(e => e.getAttribute('{name}'))")
        assert found
        assert not [a for a in found if not a.startswith(("data:image/png", "#", "other.html"))]


def test_what_is_wider_than_the_page_can_be_scrolled(page):
    boxes = page.locator(".wide").evaluate_all(
        "all => all.map(e => [e.scrollWidth > e.clientWidth, getComputedStyle(e).overflowX, "
        "e.tabIndex])")
    assert len(boxes) == 2 and boxes[0] == [True, "auto", 0]
    caption = page.locator("caption").first.bounding_box()
    assert caption["x"] >= 0


def test_every_picture_has_a_text_and_loads(page):
    found = page.locator("img").evaluate_all("all => all.map(e => [e.alt, e.naturalWidth])")
    assert len(found) == 1 and all(alt.strip() and width for alt, width in found)
    shown = page.locator("figure.plot img").bounding_box()
    assert shown["x"] >= 0 and shown["x"] + shown["width"] <= page.viewport_size["width"]


def test_code_opens_by_click_and_by_keyboard(page):
    details = page.locator("details.code:not([open])").first
    handle, code = details.element_handle(), details.locator("pre").first.element_handle()
    summary = handle.query_selector("summary")
    assert not code.is_visible()
    summary.click()
    assert code.is_visible()
    summary.click()
    assert not code.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert code.is_visible()
    page.keyboard.press("Space")
    assert not code.is_visible()
    assert page.locator("details.code[open] summary").inner_text() == "Parameters of this run"


CONTRAST = """() => {
  const channel = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
  const parse = s => s.match(/[\\d.]+/g).map(Number);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const hasText = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  const rows = [];
  for (const d of document.querySelectorAll('details')) d.open = true;
  for (const e of document.querySelectorAll('body, body *')) {
    if (!e.checkVisibility() || !hasText(e) && e !== document.body) continue;
    const colors = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const [a, b] = colors.sort((x, y) => y - x);
    const name = e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 30);
    rows.push([(a + .05) / (b + .05), name]);
  }
  return rows;
}"""


def test_every_text_has_enough_contrast(tinted):
    rows = tinted.evaluate(CONTRAST)
    assert len(rows) > 50 and rows[0][1].startswith("BODY") and rows[0][0] >= 7
    assert not [row for row in rows if row[0] < 4.5]


def test_dark_is_dark_and_a_figure_keeps_its_white_card(tinted):
    dark = tinted.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = tinted.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(ground) < 60) == dark and (min(ground) > 240) != dark
    assert (tinted.locator("figure.plot img").evaluate("e => getComputedStyle(e).backgroundColor")
            == "rgb(255, 255, 255)")


def test_headings_go_down_one_step_at_a_time(page):
    levels = page.locator("h1, h2, h3, h4, h5, h6").evaluate_all(
        "all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and len(levels) == 9
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_the_lists_of_pages_and_sections_lead_where_they_say(page):
    def reached(name, link):
        "Return the link; open its list first if the window is too narrow to show it."
        button = page.get_by_role("button", name=name)
        if button.is_visible():
            button.click()
        return page.get_by_role("link", name=link).locator("visible=true").first
    reached("Contents", "Part 3").click()
    assert page.url.endswith("#Part-3")
    page.reload()
    reached("Pages", "The other page").click()
    page.wait_for_url("**/other.html")
    assert page.title() == "The other page"
    assert page.locator("h1").inner_text().startswith("The other page")
    assert (page.locator("nav.pages [aria-current=page]").evaluate("e => e.textContent.trim()")
            == "The other page")
    page.get_by_role("link", name="Disaster tweets").click()
    page.wait_for_url("**/index.html")


def test_the_first_tab_skips_to_the_content(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_the_notes_are_seen_and_the_error_is_reached(page):
    assert page.get_by_role("note").first.inner_text() == SAMPLE_BANNER
    assert page.locator(".banner").bounding_box()["y"] == 0
    page.get_by_role("link", name="Go to the error").click()
    assert page.locator("#error").evaluate("e => e.getBoundingClientRect().top < innerHeight")
