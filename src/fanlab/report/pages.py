"""The templates of pages, and what they may take as it is."""

from functools import cache

import jinja2
from markupsafe import Markup


@cache
def template(name: str) -> jinja2.Template:
    """One of `templates/`. All that it is given is escaped, but for what goes through `picture` and `css`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanlab.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    # Both take only what this package has built itself: SVG whose texts are escaped, and colours of the palette.
    environment.filters["picture"] = Markup
    environment.filters["css"] = Markup
    environment.filters["capitalize_first"] = lambda words: words[:1].upper() + words[1:]
    return environment.get_template(name)
