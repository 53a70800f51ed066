"""Several hosts on one machine: each has its own network, processes, mounts, host name, /tmp,
/dev/shm, home and sshd, joined by a bridge with no way out. Needs root.

Everything lies in one folder, which all hosts see under the same path: their network file system.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["ADDRESSES", "Hosts", "missing"]

NET = "10.77.0"
ADDRESSES = {"client": f"{NET}.5", "head": f"{NET}.10", "w1": f"{NET}.11", "w2": f"{NET}.12"}
TOOLS = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync", "ps")
ROOT = Path(__file__).parents[2]
OWN = ("/tmp", "/dev/shm", "/run")
"""What every host has for itself."""
HANGS = 500.0
_PDEATHSIG = 1
"""``PR_SET_PDEATHSIG`` of Linux."""


def _init(name: str, folder: Path, hosts: Path) -> str:
    """What the first process of a host does; it stays, and takes in orphans."""
    keep, give = "", ""
    for number, path in enumerate(hidden()):
        kept, there = shlex.quote(f"{folder}/kept/{number}"), shlex.quote(str(path))
        keep += f"mkdir -p {kept}\nmount --bind {there} {kept}\n"
        give += f"mkdir -p {there}\nmount --bind {kept} {there}\n"
    return f"""
set -eu
hostname {name}
{keep}
mount -t tmpfs -o size=2g,mode=1777 tmpfs /tmp
mount -t tmpfs -o size=512m,mode=1777 tmpfs /dev/shm
mount -t tmpfs -o size=64m tmpfs /run
{give}
mkdir -p /run/sshd
mount --bind {folder}/passwd /etc/passwd
mount --bind {hosts} /etc/hosts
cd /
export HOME={folder}/home
{tool("sshd")} -D -e -f {folder}/sshd_config &
touch {folder}/ready
while :; do wait -n 2> /dev/null || sleep 0.2; done
"""


def _sshd(address: str, folder: Path) -> str:
    return f"""
Port 22
ListenAddress {address}
HostKey {folder}/hostkey
PidFile none
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
MaxStartups 100
MaxSessions 100
"""


def hidden() -> list[Path]:
    """What the program and its interpreter need, and lies where every host has a place of its own:
    a checkout below /tmp."""
    needed = {Path(name) for name in (ROOT, sys.prefix, sys.base_prefix, *sys.path) if name}
    below = {
        path
        for path in needed
        if path.is_dir() and any(Path(place) in path.parents for place in OWN)
    }
    return sorted(path for path in below if not below & set(path.parents))


def tool(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def missing() -> str:
    """Why there can be no hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    absent = [name for name in TOOLS if tool(name) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: openssh-server rsync iproute2 procps)"
    made = subprocess.run(["ip", "netns", "add", "zoo-probe"], capture_output=True, check=False)
    if made.returncode:
        return "needs network namespaces, which this machine does not allow"
    subprocess.run(["ip", "netns", "del", "zoo-probe"], check=False)
    return ""


