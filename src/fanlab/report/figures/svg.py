"""Matplotlib's SVG made fit to stand in a page: colours as CSS variables, ids of its own, the page's font, no metadata.

Works on the parsed tree, so that a name that looks like markup or like a colour stays what it is: text.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from fanlab.report import text
from fanlab.report.figures import style
from fanlab.report.figures.style import HEADER_IN, MARGIN_IN, PALETTE, PT_PER_IN, Drawing

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
_NAMES = {light: name for name, (light, _) in PALETTE.items()}
_COLOR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font:\s*(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+)px\s[^;]*")
_FAMILY = re.compile(r"font-family:[^;]*;\s*")
_PAINTS = ("style", "fill", "stroke")


@style.styled
def to_svg(drawing: Drawing) -> "ET.Element":
    """The chart as an SVG tree without namespaces; the same drawing gives the same tree, byte for byte."""
    if drawing.figure is None:
        raise ValueError(f"chart {drawing.name} has nothing to draw: {drawing.missing}")
    raw = io.StringIO()
    drawing.figure.savefig(raw, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ET.fromstring(raw.getvalue())  # noqa: S314 - written by matplotlib a line above
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}metadata") or child.tag == f"{_SVG}style":
                parent.remove(child)
    for element in root.iter():
        _adapt(element, f"fl-{drawing.name}-")
    root.attrib.pop("version", None)
    root.attrib.update({"role": "img", "aria-label": drawing.alt, "style": "stroke-linejoin:round;stroke-linecap:butt"})
    return root


def inline(root: "ET.Element", title: str) -> str:
    """For an HTML page: without title and subtitle (the page has its own) and without a fixed size."""
    copy = ET.fromstring(ET.tostring(root))  # noqa: S314 - our own tree
    for parent in list(copy.iter()):
        for child in list(parent):
            if child.get("id", "").endswith(("-fl-head", "-fl-sub", "-patch_1")):
                parent.remove(child)
    x, y, width, height = map(float, copy.get("viewBox", "0 0 1 1").split())
    left, top = MARGIN_IN * PT_PER_IN, HEADER_IN * PT_PER_IN
    copy.set("viewBox", f"{x + left:g} {y + top:g} {width - left:g} {height - top:g}")
    for name in ("width", "height"):
        copy.attrib.pop(name, None)
    copy.set("class", "chart")
    copy.set("aria-label", f"{title}. {copy.get('aria-label', '')}")
    return ET.tostring(copy, encoding="unicode", short_empty_elements=True)


def standalone(root: "ET.Element") -> str:
    """For a file: with its own colours for light and dark, and a system font."""
    copy = ET.fromstring(ET.tostring(root))  # noqa: S314 - our own tree
    copy.set("xmlns", _SVG[1:-1])
    copy.set("font-family", "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif")
    sheet = ET.Element("style")
    sheet.text = "@media (prefers-color-scheme: dark){svg{" + variables(dark=True) + "}}"
    copy.insert(0, sheet)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(copy, encoding="unicode") + "\n"


def variables(*, dark: bool) -> str:
    """The palette as CSS custom properties."""
    return ";".join(f"--fl-{name}:{pair[dark]}" for name, pair in PALETTE.items())


def _adapt(element: "ET.Element", prefix: str) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    if (href := element.attrib.pop(_XLINK_HREF, None)) is not None:
        element.set("href", f"#{prefix}{href[1:]}" if href.startswith("#") else href)
    if (name := element.get("id")) is not None:
        element.set("id", prefix + name)
    for attribute, value in list(element.attrib.items()):
        if attribute in _PAINTS:
            paint = _COLOR.sub(lambda match: _variable(match[0]), value)
            element.set(attribute, _FAMILY.sub("", _FONT.sub(_font, paint)))
        elif "url(#" in value:
            element.set(attribute, _REFERENCE.sub(rf"url(#{prefix}\1)", value))
    if element.text and element.tag in ("text", "tspan"):
        element.text = text.clean(element.text, 400)


def _variable(color: str) -> str:
    name = _NAMES.get(color)
    return f"var(--fl-{name},{color})" if name else color


def _font(match: "re.Match[str]") -> str:
    return f"font-size:{match['size']}px;font-weight:{600 if match['weight'] else 400}"


def texts(root: "ET.Element") -> Iterator[str]:
    """Every text that the picture shows."""
    return (element.text for element in root.iter("text") if element.text)
