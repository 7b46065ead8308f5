"""The verdict, the answer and the key figures of a run, in words, for every format. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanlab.analysis.latency import is_blurred
from fanlab.report import text, words

Tone = Literal["good", "bad", "warn"]
_HEADLINES: Final[dict[str, tuple[Tone, str]]] = {
    "pass": ("good", "Pass"),
    "fail": ("bad", "Fail"),
    "invalid": ("warn", "Invalid"),
}
_HOLDS = "every gate holds and the measurement is valid"
_BESIDE: Final = ("duplicated", "reordered", "unexpected", "disagreed", "corrupted")  # what the identity does not count
_UNGATED = "the measurement is valid; no gate was asked for"
_SIMULATED = "simulated: nothing was measured"
_INVALID = "the measurement cannot be trusted, so it says nothing about the system, good or bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What stands at the top. `partial` is a sentence for an aborted run, else empty."""

    word: str
    tone: Tone
    line: str
    reasons: tuple[str, ...]
    partial: str


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One large figure with its name and what it is of."""

    label: str
    value: str
    note: str
    tone: Literal["", "good", "bad"] = ""


def verdict(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Verdict:
    """The verdict with its reasons. That nothing was measured stands in the word, which titles have as well."""
    tone, word = _HEADLINES.get(summary["verdict"], ("warn", text.clean(summary["verdict"], 20).capitalize()))
    gates = summary["gates"]
    failed = sum(not gate["ok"] for gate in gates)
    some_failed = f"{failed} of {len(gates)} gates failed" if failed else ""
    line = {
        "pass": _HOLDS if gates else _UNGATED,
        "fail": some_failed or "the measurement is valid and the system failed",
        "invalid": _INVALID,
    }.get(summary["verdict"], "")
    if summary["backend"] == "simulate":
        word += " (simulated)"
        held = {"pass": "every gate holds" if gates else "no gate was asked for", "fail": some_failed}
        line = "; ".join(filter(None, (_SIMULATED, held.get(summary["verdict"]))))
    return Verdict(word, tone, line, tuple(text.clean(r, 400) for r in summary["reasons"]), _partial(summary, manifest))


def name(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The scenario's name, with the values of its matrix cell if it is one of several."""
    cell = ", ".join(f"{path}={value}" for path, value in (manifest.get("matrix_cell") or {}).items())
    return text.clean(f"{summary['scenario']} ({cell})" if cell else summary["scenario"], 200)


def question(manifest: Mapping[str, Any]) -> str:
    """What the scenario asks."""
    return text.clean(manifest["scenario"].get("question") or "", 500)


def expectation(manifest: Mapping[str, Any]) -> str:
    """What its author expects."""
    return text.clean(manifest["scenario"].get("expect") or "", 2000)


def answer(summary: Mapping[str, Any]) -> str:
    """What happened, with figures, in a few plain sentences."""
    ledger = summary["ledger"]
    owed, lost, unsure = ledger["owed"], ledger["lost"], ledger["indeterminate"]
    arrived, published = text.count(ledger["delivered"]), text.count(ledger["published"])
    if not owed:
        return f"Nothing was owed to any client, so nothing could be lost; n = {published} messages published."
    if lost:
        sentences = [*_loss_words(summary), f"{arrived} arrived{_latency_words(summary)}."]
    else:
        sentences = [
            f"Nothing was lost: {arrived} of {text.count(owed)} deliveries owed arrived{_latency_words(summary)}."
        ]
    wrong = [f"{text.count(ledger[key])} {key}" for key in _BESIDE if ledger[key]]
    if wrong:
        sentences.append(f"Beside that: {text.listing(wrong)}.")
    if unsure:
        sentences.append(f"Of {text.count(unsure)} nobody can tell whether they were published.")
    recovery = summary["recovery_ms"]
    hit, never = text.count(recovery["clients"]), recovery["never_back"]
    if never:
        sentences.append(f"{text.count(never)} of {hit} clients hit by faults never came back.")
    elif recovery["clients"]:
        sentences.append(f"All {hit} clients hit by faults were back after {text.ms(recovery['all_back'])}.")
    return " ".join(sentences)


