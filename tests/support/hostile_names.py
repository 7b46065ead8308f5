"""Names that try to be something else than names: to a browser, a spreadsheet, a terminal, a chart, a reader.

`names(n)` are n different ones, always the same. Were one to run as a script, it would set `owned` in its page.
"""

from random import Random

from fanlab.seed import rng

RUN = "owned=1"
HTML = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg/onload={RUN}>",
    f'"><body onload={RUN}>',
    f"' autofocus onfocus={RUN} x='",
    f'" onmouseover="{RUN}',
    f"<a href=javascript:{RUN}>x</a>",
    f"javascript:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"</textarea></title></style></script><script>{RUN}</script>",
    f"--><script>{RUN}</script><!--",
    f"]]><script>{RUN}</script><![CDATA[",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"&#60;script&#62;{RUN}",
    f"\\u003cscript\\u003e{RUN}",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<base href=http://127.0.0.1:9/>",
    "<form action=http://127.0.0.1:9/><input autofocus>",
    "<object data=http://127.0.0.1:9/></object>",
    "<template><b>",
    "</td></tr></table>",
    "<!doctype html>",
    "<",
    "&",
    '"',
    "'",
    "`",
)
STYLE = (
    "}</style><b>",
    "background:url(http://127.0.0.1:9/x.png)",
    "@import 'http://127.0.0.1:9/x.css';",
    "expression(owned=1)",
    "var(--fl-ink)",
    "url(#fl-rate-patch_1)",
    "#1a1d23",
)
SVG = (
    f"<use href=data:image/svg+xml,<svg onload={RUN}>>",
    f"<foreignObject><script>{RUN}</script></foreignObject>",
    f"<set attributeName=onload to={RUN}>",
    f"<animate onbegin={RUN} attributeName=x dur=1s>",
    "</text></svg>",
    "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
    "&e;",
    "]]>",
)
TEMPLATES = ("{{ 7*7 }}", "{% raw %}", "{# #}", "${7*7}", "#{7*7}", "{0.__class__}", "%s%n%d", "{}", "\\N{BULLET}")
SHEETS = (
    *("=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "\x00=1+1", "\u200b=1+1", "\uff1d1+1"),
    *("=cmd|'/C calc'!A0", '=HYPERLINK("http://127.0.0.1:9/","x")', '"=1+1"', '",=1+1', ";=1+1", "'=1+1", "%0A=1+1"),
)
TERMINAL = (
    *(
        "\x1b[2J\x1b[H",
        "\x1b[31mred",
        "\x1b]0;title\x07",
        "\x1b]52;c;ZWNobw==\x07",
        "\x1b]8;;http://127.0.0.1:9/\x1b\\x",
    ),
    *(
        "\x1bPq\x1b\\",
        "\x1b[6n",
        "\x1bc",
        "\x1b[1A\x1b[2Kok",
        "\x9b2J",
        "\x9d0;t\x9c",
        "a\rb",
        "a\bb",
        "\x07",
        "\x0c",
        "\x0b",
    ),
    *("\x7f", "\x85", "\x1b", "\x00", "\x1b[?25l", "\x1b(0", "^[[31m"),
)
RICH = (
    *("[bold red]x[/bold red]", "[/]", "[link=http://127.0.0.1:9/]x[/link]", "[@click=app.quit]x", "[[x]]", "\\[bold]"),
    *("[reverse]", "[on red]", "[not bold]", ":warning:"),
)
MATH = ("$$", "$", "$\\frac{$", "$x^$", "\\$", "_hidden", "$\\sum_{i}$", "\\mathtt{x}", "^^", "${}$", "a_b^c", "\\n")
MARKDOWN = (
    *(
        "| a | b |",
        "`code`",
        "**bold**",
        "# heading",
        "- item",
        "1. item",
        "![x](http://127.0.0.1:9/x.png)",
        "~~~",
        "```",
    ),
    *(
        "[x](javascript:owned=1)",
        "<http://127.0.0.1:9/>",
        "@someone",
        "#12",
        "www.example.org",
        "https://example.org",
        "---",
    ),
    *("\n\n# new", "\\", "*_*_*", "[^1]", "GH-1", "mailto:a@b.c"),
)
UNICODE = (
    *(
        "\u202edesrever",
        "\u2066x\u2069",
        "\u200f",
        "\u061c",
        "\u2028line",
        "\u2029",
        "\ufeff",
        "\ufffe",
        "\uffff",
        "\ud800",
    ),
    *(
        "\udfff",
        "\U000e0041tag",
        "\u200d",
        "e\u0301" * 3,
        "Z" + "\u0334\u0335\u0336\u0337" * 30,
        "🔥",
        "👩\u200d👩\u200d👧",
        "\u00ad",
    ),
    *("\U0010ffff", "\ue000", "\u115f", "\u3164", "\xa0", "\u2003", "ﷺ", "𒐫", "İ", "ﬀ", "\u0000\u0001"),
)
OTHER = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "../../etc/passwd",
        "'; DROP TABLE x; --",
        "; rm -rf /",
        "$(id)",
        "`id`",
        "|id",
        "%00",
        "NaN",
        "null",
    ),
    *(
        "x" * 5000,
        "<" * 3000,
        "\\" * 300,
        "a b",
        "two\nlines\r\nmore",
        "None",
        "-0",
        "1e999",
        "__proto__",
        "constructor",
    ),
)
KINDS = (HTML, STYLE, SVG, TEMPLATES, SHEETS, TERMINAL, RICH, MATH, MARKDOWN, UNICODE, OTHER)


def names(count: int) -> list[str]:
    """That many different ones: each of those above, then mixtures of them."""
    random = rng(1, "hostile names")
    found = dict.fromkeys(name for kind in KINDS for name in kind)
    while len(found) < count:
        found[_mixed(random)] = None
    chosen = list(found)[:count]
    random.shuffle(chosen)
    return chosen


def _mixed(random: Random) -> str:
    parts = [random.choice(random.choice(KINDS))[:200] for _ in range(random.randint(2, 4))]
    name = random.choice(("", " ", "\n", "-", '"', "'>")).join(parts)
    return random.choice((name, name, name.upper(), name.swapcase(), name[::-1], name.replace("<", "<<")))
