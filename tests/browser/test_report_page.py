"""The report in a real browser: opened from disk with the network off, clicked, typed into, looked at, printed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, find_chromium
from sample_report import ATTACK, build

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here; install one (Debian: apt-get install chromium) or set CHROMIUM"
)
SHOWN = "Array.from(document.querySelectorAll('#score-table tbody tr')).filter(r => !r.hidden)"
FIRST = f"{SHOWN}[0].innerText"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(CHROMIUM, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def opened(browser, page) -> Iterator[Browser]:
    """The page, newly opened at a desk's width; whatever a test does, nothing may be complained of."""
    browser.faults.clear()
    browser.asked.clear()
    browser.look(1280)
    browser.open(page)
    yield browser
    assert browser.faults == []


def test_the_page_asks_for_nothing_but_itself(opened, page):
    assert [url for url in opened.asked if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert opened.run("Array.from(document.images).every(i => i.complete && i.naturalWidth > 0)")


def test_a_fault_would_be_seen(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('one'); nothing.there()</script><img src='http://example.org/x.png'>")
    browser.faults.clear()
    browser.asked.clear()
    browser.open(bad)
    assert len(browser.faults) >= 3 and "http://example.org/x.png" in browser.asked


def test_texts_with_markup_run_nothing(browser, tmp_path):
    browser.faults.clear()
    browser.open(build(tmp_path, ATTACK))
    assert browser.faults == []
    assert browser.run("document.querySelectorAll('img[onerror], [src=x]').length") == 0
    assert "alert('x')" in browser.run("document.getElementById('map').parentElement.innerText")


def test_a_click_on_a_header_sorts_and_the_order_is_told(opened):
    before = opened.run(FIRST)
    opened.click("#score-table thead th:nth-child(6) button")  # was the highest mean first
    assert opened.run(FIRST) != before
    assert opened.run("document.querySelector('#score-table th:nth-child(6)').getAttribute('aria-sort')") == "ascending"
    means = opened.run(f"{SHOWN}.map(r => parseFloat(r.cells[5].dataset.value))")
    assert means == sorted(means)
    opened.click("#score-table thead th:nth-child(6) button")
    assert opened.run(FIRST) == before


def test_a_sort_works_by_the_keyboard_alone_and_its_focus_is_seen(opened):
    opened.run("document.querySelector('#score-table th:nth-child(2) button').focus()")
    opened.press("Tab")
    opened.press("Enter")
    assert opened.run("document.querySelector('#score-table th:nth-child(3)').getAttribute('aria-sort')") == "ascending"
    prompts = opened.run(f"{SHOWN}.map(r => r.cells[2].textContent)")
    assert prompts == sorted(prompts, key=str.lower)
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_picked_filter_and_typed_words_leave_their_rows_alone(opened):
    every = opened.run(f"{SHOWN}.length")
    opened.run(
        "(() => { const s = document.getElementById('score-pick-3'); s.value = '=weighted';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    poolings = opened.run(f"{SHOWN}.map(r => r.cells[3].textContent)")
    assert set(poolings) == {"weighted"} and 0 < len(poolings) < every
    opened.run("document.getElementById('score-filter').focus()")
    opened.type("cluster halves")
    names = opened.run(f"{SHOWN}.map(r => r.cells[1].textContent + ' ' + r.cells[2].textContent)")
    assert 0 < len(names) < len(poolings) and all("halves" in name and "cluster" in name for name in names)
    assert opened.run("document.getElementById('score-count').textContent") == f"{len(names)} of {every} rows"


def test_every_sortable_table_sorts(opened):
    tables = opened.run("document.querySelectorAll('table.sortable').length")
    assert tables >= 5
    for place in range(tables):
        table = f"document.querySelectorAll('table.sortable')[{place}]"
        opened.run(f"{table}.tHead.querySelector('button').click()")
        assert opened.run(f"{table}.querySelector('th').getAttribute('aria-sort')") in ("ascending", "descending")


def test_the_map_tells_the_text_under_the_mouse_and_marks_it_in_every_panel(opened):
    opened.run("document.getElementById('map-view').scrollIntoView({block: 'center'})")
    box = opened.run(
        "(() => { const b = document.querySelectorAll('#map-view circle')[5].getBoundingClientRect();"
        " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
    )
    opened.move(*box)
    told = opened.run("document.getElementById('map-told').textContent")
    assert ": Return the shortest path. " in told
    rings = opened.run("Array.from(document.querySelectorAll('.ring')).map(r => Number(r.getAttribute('cx')))")
    assert len(rings) == 2 and all(abs(x) <= 1 for x in rings)


def test_the_map_works_by_the_keyboard_and_by_a_picked_label(opened):
    opened.run(
        "(() => { const s = document.getElementById('map-label'); s.value = '1'; s.dispatchEvent(new Event('change'));"
        " document.querySelector('#map-view svg').focus(); })()"
    )
    label = opened.run("document.getElementById('map-label').selectedOptions[0].textContent").rpartition(" (")[0]
    seen = set()
    for key in ("Home", "ArrowRight", "End"):
        opened.press(key)
        seen.add(opened.run("document.getElementById('map-told').textContent"))
    assert len(seen) == 3 and all(text.startswith(f"{label}: ") for text in seen)


def test_picking_a_checkpoint_changes_what_the_attention_viewer_shows(opened):
    before = opened.run("document.getElementById('attention-view').innerText")
    opened.run(
        "(() => { const s = document.getElementById('attention-checkpoint'); s.selectedIndex = 1;"
        " s.dispatchEvent(new Event('change')); })()"
    )
    assert opened.run("document.getElementById('attention-view').innerText") != before


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window_and_text_stands_out(opened, width, dark):
    opened.look(width, dark)
    opened.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert opened.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    # Contrast of text and page, as WCAG 2 takes it.
    contrast = opened.run("""(() => {
      const light = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const page = light(getComputedStyle(document.body).backgroundColor);
      return Array.from(document.querySelectorAll('p, caption, th, a, figcaption')).map(e => {
        const ink = light(getComputedStyle(e).color);
        return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
      }).reduce((a, b) => Math.min(a, b));
    })()""")
    assert contrast >= 4.5
    assert (opened.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark


def test_the_skip_link_is_first_and_leads_to_the_results(opened):
    opened.press("Tab")
    assert opened.run("document.activeElement.className") == "skip"
    opened.press("Enter")
    assert opened.run("location.hash") == "#main"


def test_it_prints_the_still_map_and_no_controls(opened, tmp_path):
    opened.call("Emulation.setEmulatedMedia", media="print")
    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert opened.run(shown.format("#map-still")) == "block"
    assert opened.run(shown.format("#score-controls")) == opened.run(shown.format("#map-view")) == "none"
    opened.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    opened.call("Emulation.setEmulatedMedia", media="")
