"""A Compose file's text: YAML with lists in a line, an author's texts in quotes, and anchors for what is shared."""

from collections.abc import Mapping
from typing import Any

import yaml


class Quoted(str):
    """A text that is never taken for a number or a truth value, whichever YAML it is read by."""

    __slots__ = ()


def escaped(text: str) -> str:
    """The text as it is: Compose takes a lone $ for the beginning of a variable."""
    return text.replace("$", "$$")


def default(variable: str, value: str) -> str:
    """What the environment says, else `value`, which may hold variables itself."""
    return f"${{{variable}:-{value}}}"


def dump(data: Mapping[str, Any]) -> str:
    """The mapping as YAML, in its order, ending in a line break."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=2**31, allow_unicode=True, default_flow_style=False)


def anchored(name: str, comment: str, body: Mapping[str, Any]) -> str:
    """What several services have in common, for `service` to name."""
    return f"# {comment}\nx-{name}: &{name}\n{_indented(dump(body), 2)}"


def service(name: str, body: Mapping[str, Any], *anchors: str) -> str:
    """One of `services:`, with all that the anchors stand for and what is its own."""
    merged = ", ".join(f"*{anchor}" for anchor in anchors)
    merged = merged if len(anchors) == 1 else f"[{merged}]"
    return f"  {name}:\n    <<: {merged}\n{_indented(dump(body), 4)}"


def _indented(text: str, by: int) -> str:
    return "".join(" " * by + line for line in text.splitlines(keepends=True))


class _Dumper(yaml.SafeDumper):
    """Lists of texts in a line, all else in lines."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - anchors are made by `anchored` alone
        return True


def _list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    in_a_line = all(isinstance(each, str) for each in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=in_a_line)


def _quoted(dumper: yaml.SafeDumper, data: Quoted) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(data), style='"')


_Dumper.add_representer(list, _list)
_Dumper.add_representer(Quoted, _quoted)