def _loss_words(summary: Mapping[str, Any]) -> list[str]:
    ledger, loss = summary["ledger"], summary["loss"]
    nodes = [text.clean(node, 40) for node, n in loss["by_node"].items() if n]
    everywhere = len(nodes) == len(loss["by_node"]) > 1
    of = f"on {len(nodes)} nodes" if everywhere or len(nodes) > 3 else f"all on {text.listing(nodes)}"  # noqa: PLR2004
    lost, owed = text.count(ledger["lost"]), text.count(ledger["owed"])
    known = {cause: n for cause, n in loss["by_cause"].items() if n and cause != "unexplained"}
    causes = [f"{text.label(cause)} {text.count(n)}" for cause, n in sorted(known.items(), key=lambda item: -item[1])]
    hops = [f"{words.hop(hop)} {text.count(n)}" for hop, n in sorted(loss["by_hop"].items(), key=lambda i: -i[1]) if n]
    unexplained = loss["unexplained"]
    end = f"{text.count(unexplained)} without an explanation" if unexplained else "every loss is explained"
    outside = loss["outside_faults"] - unexplained
    end += f", {text.count(outside)} by no fault of the scenario." if outside and loss["by_fault"] else "."
    return [
        f"{lost} of {owed} deliveries owed were lost ({text.ratio(loss['ratio'])}), {of}.",
        f"Where: {text.listing(hops)}.",
        f"Why: {text.listing(causes)}; {end}" if causes else f"Why: {end}",
    ]


def _why_missing(latency: Mapping[str, Any], name: str) -> str:
    if latency[name] is not None:
        return ""
    return "not above what clocks differ by, " if is_blurred(latency, name) else "too few samples, "


def key_figures(summary: Mapping[str, Any]) -> list[KeyFigure]:
    """Four of the account, four of time; each with its n."""
    ledger, latency = summary["ledger"], summary["latency_ms"]
    owed, lost, unsure = ledger["owed"], ledger["lost"], ledger["indeterminate"]
    arrived = text.ratio(ledger["delivered"] / owed) if owed else text.NONE
    n = f"n = {text.count(latency['n'])}, clock {words.clock_bound(summary['clock'])}"
    return [
        KeyFigure("Owed", text.count(owed), f"from {text.count(ledger['published'])} messages published"),
        KeyFigure("Delivered", text.count(ledger["delivered"]), f"{arrived} of those owed"),
        KeyFigure("Lost", text.count(lost), f"{text.ratio(summary['loss']['ratio'])} of those owed", _tone(lost)),
        KeyFigure("Indeterminate", text.count(unsure), "published or not, nobody can tell"),
        *(
            KeyFigure(name, text.ms(latency[key]), f"{_why_missing(latency, key)}{n}")
            for key, name in (("p50", "Latency p50"), ("p99", "Latency p99"), ("max", "Slowest"))
        ),
        _recovery_figure(summary),
        *_cache_figures(summary["cache"]),
        *(
            KeyFigure(key.capitalize(), text.count(ledger[key]), "deliveries beside those owed", "bad")
            for key in _BESIDE
            if ledger[key]
        ),
    ]


def _cache_figures(cache: Mapping[str, Any] | None) -> list[KeyFigure]:
    """What the nodes' caches came to, where they have any."""
    if cache is None:
        return []
    wrong, stale = cache["wrong_for_good"], cache["stale_reads"]
    missed = f"{text.count(cache['missed'])} of {text.count(cache['owed'])} refreshes missed"
    reads = f"{text.ratio(cache['stale_ratio'])} of {text.count(cache['reads'])} reads"
    return [
        KeyFigure("Wrong for good", text.count(wrong), f"cache entries; {missed}", _tone(wrong)),
        KeyFigure("Stale reads", text.count(stale), reads, _tone(stale)),
    ]


def _recovery_figure(summary: Mapping[str, Any]) -> KeyFigure:
    recovery = summary["recovery_ms"]
    hit, never = recovery["clients"], recovery["never_back"]
    if not hit:
        return KeyFigure("Recovery", text.NONE, "no client lost its connection to a fault")
    n = f"n = {text.count(hit)} clients hit"
    if never:
        return KeyFigure("Never back", text.count(never), n, "bad")
    return KeyFigure("All back after", text.ms(recovery["all_back"]), n)


def _tone(bad: int) -> Literal["good", "bad"]:
    return "bad" if bad else "good"


def _latency_words(summary: Mapping[str, Any]) -> str:
    latency = summary["latency_ms"]
    shares = [(share, latency[key]) for key, share in (("p50", "half"), ("p99", "99 %")) if latency[key] is not None]
    told = text.listing([f"{share} within {text.ms(value)}" for share, value in shares])
    apart = words.clock_if_apart(summary["clock"]).removeprefix(" · ")
    return (f", {told}" + (f" ({apart})" if apart else "")) if shares else ""


def _partial(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    status = manifest.get("status", "unknown")
    if not summary.get("partial") and status == "complete":
        return ""
    until = (summary.get("evidence") or {}).get("complete_until_s")
    upto = f" Its journals are complete up to {text.seconds(until)}." if text.is_number(until) else ""
    ended = f"This run did not end in order (status: {text.clean(status, 40)})"
    if status == "stopped":
        ended = "A gate stopped this run before its end"
    return f"{ended}; the figures cover what its journals hold.{upto}"
