"""Run a function in a forked process with limits of time, memory, files and network, as far as the system can.

Linux: Landlock (kernel 5.13 and newer, no rights needed) lets the process read Python and diffedu and write only its
scratch folder; a network namespace of its own, where users may make one, has no network. Everywhere: limits of time,
memory (not enforced by macOS) and file size, and an audit hook that refuses network, processes, signals and the
hidden folders to Python code. The hook hinders; the kernel's parts hold.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import secrets
import select
import signal
import site
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

POSSIBLE = resource is not None and hasattr(os, "fork")
ROOT = Path(__file__).resolve().parent.parent
FILE_SIZE = 20_000_000  # bytes of any file that a submission writes
ALL_FILES = 100_000_000  # bytes of all of them
LOOK = 0.2  # seconds between two looks at what was written
SHOWN = 4000  # characters of output that are kept
REFUSED = {
    "socket.connect": "the network",
    "socket.bind": "the network",
    "socket.sendto": "the network",
    "socket.getaddrinfo": "the network",
    "socket.gethostbyname": "the network",
    "subprocess.Popen": "another program",
    "os.system": "another program",
    "os.exec": "another program",
    "os.posix_spawn": "another program",
    "os.fork": "another process",
    "os.forkpty": "another process",
    "os.kill": "a signal to a process",
    "os.killpg": "a signal to a process",
    "ctypes.dlopen": "a C library",
}


@dataclass(frozen=True)
class Limits:
    cell: float = 60  # seconds for one exercise
    submission: float = 240  # seconds for all of them
    memory: float = 2e9  # bytes beyond what the parent has mapped


@dataclass(frozen=True)
class Outcome:
    sentence: str = ""
    printed: str = ""
    characters: int = 0
    refused: tuple[str, ...] = ()
    killed: str = ""  # why it did not come to its end


def speakable(text: str) -> str:
    """The text without halves of characters, which can't be written to any file."""
    return text.encode("utf-8", "replace").decode("utf-8")


def written(folder: Path) -> int:
    """About how many bytes the files below a folder take, small ones counted as a block each."""
    total, waiting = 0, [str(folder)]
    while waiting and total <= ALL_FILES:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:  # gone meanwhile, or a name too long
            for entry in entries:
                total += max(4096, entry.stat(follow_symlinks=False).st_size)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return total


class Printed(io.TextIOBase):
    """Keeps the first characters of what is printed and counts the rest."""

    def __init__(self) -> None:
        self.on, self.kept, self.characters = True, "", 0

    def write(self, text: str) -> int:
        if self.on:
            self.characters += len(text)
            self.kept += text[: max(0, SHOWN - len(self.kept))]
        return len(text)

    def writable(self) -> bool:
        return True


def run(job: Callable[[Printed], str], limits: Limits, seconds: float, scratch: Path, hidden: list[Path]) -> Outcome:
    """The job's sentence and what it printed, or why it was stopped. The job runs in a child of this process."""
    reading, writing = os.pipe()
    token = secrets.token_hex()  # what an answer writes into the pipe itself is no result
    child = os.fork()
    if child == 0:
        try:
            _child(job, limits, seconds, scratch, hidden, writing, token)
        finally:
            os._exit(1)
    os.close(writing)
    until = time.monotonic() + seconds
    data, late, full = b"", False, False
    while len(data) < 200_000:
        left = until - time.monotonic()
        ready = select.select([reading], [], [], min(LOOK, max(0.0, left)))[0]
        full = written(scratch) > ALL_FILES
        if full or (not ready and left <= 0):
            late = not full
            break
        if not ready:
            continue
        part = os.read(reading, 65536)
        if not part:
            break
        data += part
    os.close(reading)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # and what it may have started
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if full:
        return Outcome(killed=f"it wrote more than {ALL_FILES / 1e6:.0f} MB of files and was stopped")
    if late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Outcome(killed=f"it ran longer than {seconds:.0f} s and was stopped")
    try:
        found = json.loads(data)
        if found["token"] != token:
            raise ValueError("not written by _child")
        return Outcome(found["sentence"], found["printed"], found["characters"], tuple(found["refused"]))
    except (ValueError, KeyError, TypeError):
        return Outcome(killed="it ended the Python process (a crash, or an exit by force)")


