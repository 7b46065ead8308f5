"""From a file to validated scenarios: defaults, matrix, overrides, model, cross-checks; every problem at once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fanlab import resources
from fanlab.errors import Problem, ScenarioError
from fanlab.redaction import hide_word
from fanlab.scenario.check import check
from fanlab.scenario.document import Entry, Listing, Node, Place, Scalar, Table, parse, plain, size
from fanlab.scenario.findings import Keys, nearest
from fanlab.scenario.kinds import caching_kinds
from fanlab.scenario.model import Scenario
from fanlab.scenario.problems import from_error, from_finding, keys_of
from fanlab.scenario.shape import LOADER_KEYS, Choice, Items, Record, scenario_shape, values
from fanlab.scenario.source import read, refuse_other_kinds
from fanlab.scenario.tree import PathError, find, merged, normalise, printable, put, resolve, without

MAX_CELLS = 64
MAX_MATRIX_VALUES = 30_000  # over all cells: each is a whole scenario, and all are checked before any runs
MAX_PROBLEMS = 50
DEFAULTS = ("clients", "publishers", "faults")  # lists whose entries take defaults

OriginKind = Literal["file", "default", "--set", "matrix", "--seed"]
_ORIGINS: dict[str, OriginKind] = {"file": "file", "matrix": "matrix", "set": "--set", "seed": "--seed"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from. `file` and `line` (from 1) are given for what a file says."""

    kind: OriginKind
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file else ""
        return where if self.kind == "file" else " ".join(filter(None, (self.kind, where)))


@dataclass(frozen=True, slots=True)
class Loaded:
    """One scenario as it will run."""

    scenario: Scenario
    source: str
    cell: dict[str, Any]  # path -> value of this combination of the matrix; empty without one
    origins: Mapping[str, Origin]  # by the paths of `shape.values`
    sha256: str
    gate_places: tuple[Origin, ...] = ()  # of each gate: one that fails is told at its place


@dataclass(frozen=True, slots=True)
class _Axis:
    """One path of the matrix."""

    path: str
    keys: Keys
    values: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class _Override:
    """One --set."""

    text: str
    path: str
    value: Node


def load(
    path: Path, *, overrides: Sequence[str] = (), seed: int | None = None, source: str | None = None
) -> list[Loaded]:
    """The scenarios that a file describes: one, or one per combination of its matrix.

    `overrides` are `path=value` as --set has them. `source` names the file in errors and origins, by default `path`.
    Raises ScenarioError with every problem found.
    """
    source = source or str(path)
    return load_text(read(path, source), source, overrides=overrides, seed=seed)


def load_text(text: str, source: str, *, overrides: Sequence[str] = (), seed: int | None = None) -> list[Loaded]:
    """The scenarios that a file of this text describes; see `load`."""
    return _Loader(source).load(text, overrides, seed)


