"""YAML as a tree with places: what plain scalars mean, where values stand, and what is refused."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fanlab.errors import ScenarioError
from fanlab.scenario.document import MAX_DEPTH, MAX_NODES, MAX_REPORTS, Listing, Table, core_value, parse, plain


def read(text: str) -> Any:
    document = parse(text, "f")
    assert document.problems == ()
    return plain(document.root)


def complaints(text: str) -> str:
    try:
        return "\n".join(map(str, parse(text, "f").problems))
    except ScenarioError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:30", "12:30"),  # 750 in YAML 1.1
        ("on", "on"),
        ("yes", "yes"),
        ("0777", 777),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("", None),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("=", "="),
        ("+", "+"),
        ("5ms", "5ms"),
    ],
)
def test_plain_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    found = core_value(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_one() -> None:
    assert math.isnan(core_value(".nan"))


def test_quotes_and_str_tags_make_texts() -> None:
    assert read("a: '5'\nb: \"true\"\nc: !!str 5\nd: ! 5\ne: !!int '5'\nf: |\n  x\n  y\n") == {
        "a": "5",
        "b": "true",
        "c": "5",
        "d": "5",
        "e": 5,
        "f": "x\ny\n",
    }


def test_places_count_from_one_and_in_characters() -> None:
    root = parse("é: {ü: 1, b: [x, 2]}\n\nc:\n    d: |\n      t\n", "f").root
    assert isinstance(root, Table)
    inner = root.entries["é"].node
    assert isinstance(inner, Table)
    listing = inner.entries["b"].node
    assert isinstance(listing, Listing)
    assert [(each.place.line, each.place.column) for each in listing.items] == [(1, 15), (1, 18)]
    assert (inner.entries["b"].place.line, inner.entries["b"].place.column) == (1, 11)
    below = root.entries["c"].node
    assert isinstance(below, Table)
    assert (below.place.line, below.place.column) == (4, 5)


def test_keys_are_texts_as_written() -> None:
    assert read("5: a\ntrue: b\n1.50: c\n") == {"5": "a", "true": "b", "1.50": "c"}


def test_aliases_and_merges() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\na: {<<: *b, y: 9}\nb: {<<: [*m, *b]}\nc: *b\n"
    found = read(text)
    assert found["a"] == {"x": 1, "y": 9}
    assert found["b"] == {"x": 1, "y": 3, "z": 4}
    assert found["c"] == {"x": 1, "y": 2}


def test_past_so_many_duplicates_nobody_reads_on() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse("a: 1\n" * 5000, "f")
    assert len(caught.value.problems) == MAX_REPORTS + 1


def test_what_is_missing_at_the_end_is_missing_within_the_file() -> None:
    for text, place in (("a: [1", "f:1:6"), ("a: [1\n", "f:2:1"), ("a: {b", "f:1:6"), ("a: 'b", "f:1:6")):
        with pytest.raises(ScenarioError, match=place):
            parse(text, "f")


def test_duplicate_keys_are_reported_together_and_the_first_holds() -> None:
    document = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", "f")
    assert plain(document.root) == {"a": 1, "b": {"c": 1}}
    assert [str(problem) for problem in document.problems] == [
        "f:2:11: the key 'c' stands here a second time; the first is at line 2, column 5",
        "f:3:1: the key 'a' stands here a second time; the first is at line 1, column 1",
    ]


def test_bounds_are_exact() -> None:
    assert complaints("[" * MAX_DEPTH + "]" * MAX_DEPTH) == ""
    assert f"more than {MAX_DEPTH} levels" in complaints("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert complaints("[" + "x," * (MAX_NODES - 1) + "]") == ""
    assert f"more than {MAX_NODES} values" in complaints("[" + "x," * MAX_NODES + "]")


def test_aliases_count_each_time_they_are_used() -> None:
    thousand = "a: &a [" + "x," * 999 + "]\n"
    assert complaints(thousand + "b: [" + "*a," * 90 + "]") == ""
    assert "more than" in complaints(thousand + "b: [" + "*a," * 100 + "]")


def test_aliases_cannot_dig_deeper_than_the_bound() -> None:
    nested = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, MAX_DEPTH + 2))
    assert f"more than {MAX_DEPTH} levels" in complaints(nested)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: *b", "f:1:4: the alias *b has no anchor &b before it"),
        ("a: &x [*x]", "f:1:8: the alias *x stands inside its own anchor: it would never end"),
        ("a: &x {b: {c: *x}}", "f:1:15: the alias *x stands inside its own anchor: it would never end"),
        ("a: &x 1\n*x : 2", "f:2:1: a key must be written out, not taken from an alias"),
        ("a: !foo 1", "f:1:4: the tag !foo means nothing here; write the plain value"),
        ("a: !foo [1]", "f:1:4: the tag !foo means nothing here; write the plain value"),
        ("a: !!set {x}", "f:1:4: the tag !!set means nothing here; write the plain value"),
        ("a: !!map [1]", "f:1:4: the tag !!map means nothing here; write the plain value"),
        ("{? : 1}", "f:1:4: a key is empty"),
        ("a: 1\n--- \nb: 1", "f:2:1: a second document begins here (---); a scenario is one"),
        ("", "f: is empty; a scenario begins with its name"),
        (
            "a:\n  - \x1b[31m",
            "f:2:5: the character U+001B cannot stand in YAML; write it as an escape in double quotes",
        ),
    ],
)
def test_what_is_refused(text: str, complaint: str) -> None:
    assert complaints(text) == complaint


def test_text_of_a_command_line_has_no_places() -> None:
    node = parse("[a, 1]", "--set", via="set").root
    assert isinstance(node, Listing)
    assert [(each.place.line, each.place.via) for each in node.items] == [(0, "set"), (0, "set")]


SCALARS = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=5), below),
    max_leaves=12,
)


@given(TREES.filter(lambda tree: tree is not None))
@example({"a": [1, {"b": None}]})
def test_what_yaml_writes_is_read_back(tree: Any) -> None:
    text = yaml.safe_dump(
        tree, default_style='"' if isinstance(tree, str) else None, allow_unicode=False, sort_keys=False
    )
    if "<<" in text:
        return  # a merge
    assert _same(plain(parse(text, "f").root), tree)


def _same(found: Any, tree: Any) -> bool:
    if isinstance(tree, dict):
        return list(found) == list(tree) and all(_same(found[key], value) for key, value in tree.items())
    if isinstance(tree, list):
        return len(found) == len(tree) and all(map(_same, found, tree))
    return bool(found == tree)


@given(st.text(max_size=200))
def test_any_text_is_a_tree_or_a_scenario_error(text: str) -> None:
    complaints(text.encode("utf-8", "replace").decode())
