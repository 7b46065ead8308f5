"""report.html in a real Chromium: it shows, it is quiet, it asks nobody for anything, it fits."""

import pytest

from fanlab.report import html
from fanlab.report.charts import draw_all
from support.hostile import hostile_report
from support.hostile_checks import check_charts, check_in_browser, check_page, page_of
from support.hostile_names import RUN, names
from support.sample_report import sample_report, sample_series

pytestmark = pytest.mark.browser

LIGHT, DARK = "rgb(255, 255, 255)", "rgb(18, 21, 27)"


@pytest.fixture(scope="module")
def charts(tmp_path_factory):
    return draw_all(sample_series(), {}, tmp_path_factory.mktemp("charts"))


@pytest.fixture
def report(tmp_path, charts):
    summary, manifest, series = sample_report()
    path = tmp_path / "report.html"
    path.write_text(html.render(summary, manifest, series, charts), encoding="utf-8")
    return path


def style_of(page, selector, name):
    return page.eval_on_selector(selector, f"element => getComputedStyle(element)['{name}']")


@pytest.mark.parametrize("view", [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)])
def test_it_shows_fits_and_keeps_to_itself(chromium_page, page_watch, report, tmp_path, view):
    page, (scheme, width) = chromium_page, view
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.title() == "quickstart: Pass · fanlab"
    assert style_of(page, "body", "backgroundColor") == {"light": LIGHT, "dark": DARK}[scheme]
    assert page.locator("svg.chart").count() == 9
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out sideways"
    label = page.locator("svg.chart text", has_text="node-2").first
    assert label.bounding_box()["width"] > 10
    # The label's colour is the page's, so that it reads on either ground.
    assert style_of(page, "#chart-heatmap svg text", "fill") != style_of(page, "body", "backgroundColor")
    shot = page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    assert shot.startswith(b"\x89PNG")
    assert page_watch.errors == []
    assert page_watch.requests == [report.as_uri()], "no request but the page itself"


def test_where_and_why_read_on_a_narrow_screen_without_scrolling(chromium_page, report):
    page = chromium_page
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(report.as_uri())
    for words in ("769 lost", "client reconnecting", "280 lost", "the node had lost its subscription"):
        box = page.locator("#chart-hops svg text", has_text=words).first.bounding_box()
        assert box["x"] >= 0, words
        assert box["x"] + box["width"] <= 400, words


def test_dark_and_light_colour_the_charts_differently(chromium_page, report):
    page = chromium_page
    fills = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(report.as_uri())
        fills[scheme] = page.eval_on_selector_all(
            "svg.chart text", "all => [...new Set(all.map(one => getComputedStyle(one).fill))].sort()"
        )
    assert len(fills["light"]) > 4
    assert not set(fills["light"]) & set(fills["dark"])


def test_it_prints_light_and_without_navigation(chromium_page, page_watch, report):
    page = chromium_page
    page.emulate_media(media="print", color_scheme="dark")
    page.goto(report.as_uri())
    assert style_of(page, "body", "backgroundColor") == LIGHT
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page_watch.errors == []


def test_hostile_names_do_nothing(chromium_page, page_watch, report, charts):
    summary, manifest = hostile_report()
    report.write_text(html.render(summary, manifest, sample_series(), charts), encoding="utf-8")
    page = chromium_page
    page.on("dialog", lambda dialog: page_watch.errors.append(dialog.message))
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(report.as_uri())
    assert page.locator("script").count() == 0
    assert page.locator("img").count() == 0
    assert page.get_by_text("<script>alert(1)</script>").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page_watch.errors == []
    assert page_watch.requests == [report.as_uri()]


@pytest.mark.parametrize("batch", [0, 1])
def test_generated_names_do_nothing_in_the_page_nor_in_its_charts(chromium_page, page_watch, tmp_path, batch):
    """A hundred of the five hundred of `make fuzz`."""
    some = names(500)[50 * batch : 50 * batch + 50]
    page = page_of(some, tmp_path)
    check_page(page)
    check_charts(tmp_path)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    for path in [tmp_path / "report.html", *tmp_path.glob("*.svg")]:
        check_in_browser(chromium_page, page_watch, path)


@pytest.mark.parametrize(
    "planted", [f"<script>{RUN}</script>", f"<img src=x onerror={RUN}>", "<img src=http://127.0.0.1:9/x>"]
)
def test_a_name_that_is_not_escaped_is_found(chromium_page, page_watch, tmp_path, planted):
    """Planted, without the policy that would stop it: every check must see it."""
    path = tmp_path / "report.html"
    path.write_text(f"<!doctype html><title>x</title><body><p>{planted}</p>", encoding="utf-8")
    with pytest.raises(AssertionError):
        check_page(path.read_text(encoding="utf-8"))
    with pytest.raises(AssertionError):
        check_in_browser(chromium_page, page_watch, path)


def test_the_policy_would_stop_a_script_that_got_in(chromium_page, page_watch, report):
    """The second line of defence holds on its own: plant a script and a fetch, and see both refused."""
    planted = "<script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x.png'>"
    report.write_text(report.read_text(encoding="utf-8").replace("<main>", f"<main>{planted}"), encoding="utf-8")
    chromium_page.goto(report.as_uri())
    assert chromium_page.title() == "quickstart: Pass · fanlab"
    assert len(page_watch.errors) >= 2
    assert all("Content Security Policy" in error or "csp" in error for error in page_watch.errors)