def _child(
    job: Callable[[Printed], str],
    limits: Limits,
    seconds: float,
    scratch: Path,
    hidden: list[Path],
    writing: int,
    token: str,
) -> None:
    os.setsid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # end with the grader, if someone stops that
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    pipe = os.dup2(writing, 3)
    os.closerange(4, 4096)
    os.chdir(scratch)
    for name in [name for name in os.environ if name not in ("PATH", "LANG", "OMP_NUM_THREADS", "MPLBACKEND")]:
        del os.environ[name]  # tokens are often kept there
    os.environ |= {"HOME": str(scratch), "TMPDIR": str(scratch), "MPLCONFIGDIR": str(scratch)}
    limit = {
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_FSIZE: FILE_SIZE,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    with contextlib.suppress(OSError):  # torch maps much that it never uses: count from what is mapped now
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit[resource.RLIMIT_AS] = mapped + int(limits.memory)
    for which, value in limit.items():
        resource.setrlimit(which, (value, value))
    no_network()
    landlock(scratch)
    refused: list[str] = []
    forbid(hidden, refused)
    printed = Printed()
    sys.stdout = sys.stderr = printed
    sentence = job(printed)
    answer = {
        "token": token,
        "sentence": speakable(sentence),
        "printed": speakable(printed.kept),
        "characters": printed.characters,
        "refused": refused[:5],
    }
    data = json.dumps(answer).encode()
    while data:
        data = data[os.write(pipe, data) :]
    os._exit(0)


def forbid(hidden: list[Path], refused: list[str]) -> None:
    """An audit hook, which Python code can't take away again."""
    folders = tuple(f"{os.path.realpath(folder)}{os.sep}" for folder in hidden)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        what = REFUSED.get(event)
        if (
            what is None
            and event in ("open", "os.listdir", "os.scandir")
            and isinstance(args[0], str | bytes | os.PathLike)
        ):
            path = os.path.realpath(os.fsdecode(args[0]))
            what = "the course's files" if f"{path}{os.sep}".startswith(folders) else None
        if what is not None:
            note = f"was refused {what}"
            if note not in refused:
                refused.append(note)
            raise PermissionError(f"a graded answer may not use {what}")

    sys.addaudithook(hook)


# ------------------------------------------------------------------------------------------------ Linux' own parts


def no_network() -> bool:
    """A network namespace of one's own, which holds no network; False where the system does not give one."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    user, net = 0x10000000, 0x40000000
    return bool(libc.unshare(user | net) == 0)


def landlock(scratch: Path) -> int:
    """Read only Python and diffedu, write only the scratch folder; the kernel's version of it, 0 for none."""
    if not sys.platform.startswith("linux"):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    create, add, restrict = 444, 445, 446  # the same numbers on every processor
    version = int(libc.syscall(create, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    if version < 1:
        return 0
    every = (1 << 13) - 1
    for needs, bit in ((2, 13), (3, 14), (5, 15)):
        every |= (1 << bit) if version >= needs else 0
    read = 0b1101  # execute, read a file, read a folder
    rights = struct.pack("QQQ", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8  # files; TCP; signals to others
    rules = libc.syscall(create, rights, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if rules < 0:
        return 0
    readable = [sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/etc", "/dev/urandom", "/dev/zero"]
    readable += [*site.getsitepackages(), site.getusersitepackages()]  # which may be links
    readable += [str(ROOT / "diffedu"), str(ROOT / "data")]
    for place, access in [*((place, read) for place in readable), (str(scratch), every), (os.devnull, 0b110)]:
        if not os.path.isdir(place):
            access &= 0b111  # the kernel takes no rule that lists a file
        with contextlib.suppress(OSError):
            folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", access, folder)
            libc.syscall(add, rules, 1, rule, ctypes.c_uint32(0))
            os.close(folder)
    libc.prctl(38, 1, 0, 0, 0)  # no new rights by setuid programs
    held = libc.syscall(restrict, rules, ctypes.c_uint32(0)) == 0
    os.close(rules)
    return version if held else 0


def what_holds() -> str:
    """One sentence for the instructor: which walls this machine gives."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, bytes([no_network(), min(landlock(Path("/tmp")), 200)]))
        os._exit(0)
    os.close(writing)
    network, version = os.read(reading, 2).ljust(2, b"\0")
    os.close(reading)
    os.waitpid(child, 0)
    files = "files closed by the kernel" if version else "files closed to plain Python code only"
    net = "no network" if network else ("no TCP" if version >= 4 else "network closed to plain Python code only")
    return f"Students' code runs with: {net}; {files}; limits of time, memory and file size."
