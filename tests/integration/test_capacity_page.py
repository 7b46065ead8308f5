"""capacity.html in a real Chromium: it shows, it is quiet, it asks nobody for anything, it fits."""

import pytest

from fanlab.report.capacity.write import write_capacity
from support.capacity_documents import ANSWER, a_document

pytestmark = pytest.mark.browser

LIGHT, DARK = "rgb(255, 255, 255)", "rgb(18, 21, 27)"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capacity")
    write_capacity(folder, a_document(ANSWER))
    return folder / "capacity.html"


def ground(page):
    return page.eval_on_selector("body", "element => getComputedStyle(element).backgroundColor")


@pytest.mark.parametrize("view", [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)])
def test_it_shows_fits_and_keeps_to_itself(chromium_page, page_watch, report, view):
    page, (scheme, width) = chromium_page, view
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.title() == "Capacity of by-hand: Answer · fanlab"
    assert ground(page) == {"light": LIGHT, "dark": DARK}[scheme]
    assert page.locator("svg.chart").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out sideways"
    assert page_watch.errors == []
    assert page_watch.requests == [report.as_uri()], "no request but the page itself"


def test_it_prints_light_and_without_navigation(chromium_page, page_watch, report):
    page = chromium_page
    page.emulate_media(media="print", color_scheme="dark")
    page.goto(report.as_uri())
    assert ground(page) == LIGHT
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page_watch.errors == []
