"""What the docs say about the code is made from the code, or checked against it."""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = "<!-- modules -->\n"
WHATS_HERE = ROOT / "docs" / "whats-here.md"
PROSE = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "nodes" / "PROTOCOL.md",
]


def first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def module_tables() -> str:
    folders: dict[str, list[Path]] = {}
    for root in (ROOT / "src" / "fanlab", ROOT / "nodes"):
        for path in sorted(root.rglob("*.py")):
            alone = len(list(path.parent.glob("*.py"))) == 1  # a row in the table of the folder above, not a table
            folder = path.parent.parent if alone else path.parent
            folders.setdefault(str(folder.relative_to(ROOT)), []).append(path)
    lines: list[str] = []
    for folder, paths in folders.items():
        package = [path for path in paths if path.name == "__init__.py"]
        lines += [f"## {folder}", ""]
        lines += [line for path in package for line in (first_sentence(path), "")]
        modules = [path for path in paths if path not in package]
        if modules:
            lines += ["| module | what it is for |", "| --- | --- |"]
            lines += [
                f"| `{path.relative_to(ROOT / folder)}` | {first_sentence(path).replace('|', chr(92) + '|')} |"
                for path in modules
            ]
            lines.append("")
    return "\n".join(lines)


def test_the_map_of_the_code_is_current() -> None:
    text = WHATS_HERE.read_text(encoding="utf-8")
    made = text[: text.index(MARK) + len(MARK)] + "\n" + module_tables()
    if os.environ.get("FANLAB_RENEW_GOLDEN") == "1":
        WHATS_HERE.write_text(made, encoding="utf-8")
    assert WHATS_HERE.read_text(encoding="utf-8") == made


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_in_the_docs_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_verb_in_the_docs_exists(path: Path) -> None:
    from fanlab.cli import cli

    text = path.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))
    for verb in re.findall(r"(?m)(?:^|; |bin/)fanlab ([a-z]+)\b", code):
        assert verb in cli.commands, f"{path.name} names `fanlab {verb}`"


def test_every_scenario_opens_with_its_question_and_the_answer_expected() -> None:
    for path in sorted((ROOT / "scenarios").glob("*.yaml")):
        header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert "?" in header[0], path.name
        assert any(line.startswith("# Expected:") for line in header), path.name
