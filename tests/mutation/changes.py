"""Mutants: a source file with one small change each, by the operators of mutmut, and decision tables short of a row.

mutmut's own way is to put all mutants of a function into one file and to pick one at each call; so it leaves alone what
runs at import or behind a decorator: decision tables and properties. Here a mutant is a whole file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import file_mutation
from mutmut.mutation.file_mutation import create_mutations

LEFT_OUT: Final = frozenset({"operator_arg_removal", "operator_string"})
# Decorated functions are passed over, so that properties are made plain for as long as mutants are made of them.
_HIDDEN: Final = {"@property\n": "# hidden: property\n", "@cached_property\n": "# hidden: cached_property\n"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file with one change. It is told apart by the change's text: numbers would move with every edit."""

    file: Path
    place: str  # `fanlab.ledger.fold.Fold.add`; the module, for what stands outside functions
    change: str  # `old → new`
    code: str
    lines: tuple[int, int] | None  # of the function, first and last; None: outside functions


def leave_operators_out() -> None:
    """From here on mutants are made without those of LEFT_OUT."""
    kept = [pair for pair in file_mutation.mutation_operators if pair[1].__name__ not in LEFT_OUT]
    file_mutation.mutation_operators[:] = kept


def mutants(file: Path, module_name: str) -> Iterator[Mutant]:
    """All of a file's mutants, in the order in which they stand."""
    source = file.read_text(encoding="utf-8")
    hidden = source
    for shown, instead in _HIDDEN.items():
        hidden = hidden.replace(shown, instead)
    module, mutations, _, _ = create_mutations(str(file), hidden)
    functions = _functions(module)
    tables = _tables(module)
    lambdas = {below for table in tables for lam in _below(table, cst.Lambda) for below in _below(lam, cst.CSTNode)}
    changes: list[tuple[cst.CSTNode, cst.CSTNode, cst.CSTNode | None]] = []
    for one in mutations:
        owner = one.contained_by_top_level_function
        if owner in functions or one.original_node in lambdas:
            changes.append((one.original_node, one.mutated_node, owner if owner in functions else None))
    changes += [(table, without, None) for table in tables for without in _without_a_row(table)]
    for old, new, owner in changes:
        code = module.deep_replace(old, new).code
        for shown, instead in _HIDDEN.items():
            code = code.replace(instead, shown)
        name, lines = functions[owner] if owner is not None else ("", None)
        place = f"{module_name}.{name}" if name else module_name
        yield Mutant(file, place, _change(source.split("\n"), code.split("\n")), code, lines)


def _functions(module: cst.Module) -> dict[cst.CSTNode, tuple[str, tuple[int, int]]]:
    """Functions and methods, with their names and lines."""
    places = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    found: dict[cst.CSTNode, tuple[str, tuple[int, int]]] = {}

    def look(body: Sequence[cst.CSTNode], prefix: str) -> None:
        for node in body:
            if isinstance(node, cst.FunctionDef):
                span = places[node]
                found[node] = f"{prefix}{node.name.value}", (span.start.line, span.end.line)
            elif isinstance(node, cst.ClassDef):
                look(node.body.body, f"{prefix}{node.name.value}.")

    look(module.body, "")
    return found


def _tables(module: cst.Module) -> list[cst.Tuple]:
    """The module's own tuples of nothing but calls that are given a lambda: the rows of a decision table."""
    statements = [line for line in module.body if isinstance(line, cst.SimpleStatementLine)]
    tuples = [one for statement in statements for one in _below(statement, cst.Tuple) if isinstance(one, cst.Tuple)]
    return [one for one in tuples if one.elements and all(_is_row(element.value) for element in one.elements)]


def _is_row(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and any(isinstance(argument.value, cst.Lambda) for argument in node.args)


def _without_a_row(table: cst.Tuple) -> Iterator[cst.Tuple]:
    for index in range(len(table.elements)):
        yield table.with_changes(elements=[*table.elements[:index], *table.elements[index + 1 :]])


def _below(top: cst.CSTNode, kind: type[cst.CSTNode]) -> list[cst.CSTNode]:
    found = [top] if isinstance(top, kind) else []
    return found + [one for child in top.children for one in _below(child, kind)]


def _change(old: Sequence[str], new: Sequence[str]) -> str:
    """`old → new`, of the lines that differ."""
    pairs = enumerate(zip(old, new, strict=False))
    start = next(index for index, (before, after) in pairs if before != after)
    pairs = enumerate(zip(reversed(old[start:]), reversed(new[start:]), strict=False))
    same = next((index for index, (before, after) in pairs if before != after), min(len(old), len(new)) - start)
    parts = (old[start : len(old) - same], new[start : len(new) - same])
    before, after = (" ".join(line.strip() for line in part) for part in parts)
    return f"{before} → {after}"
