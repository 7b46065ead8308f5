"""The warden: the one process that starts, watches and ends every process of a run, so that nothing outlives it.

It is the parent of all of them, in a session of its own, and talks with the harness over a socketpair. When the
harness's end closes, for whatever reason, SIGKILL included, the warden ends the whole tree and then itself:

    harness ──socketpair── warden ──┬── redis-server
                                    ├── node-1 ── whatever it forks
                                    └── ...

Descendants that daemonise themselves are reparented to the warden (PR_SET_CHILD_SUBREAPER), and found in /proc. If the
warden itself is killed, the kernel kills its direct children (PR_SET_PDEATHSIG), and the harness, or `fanlab sweep`,
ends whatever else bears the run's mark: FANLAB_RUN and FANLAB_OWNER in its environment, which each child is given here.
All of that is Linux; elsewhere each child and its process group are ended, and what leaves its group is not found.

Protocol: JSON objects, one a line. Requests carry `id` and `op`, replies the same `id`; exits are told unasked.

    spawn {name, argv, shown, env, cwd, log, groups}
                                       ->  {pid}         the child leads a process group; it appends to `log`, which
                                                         begins with `shown`: its argv without secrets. It, and all that
                                                         it starts, is in the cgroups whose folders `groups` names
    signal {name, signum}              ->  {}            to the child's whole group
    own {path}                         ->  {}            a folder to remove when every process is gone
    at_end {argv, env}                 ->  {}            a command to run then, before that; last told, first run
    detach {}                          ->  {}            from here on EOF means nothing, and SIGTERM means shutdown
                                                         (SIGUSR1 always does)
    shutdown {grace_s}                 ->  (no reply)    the socket closes when every process is gone
    a request that failed              ->  {error: {what, errno, strerror, filename}}
    an exit                            ->  {exit: name, pid, status}  status < 0: the signal that ended it

Stand-alone on purpose: it imports nothing but the standard library and is started by its path, isolated, which takes
some 40 ms. One thread, which is what makes fork, PR_SET_PDEATHSIG and waiting for any child safe.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER: Final = 36
EOF_GRACE_S: Final = 1.0  # between SIGTERM and SIGKILL when the harness has died
DETACHED_GRACE_S: Final = 3.0
ROUND_S: Final = 0.05  # between two rounds of ending what is left
AT_END_S: Final = 30.0  # for each command at the end
ENDED_WITHIN_S: Final = DETACHED_GRACE_S + AT_END_S + 7.0  # from being told to end, where there is one such command
MAX_OPEN_FILES: Final = 65_536  # enough for any node here; some programs walk through all numbers up to their limit
READ_BYTES: Final = 1 << 16
RUN_VARIABLE: Final = "FANLAB_RUN"  # the run's id; the warden is given it, and passes it on
OWNER_VARIABLE: Final = "FANLAB_OWNER"  # as `identity` writes it: the warden


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What /proc/<pid>/stat says. `start_ticks` (since boot) tells a process from a later one with its pid."""

    pid: int
    state: str
    parent: int
    session: int
    start_ticks: int


