"""What a YAML parser's complaint means to somebody who wrote a scenario."""

import yaml

_SENTENCES = (
    ("mapping values are not allowed", "a second ': ' in one value; put the value in quotes, or mend the indentation"),
    ("could not find expected ':'", "a key lacks its ': ' before this point"),
    ("did not find expected key", "this line does not fit the block that begins at line {line}; mend its indentation"),
    ("expected <block end>", "this line does not fit the block that begins at line {line}; mend its indentation"),
    (
        "did not find expected '-' indicator",
        "this line does not fit the list that begins at line {line}; mend its indentation",
    ),
    ("expected ',' or ']'", "the '[' at line {line}, column {column} is not closed by a ']' before this point"),
    ("expected ',' or '}'", "the '{{' at line {line}, column {column} is not closed by a '}}' before this point"),
    ("did not find expected node content", "a value is missing here"),
    ("expected the node content", "a value is missing here"),
    ("unexpected end of stream", "the quote opened at line {line}, column {column} is never closed"),
    (
        "unknown escape character",
        "this escape means nothing in double quotes; use single quotes, or double the backslash",
    ),
    ("found undefined tag handle", "a tag means nothing here; write the plain value"),
    ("found duplicate anchor", "this anchor is set twice"),
)


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """Line and column (from 1) of a syntax error, and what to do about it in a sentence."""
    mark = error.problem_mark or error.context_mark
    line, column = min((mark.line, mark.column), _end(text)) if mark else (0, 0)
    problem = error.problem or "unreadable"
    if "cannot start any token" in problem:
        return line + 1, column + 1, _cannot_start(text, line, column)
    began = error.context_mark or mark
    place = {"line": began.line + 1, "column": began.column + 1} if began else {"line": 1, "column": 1}
    for fragment, sentence in _SENTENCES:
        if fragment in problem:
            return line + 1, column + 1, sentence.format(**place)
    return line + 1, column + 1, f"not valid YAML: {problem}"


def _end(text: str) -> tuple[int, int]:
    """Line and column (from 0) behind the last character: where a parser misses something, it may look further on."""
    lines = f"{text}|".splitlines()
    return len(lines) - 1, len(lines[-1]) - 1


def _cannot_start(text: str, line: int, column: int) -> str:
    lines = text.splitlines()
    character = lines[line][column : column + 1] if line < len(lines) else ""
    if character == "\t":
        return "a tab indents this line; YAML wants spaces"
    return f"a value cannot begin with {character!r}; put it in quotes"