class Hosts:
    """Use as a context manager: nothing of it is left afterwards."""

    def __init__(self) -> None:
        # Not below /tmp, which every host has for itself.
        self.folder = Path(tempfile.mkdtemp(prefix="zoo-hosts-", dir="/var/tmp"))
        self.shared = self.folder / "shared"
        self.key = self.folder / "key"
        self._outer: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Hosts:
        in_use = subprocess.run(
            ["ip", "netns", "pids", "zoo-head"], capture_output=True, check=False
        )
        if in_use.returncode == 0 and not in_use.stdout.strip():
            self._remove_networks()  # of a run that was killed
        self.shared.mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        tools = self.folder / "bin"
        tools.mkdir()
        ray = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
        for name, line in (("ray", f"-c {shlex.quote(ray)}"), ("zoo", "-P -m zoo"), ("python", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {line} "$@"\n')
            (tools / name).chmod(0o755)
        run("ip", "netns", "add", "zoo-bridge")
        run("ip", "-n", "zoo-bridge", "link", "add", "br0", "type", "bridge")
        run("ip", "-n", "zoo-bridge", "link", "set", "br0", "up")
        hosts = "".join(f"{address} {name}\n" for name, address in ADDRESSES.items())
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        for name, address in ADDRESSES.items():
            self._start(name, address)
        wait(lambda: all((self.home(n) / "../ready").exists() for n in ADDRESSES), "hosts")
        return self

    def home(self, name: str) -> Path:
        return self.folder / name / "home"

    def _start(self, name: str, address: str) -> None:
        home = self.home(name)
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        shutil.copy(f"{self.key}.pub", home / ".ssh/authorized_keys")
        exports = f"export PATH={self.folder}/bin:$PATH RAY_AUTH_MODE=token OMP_NUM_THREADS=1\n"
        # Ray's workers are at nice 15, where two busy processes of others leave them 2 % of a core:
        # on hosts of their own they would have no others beside them.
        exports += "export RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0\n"
        (home / ".bashrc").write_text(exports)
        (home / ".bash_profile").write_text(". ~/.bashrc\n")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home.parent / "hostkey")
        passwd = re.sub(
            r"^(root:[^:]*:0:0:[^:]*):[^:]*:.*$",
            rf"\1:{home}:/bin/bash",
            Path("/etc/passwd").read_text(),
            flags=re.MULTILINE,
        )
        (home.parent / "passwd").write_text(passwd)
        (home.parent / "init").write_text(_init(name, home.parent, self.folder / "hosts"))
        (home.parent / "sshd_config").write_text(_sshd(address, home.parent))
        net, link = f"zoo-{name}", f"v{name}"
        run("ip", "netns", "add", net)
        run(
            *("ip", "link", "add", link, "netns", "zoo-bridge", "type", "veth"),
            *("peer", "name", "eth0", "netns", net),
        )
        run("ip", "-n", "zoo-bridge", "link", "set", link, "master", "br0", "up")
        run("ip", "-n", net, "link", "set", "lo", "up")
        run("ip", "-n", net, "addr", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", net, "link", "set", "eth0", "up")
        with (home.parent / "log").open("wb") as log:
            self._outer[name] = subprocess.Popen(
                [
                    *("ip", "netns", "exec", net, "unshare", "--pid", "--fork", "--kill-child"),
                    *("--mount-proc", "--uts", "--ipc", "--mount", "--propagation", "private"),
                    *("bash", str(home.parent / "init")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_ends_with_me,
            )

    def run(self, name: str, *command: object) -> subprocess.CompletedProcess[str]:
        """A command inside a host, with its login's environment."""
        line = shlex.join(map(str, command))
        outer = self._outer[name].pid
        (inner,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        return subprocess.run(
            [
                *("nsenter", "-t", inner, "-n", "-m", "-p", "-u", "-i", "env", "-i"),
                *(f"HOME={self.home(name)}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
                *("bash", "--login", "-c", line),
            ],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )

    def cut(self, name: str, *, back: bool = False) -> None:
        """Take a host off the network, or bring it back."""
        state = "up" if back else "down"
        run("ip", "-n", "zoo-bridge", "link", "set", f"v{name}", state)

    def ray(self, name: str) -> list[str]:
        """Processes of Ray's on a host."""
        lines = self.run(name, "ps", "-eo", "args=").stdout.splitlines()
        words = ("raylet/raylet", "gcs_server", "ray::")
        return [line for line in lines if any(word in line for word in words)]

    def __exit__(self, *_: object) -> None:
        for process in self._outer.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._remove_networks()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_networks(self) -> None:
        for name in (*(f"zoo-{host}" for host in ADDRESSES), "zoo-bridge"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ends_with_me() -> None:
    """The process that is about to be started is killed when this one is gone, however it went."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def wait(fact: Callable[[], bool], what: str, seconds: float = HANGS) -> None:
    """Poll until a fact holds."""
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, f"no {what} after {seconds:g} s"
        time.sleep(0.2)