def read_stat(pid: int) -> ProcessStat | None:
    """The process's entry, or None if there is no such process (or no /proc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command's name, in parentheses, may hold anything
    return ProcessStat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def identity(pid: int) -> str:
    """`<pid>:<start ticks>:<boot id>:<pid namespace>@<host>`: a process, and no other one of any boot or machine.

    A process that is not there has 0 ticks; what a system does not tell is empty.
    """
    stat, boot_id, namespace = read_stat(pid), "", ""
    with contextlib.suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink(f"/proc/{pid}/ns/pid").strip("pid:[]")  # noqa: PTH115 - a name, and no path
    return f"{pid}:{0 if stat is None else stat.start_ticks}:{boot_id}:{namespace}@{os.uname().nodename}"


def descendants(root: int) -> list[int]:
    """All processes below `root`, zombies left out. Empty where there is no /proc."""
    children: dict[int, list[ProcessStat]] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/proc"):  # noqa: PTH208 - no Path per process
            if name.isdecimal() and (stat := read_stat(int(name))):
                children.setdefault(stat.parent, []).append(stat)
    found: list[int] = []
    queue = [root]
    while queue:
        for stat in children.get(queue.pop(), ()):
            queue.append(stat.pid)
            if stat.state not in "ZX":
                found.append(stat.pid)
    return found


class Warden:
    """Owns the children; `serve` is its life."""

    def __init__(self, control: socket.socket, libc: ctypes.CDLL | None) -> None:
        self._control: socket.socket | None = control
        self._libc = libc
        self._own_pid = os.getpid()
        self._marks = {RUN_VARIABLE: os.environ.get(RUN_VARIABLE, ""), OWNER_VARIABLE: identity(self._own_pid)}
        self._buffer = b""
        self._pids: dict[str, int] = {}
        self._folders: list[str] = []
        self._at_end: list[tuple[list[str], dict[str, str]]] = []
        self._detached = False
        self._term = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._wakeup = _wakeup_socket(self._on_term, self._on_end)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._ops: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "spawn": self._spawn,
            "signal": self._signal,
            "own": self._own,
            "at_end": self._later,
            "detach": self._detach,
        }

    def serve(self) -> None:
        """Obey until told to shut down or left alone; returns when no process is left."""
        self._send({"ready": self._own_pid, "owner": self._marks[OWNER_VARIABLE]})
        grace_s = None
        while grace_s is None:
            self._selector.select()
            self._drain_wakeup()
            self._reap()
            grace_s = self._read()
            if grace_s is None and self._detached and self._term:
                grace_s = DETACHED_GRACE_S
        self._end_all(grace_s)
        run_at_end(self._at_end)
        remove_folders(self._folders)

    # Commands

    def _read(self) -> float | None:
        """Handle what has been asked; returns a grace in seconds if it is time to end."""
        if self._control is None:
            return None
        try:
            data = self._control.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return self._left_alone()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["op"] == "shutdown":
                return float(request["grace_s"])
            self._answer(request)
        return None if self._control else self._left_alone()

    def _left_alone(self) -> float | None:
        if self._control is not None:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None
        return None if self._detached else EOF_GRACE_S

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            reply = self._ops[request["op"]](request)
        except StepError as error:
            reply = {"error": error.told()}
        self._send({"id": request["id"], **reply})

    def _spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        name, argv = str(request["name"]), list(request["argv"])
        if name in self._pids:
            raise StepError("name", OSError(errno.EEXIST, "a process of this name runs", name))
        with _step("log"):
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        groups: list[int] = []
        try:
            with _step("cgroup"):
                groups.extend(os.open(f"{at}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for at in request["groups"])
            with _step("log"):  # also the cheapest way to learn now, and not from a mute node, that the disk is full
                shown = shlex.join(request["shown"])
                os.write(log, f"--- fanlab starts {name}: {shown}\n".encode(errors="backslashreplace"))
            with _step("exec"):
                process = subprocess.Popen(
                    argv,
                    env={**request["env"], **self._marks},
                    cwd=request["cwd"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,
                    preexec_fn=(lambda: self._in_child(groups)) if self._libc else None,  # noqa: PLW1509 - one thread
                )
        except subprocess.SubprocessError as error:  # all that it says of an error in the child before it is executed
            raise StepError("cgroup", OSError(errno.EPERM, str(error), ", ".join(request["groups"]))) from error
        finally:
            for fd in (log, *groups):
                os.close(fd)
        process.returncode = 0  # tells Popen to leave the waiting to _reap
        self._pids[name] = process.pid
        return {"pid": process.pid}

    def _in_child(self, groups: Sequence[int]) -> None:
        """Runs in the child between fork and exec: what it starts is where it is. Raises OSError."""
        if self._libc is not None:
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._own_pid:  # it died before the line above
            os._exit(1)
        for group in groups:
            os.write(group, b"0")  # whoever writes it

    def _signal(self, request: dict[str, Any]) -> dict[str, Any]:
        pid = self._pids.get(request["name"])
        if pid is None:
            raise StepError("signal", OSError(errno.ESRCH, "it runs no more", request["name"]))
        with _step("signal"):
            os.killpg(pid, request["signum"])  # not reaped yet, so this is no one else's pid
        return {}

    def _own(self, request: dict[str, Any]) -> dict[str, Any]:
        self._folders.append(str(request["path"]))
        return {}

    def _later(self, request: dict[str, Any]) -> dict[str, Any]:
        self._at_end.append((list(request["argv"]), {**request["env"], **self._marks}))
        return {}

    def _detach(self, _request: dict[str, Any]) -> dict[str, Any]:
        self._detached = True
        self._term = False
        return {}

    # Exits

    def _reap(self) -> bool:
        """Collect whoever has ended and tell it; False if there is no child at all."""
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            for name in [name for name, of in self._pids.items() if of == pid]:
                del self._pids[name]
                # What a unit leaves behind in its group goes with it, as in a container whose first process ends.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                self._send({"exit": name, "pid": pid, "status": os.waitstatus_to_exitcode(wait_status)})

    def _end_all(self, grace_s: float) -> None:
        """SIGTERM once to everyone, SIGKILL again and again after the grace, until no child is left."""
        deadline = time.monotonic() + grace_s
        asked: set[int] = set()
        while self._reap():
            alive = descendants(self._own_pid) or list(self._pids.values())
            if time.monotonic() >= deadline:
                _kill(alive, signal.SIGKILL)
            else:
                new = [pid for pid in alive if pid not in asked]
                _kill(new, signal.SIGTERM)
                _kill(new, signal.SIGCONT)  # one that is stopped must run to end
                asked.update(new)
            self._selector_wait()

    def _selector_wait(self) -> None:
        """Until a child ends, at most a round. The control socket has nothing more to say."""
        if self._control is not None and self._control in self._selector.get_map():
            self._selector.unregister(self._control)
        self._selector.select(ROUND_S)
        self._drain_wakeup()

    # Plumbing

    def _send(self, message: dict[str, Any]) -> None:
        if self._control is None:
            return
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:  # the harness is gone; the next read says so too
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)

    def _on_term(self) -> None:
        self._term = True

    def _on_end(self) -> None:
        self._detached = self._term = True

    def _drain_wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wakeup.recv(READ_BYTES):
                pass


class StepError(Exception):
    """An OSError, and at which step of a command it came."""

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(what)
        self.what = what
        self.error = error

    def told(self) -> dict[str, Any]:
        """As the reply carries it."""
        filename = None if self.error.filename is None else str(self.error.filename)
        return {
            "what": self.what,
            "errno": self.error.errno,
            "strerror": self.error.strerror or str(self.error),
            "filename": filename,
        }


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StepError(what, error) from error
    except ValueError as error:  # a null byte in argv or env
        raise StepError(what, OSError(errno.EINVAL, str(error))) from error


def run_at_end(commands: Sequence[tuple[list[str], dict[str, str]]], output: IO[str] | None = None) -> None:
    """Run commands (argv, env), the last one first; what they say, and why one failed, goes to `output` or stderr."""
    log = sys.stderr if output is None else output
    for argv, env in reversed(commands):
        try:
            done = subprocess.run(
                argv, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=AT_END_S, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            log.write(f"{shlex.join(argv)}: {error}\n")
            continue
        if done.returncode != 0:
            log.write(f"{shlex.join(argv)}: ended with {done.returncode}\n")


def remove_folders(folders: Sequence[str]) -> None:
    """Remove them with all that is in them, as far as that can be; a cgroup's cannot, and goes with it."""
    if folders:
        import shutil  # not before: it would slow the start down

        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def _kill(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def _wakeup_socket(on_term: Callable[[], None], on_end: Callable[[], None]) -> socket.socket:
    """Readable after any signal. Handlers, unlike SIG_IGN, are not inherited: children start with default signals."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.settimeout(0)
    signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)
    for signum in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: on_term())
    signal.signal(signal.SIGUSR1, lambda *_: on_end())
    return ours


def _become_subreaper() -> ctypes.CDLL | None:
    """The C library, if this is a Linux that lets us adopt orphaned descendants; else None."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return libc if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 else None


def _raise_open_files() -> None:
    """A node holds a socket per client; many shells allow 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(argv: list[str]) -> None:
    """`warden.py FD`: FD is the inherited end of the socketpair."""
    os.set_inheritable(int(argv[1]), False)  # noqa: FBT003 - the builtin takes it so
    control = socket.socket(fileno=int(argv[1]))
    libc = _become_subreaper()
    _raise_open_files()
    Warden(control, libc).serve()


if __name__ == "__main__":
    main(sys.argv)