def canonical(scenario: Scenario) -> bytes:
    """A resolved scenario as JSON with sorted keys: what its sha256 is taken of."""
    data = scenario.model_dump(mode="json")
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class _Loader:
    """Collects problems on the way. One use each."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._shape = scenario_shape()
        self._problems: list[Problem] = []
        self._spoilt: set[tuple[int, int]] = set()  # values that YAML itself has something against
        self._node_folders = resources.node_folders()

    @cached_property
    def _caching(self) -> frozenset[str]:
        return caching_kinds(self._node_folders)

    def load(self, text: str, overrides: Sequence[str], seed: int | None) -> list[Loaded]:
        document = parse(text, self._source)
        self._problems += document.problems
        self._spoilt = {(problem.line, problem.column) for problem in document.problems}
        root = document.root
        if not isinstance(root, Table):
            what = "a scenario is a mapping, with a `key: value` on each line, not a list or a single value"
            raise ScenarioError([*self._problems, _at(root.place, "", what)])
        refuse_other_kinds(text, list(root.entries), [*self._shape.fields, *LOADER_KEYS], self._source)
        entries = {key: entry for key, entry in root.entries.items() if key not in LOADER_KEYS}
        tree = normalise(Table(entries, root.place), self._shape)
        tree = self._with_defaults(tree, root.entries.get("defaults"))
        sets = self._parsed(overrides)
        axes = self._axes(tree, root.entries.get("matrix"), sets)
        loaded = [self._cell(tree, axes, cell, sets, seed) for cell in product(*(axis.values for axis in axes))]
        if self._problems:
            raise ScenarioError(_sorted(self._problems, self._source))
        return [each for each in loaded if each is not None]

    def _cell(
        self, tree: Node, axes: Sequence[_Axis], cell: Sequence[Node], sets: Sequence[_Override], seed: int | None
    ) -> Loaded | None:
        """One combination of the matrix; None where it has problems."""
        if len(self._problems) > MAX_PROBLEMS:
            return None
        for axis, value in zip(axes, cell, strict=True):
            tree = put(tree, axis.keys, value, self._shape)
        for override in sets:
            tree = self._overridden(tree, override)
        if seed is not None:
            tree = put(tree, ("seed",), Scalar(seed, Place("--seed", 0, 0, "seed")), self._shape)
        scenario = self._validated(tree)
        if scenario is None:
            return None
        values_of = {axis.path: plain(value) for axis, value in zip(axes, cell, strict=True)}
        digest = hashlib.sha256(canonical(scenario)).hexdigest()
        places = _gate_places(scenario, tree)
        return Loaded(scenario, self._source, values_of, _origins(scenario, tree), digest, places)

    def _validated(self, tree: Node) -> Scenario | None:
        try:
            scenario = Scenario.model_validate(plain(tree))
        except ValidationError as error:
            details = error.errors(include_url=False)[: 4 * MAX_PROBLEMS]
            for detail in details:
                self._add(from_error(detail, tree, self._shape))
            self._check_the_rest(tree, details)
            return None
        return scenario if self._sane(scenario, tree) else None

    def _sane(self, scenario: Scenario, tree: Node) -> bool:
        """Whether the cross-checks find nothing."""
        sane = True
        for finding in check(scenario, self._node_folders, self._caching if scenario.readers else ()):
            sane = False
            self._add(from_finding(finding, tree, self._shape))
            if len(self._problems) > MAX_PROBLEMS:
                break
        return sane

    def _check_the_rest(self, tree: Node, details: Sequence[ErrorDetails]) -> None:
        """Cross-check what is left without the keys that are wrong, so that a slip of the pen hides nothing else.

        Not where the number of nodes or the length of phases is in doubt: too much would follow from a guess.
        """
        rest = tree
        for detail in details:
            keys = keys_of(detail, tree, self._shape)
            if keys and keys[0] in ("topology", "phases"):
                return
            rest = without(rest, keys) if keys else rest
        try:
            scenario = Scenario.model_validate(plain(rest))
        except ValidationError:
            return
        self._sane(scenario, rest)

    def _add(self, problem: Problem | None) -> None:
        """Keep a problem, unless the same was said of the same place (of another cell, or through a default)."""
        if problem is None or (problem.file == self._source and (problem.line, problem.column) in self._spoilt):
            return
        if not any(_same(problem, known) for known in self._problems):
            self._problems.append(problem)

    def _with_defaults(self, tree: Node, entry: Entry | None) -> Node:
        if entry is None:
            return tree
        if not isinstance(entry.node, Table):
            what = f"takes a mapping with any of {', '.join(DEFAULTS)}"
            self._add(_at(entry.node.place, "defaults", what))
            return tree
        for name, default in entry.node.entries.items():
            if name not in DEFAULTS:
                what = f"unknown key; defaults are for {', '.join(DEFAULTS)}"
                self._add(_at(default.place, f"defaults.{printable(name)}", what, nearest(name, DEFAULTS)))
                continue
            items = self._shape.fields[name].shape
            if isinstance(items, Items) and self._sound(name, default.node, items):
                tree = _merged_into(tree, name, default.node, items)
        return tree

    def _sound(self, name: str, default: Node, items: Items) -> bool:
        """Whether the defaults for the entries of a list are a mapping of keys that some entry could have."""
        if not isinstance(default, Table):
            self._add(_at(default.place, f"defaults.{name}", f"takes a mapping of keys that entries of `{name}` have"))
            return False
        fields = items.item.fields if isinstance(items.item, Record | Choice) else {}
        unknown = {key: entry for key, entry in default.entries.items() if key not in fields}
        for key, entry in unknown.items():
            self._add(_at(entry.place, f"defaults.{name}.{printable(key)}", "unknown key", nearest(key, fields)))
        return not unknown

    def _parsed(self, overrides: Sequence[str]) -> list[_Override]:
        sets: list[_Override] = []
        for text in overrides:
            path, equals, value = text.partition("=")
            shown = f"--set {_clip(hide_word(text[:1000]))}"
            if not equals or not path.strip():
                self._add(Problem(shown, 0, 0, "", "write it as path=value, as in clients.readers.count=5"))
                continue
            if not value.strip():
                sets.append(_Override(shown, path.strip(), Scalar(None, Place(shown, 0, 0, "set"))))
                continue
            try:
                document = parse(value, shown, via="set")
            except ScenarioError as error:
                self._problems += error.problems
                continue
            self._problems += document.problems
            if not document.problems:
                sets.append(_Override(shown, path.strip(), document.root))
        return sets

    def _overridden(self, tree: Node, override: _Override) -> Node:
        try:
            keys, _ = resolve(override.path, tree, self._shape)
        except PathError as error:
            self._add(Problem(override.text, 0, 0, "", error.what, error.suggestion))
            return tree
        return put(tree, keys, override.value, self._shape)

    def _axes(self, tree: Node, entry: Entry | None, sets: Sequence[_Override]) -> list[_Axis]:
        """The matrix's axes but those that a --set decides; none where something is wrong with them."""
        if entry is None:
            return []
        if not isinstance(entry.node, Table) or not entry.node.entries:
            self._add(
                _at(entry.node.place, "matrix", "takes a mapping of paths to lists, as {topology.nodes.count: [2, 3]}")
            )
            return []
        found = [self._axis(tree, path, each) for path, each in entry.node.entries.items()]
        axes = [axis for axis in found if axis is not None]
        decided = [keys for keys in (_quietly(override.path, tree) for override in sets) if keys]
        axes = [axis for axis in axes if not any(axis.keys[: len(keys)] == keys for keys in decided)]
        cells = prod(len(axis.values) for axis in axes)
        if cells > MAX_CELLS:
            self._add(_at(entry.place, "matrix", f"{cells} combinations; at most {MAX_CELLS} can be run together"))
            return []
        if cells > 1 and (written := cells * size(tree)) > MAX_MATRIX_VALUES:
            what = f"{cells} combinations of so large a scenario are {written:,} values; at most {MAX_MATRIX_VALUES:,}"
            self._add(_at(entry.place, "matrix", what))
            return []
        return axes

    def _axis(self, tree: Node, path: str, entry: Entry) -> _Axis | None:
        try:
            keys, _ = resolve(path, tree, self._shape)
        except PathError as error:
            self._add(_at(entry.place, f"matrix.{printable(path)}", error.what, error.suggestion))
            return None
        if not isinstance(entry.node, Listing) or not entry.node.items:
            self._add(_at(entry.node.place, f"matrix.{printable(path)}", "takes a list of values to try, as [2, 3]"))
            return None
        return _Axis(path, keys, tuple(_via_matrix(item) for item in entry.node.items))


