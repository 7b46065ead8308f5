"""Mutants that mutmut does not make: of decision tables, properties, and what runs at import.

mutmut puts all mutants of a function into one file and picks one of them at each call. What runs at import, or behind
a decorator, it leaves alone. Here each such mutant is a file of its own, put in the place of the real one in a copy of
the project; then the tests run in a process of their own.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import libcst as cst
from mutmut.mutation.file_mutation import Mutation, create_mutations

DEADLINE_S: Final = 300.0
COPIED: Final = ("src", "tests", "nodes", "scenarios", "docs")
# Decorated functions are passed over, so that properties are made plain for as long as mutants are made of them.
_HIDDEN: Final = {"@property\n": "# hidden: property\n", "@cached_property\n": "# hidden: cached_property\n"}


@dataclass(frozen=True, slots=True)
class Variant:
    """A whole file with one change."""

    file: Path  # from the project's folder
    change: str  # `old → new`
    code: str

    @property
    def place(self) -> str:
        """`fanlab.ledger.causes`: such a change is told apart by its text, not by a function."""
        return ".".join(self.file.with_suffix("").parts[1:])


def variants(file: Path, at_import: frozenset[str] = frozenset()) -> Iterator[Variant]:
    """A file's mutants in decision tables, in properties, and in functions that run `at_import`."""
    source = file.read_text(encoding="utf-8")
    for shown, hidden in _HIDDEN.items():
        source = source.replace(shown, hidden)
    module, mutations, _, _ = create_mutations(str(file), source)
    tables = _tables(module)
    lambdas = {lam for table in tables for lam in _below(table, cst.Lambda)}
    ours = [(one.original_node, one.mutated_node) for one in mutations if _ours(one, lambdas, at_import)]
    ours += [(table, without) for table in tables for without in _without_a_row(table)]
    for old, new in ours:
        code = module.deep_replace(old, new).code
        change = _change(source.split("\n"), code.split("\n"))
        for shown, hidden in _HIDDEN.items():
            code = code.replace(hidden, shown)
        yield Variant(file, change, code)


def survivors(all_of_them: Sequence[Variant], project: Path, tests: Sequence[str], jobs: int) -> list[Variant]:
    """Those that no test notices. `project` is copied `jobs` times, below itself; RuntimeError if a copy is unwell."""
    free: SimpleQueue[Path] = SimpleQueue()
    for number in range(jobs):
        copy = _copy(project, project / "mutants" / f"outside-{number}")
        if not _passes(copy, tests):
            raise RuntimeError(f"without any mutant, too, the tests fail in {copy}")
        free.put(copy)

    def survives(variant: Variant) -> bool:
        copy = free.get()
        try:
            return _survives(variant, copy, tests)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(jobs) as pool:
        return [one for one, alive in zip(all_of_them, pool.map(survives, all_of_them), strict=True) if alive]


def _survives(variant: Variant, copy: Path, tests: Sequence[str]) -> bool:
    target = copy / variant.file
    good = target.read_bytes()
    target.write_text(variant.code, encoding="utf-8")
    try:
        return _passes(copy, tests)
    finally:
        target.write_bytes(good)


def _passes(copy: Path, tests: Sequence[str]) -> bool:
    """Whether all tests pass there, in time; `fanlab` is the one in the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    argv = [sys.executable, "-B", "-m", "pytest", "-q", "-x", *tests]
    try:
        return (
            subprocess.run(
                argv, cwd=copy, env=environment, capture_output=True, timeout=DEADLINE_S, check=False
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _copy(project: Path, to: Path) -> Path:
    for name in COPIED:
        if (project / name).is_dir():
            shutil.copytree(project / name, to / name, dirs_exist_ok=True)
    shutil.copy(project / "pyproject.toml", to)
    return to


def _ours(mutation: Mutation, lambdas: set[cst.CSTNode], at_import: frozenset[str]) -> bool:
    owner = mutation.contained_by_top_level_function
    if isinstance(owner, cst.FunctionDef):
        comments = [line.comment.value for line in owner.leading_lines if line.comment is not None]
        return owner.name.value in at_import or any(comment.startswith("# hidden:") for comment in comments)
    return any(mutation.original_node in _below(one, cst.CSTNode) for one in lambdas)


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