def _quietly(path: str, tree: Node) -> Keys | None:
    """The keys of a --set's path, None where it has none: that is reported when it is applied."""
    try:
        return resolve(path, tree, scenario_shape())[0]
    except PathError:
        return None


def _merged_into(tree: Node, name: str, default: Node, items: Items) -> Node:
    """The tree with a list's entries completed by their defaults."""
    if not isinstance(tree, Table) or name not in tree.entries:
        return tree
    entry = tree.entries[name]
    if not isinstance(entry.node, Listing):
        return tree
    written = normalise(default, items.item)
    full = tuple(merged(item, written, items.item) for item in entry.node.items)
    listing = Listing(full, entry.node.place, lone=entry.node.lone)
    return Table({**tree.entries, name: Entry(entry.place, listing)}, tree.place)


def _via_matrix(node: Node) -> Node:
    """The same value, known to come from the matrix."""
    place = Place(node.place.source, node.place.line, node.place.column, "matrix")
    match node:
        case Scalar(value=value):
            return Scalar(value, place)
        case Listing(items=items, lone=lone):
            return Listing(tuple(_via_matrix(item) for item in items), place, lone)
        case Table(entries=entries, short=short):
            return Table(
                {key: Entry(each.place, _via_matrix(each.node)) for key, each in entries.items()}, place, short
            )


def _origins(scenario: Scenario, tree: Node) -> dict[str, Origin]:
    found: dict[str, Origin] = {}
    for value in values(scenario):
        node, _, written = find(tree, value.keys)
        found[value.path] = _origin(node.place) if written else Origin("default")
    return found


def _gate_places(scenario: Scenario, tree: Node) -> tuple[Origin, ...]:
    return tuple(_origin(find(tree, ("gates", index))[0].place) for index in range(len(scenario.gates)))


def _origin(place: Place) -> Origin:
    kind = _ORIGINS[place.via]
    return Origin(kind, place.source, place.line) if place.line else Origin(kind)


def _at(place: Place, path: str, what: str, suggestion: str | None = None) -> Problem:
    return Problem(place.source, place.line, place.column, path, what, suggestion)


def _same(one: Problem, two: Problem) -> bool:
    """Whether two problems are one: equal, or of one place in a file and in the same words."""
    where = (one.file, one.line, one.column, one.what) == (two.file, two.line, two.column, two.what)
    return where and (
        one.path == two.path or (one.line > 0 and one.path.rpartition(".")[2] == two.path.rpartition(".")[2])
    )


def _sorted(problems: Sequence[Problem], source: str) -> list[Problem]:
    """In the order of the file, what the command line says after it; no more than anyone would read."""
    ordered = sorted(problems, key=lambda each: (each.file != source, each.line, each.column))
    if len(ordered) > MAX_PROBLEMS:
        rest = len(ordered) - MAX_PROBLEMS
        ordered = [*ordered[:MAX_PROBLEMS], Problem(source, 0, 0, "", f"… and at least {rest} more")]
    return ordered


def _clip(text: str, limit: int = 60) -> str:
    shown = repr(text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
