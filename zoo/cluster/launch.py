"""A cluster from a file: up, down, and commands on its head that outlive whoever gave them.

Ray's own launcher does the work (``ray up``, ``ray exec``, ``ray down``); here is what it leaves
out: our rules, the token, workers that are waited for and workers that are really ended. What is
particular to AWS is in ``zoo.cluster.aws``.
"""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zoo.errors import NotFoundError, UsageError, ZooError
from zoo.machine import user_folder
from zoo.progress import announce

__all__ = [
    "Config",
    "check",
    "down",
    "logs",
    "not_here",
    "out_of_reach",
    "problems",
    "read",
    "still_examples",
    "submit",
    "token",
    "up",
]

Config = dict[str, Any]

_RAY = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
_TOKEN = Path("~/.ray/auth_token")
_WAIT_SECONDS = 900.0
_POLL_SECONDS = 3.0
_JOBS = "~/zoo-jobs"
# As Ray asks for them: of a shell that reads all that a terminal's does.
_FIND = "bash --login -c -i 'command -v ray; command -v zoo; true'"
_SSH = (
    *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
    *("ConnectTimeout=10", "BatchMode=yes"),
)
_EXAMPLE = "203.0.113.1/32"
_PROCESSES = "ps -eo pid=,args= | grep -E '[r]aylet/raylet|[g]cs_server|^ *[0-9]+ ray::' || true"


# ---------------------------------------------------------------- the file


def read(path: Path) -> Config:
    """A cluster's file.

    Raises:
        NotFoundError: if it is not there.
        UsageError: if it is no YAML of a cluster.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(
            f"no cluster file {path}. Files to start from are in the folder cluster/ of zoo."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML: {error}") from None
    if (
        not isinstance(config, dict)
        or not isinstance(config.get("provider"), dict)
        or "type" not in config["provider"]
    ):
        raise UsageError(f"{path} is no cluster file of Ray's: it has no provider with a type.")
    return config


def check(path: Path) -> Config:
    """A cluster's file that passes Ray's schema and our rules.

    Raises:
        UsageError: naming all that is wrong.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = read(path)
    found = problems(config)
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception as error:  # noqa: BLE001 - jsonschema's, and others where a type is wrong
        found.insert(0, f"Ray refuses it: {(str(error).splitlines() or [repr(error)])[0]}")
    if found:
        listed = "\n  ".join(found)
        raise UsageError(f"{path} cannot be used:\n  {listed}")
    return config


def problems(config: Config) -> list[str]:
    """What Ray lets pass and we do not: each a sentence."""
    found = []
    types: dict[str, Config] = config.get("available_node_types") or {}
    head = types.get(config.get("head_node_type", ""), {})
    counts = {
        f"{name}.{field}": node.get(field, 0)
        for name, node in types.items()
        for field in ("min_workers", "max_workers")
    }
    counts |= {name: config.get(name, 0) for name in ("min_workers", "max_workers")}
    found += [
        f"{name} is negative: {count}"
        for name, count in counts.items()
        if isinstance(count, int | float) and count < 0
    ]
    if types and head.get("resources") != {"CPU": 0}:
        found.append("the head takes trainings: its resources must be {CPU: 0}")
    for role in ("head", "worker"):
        commands = config.get(f"{role}_start_ray_commands") or []
        starts = [command for command in commands if "ray start" in command]
        if len(starts) != 1 or "RAY_AUTH_MODE=token" not in starts[0]:
            found.append(f"the {role} starts without token mode (RAY_AUTH_MODE=token)")
    start = " ".join(config.get("head_start_ray_commands") or [])
    if "--autoscaling-config" not in start:
        found.append("the head starts without the autoscaler (--autoscaling-config)")
    hosts = re.findall(r"--dashboard-host[= ](\S+)", start)
    if hosts != ["127.0.0.1"] and "--include-dashboard=false" not in start:
        found.append("the dashboard is public (--dashboard-host=127.0.0.1)")
    if (config.get("file_mounts") or {}).get("~/.ray/auth_token") != "~/.ray/auth_token":
        found.append("the token does not reach the nodes (file_mounts: ~/.ray/auth_token)")
    if config["provider"]["type"] == "aws":
        found += _aws_problems(config, types, head)
    if config["provider"]["type"] == "local":
        found += _local_problems(config, start)
    return found


def _local_problems(config: Config, start: str) -> list[str]:
    found = []
    head = str(config["provider"].get("head_ip"))
    named = re.search(r"--node-ip-address[= ]([\d.]+)", start)
    # A head_ip may also be a name, of which nobody here knows what it means there.
    if named and re.fullmatch(r"[\d.]+", head) and named[1] != head:
        found.append(
            f"the head is told to be at {named[1]} (--node-ip-address), and its head_ip is {head}"
        )
    workers = len(config["provider"].get("worker_ips") or [])
    found += [
        f"{name} is {config[name]}, and there are {workers} worker_ips"
        for name in ("min_workers", "max_workers")
        if isinstance(config.get(name), int) and config[name] > workers
    ]
    return found


def _aws_problems(config: Config, types: dict[str, Config], head: Config) -> list[str]:
    found = []
    for name, node in types.items():
        settings = node.get("node_config") or {}
        spot = (settings.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"
        if spot and node is head:
            found.append(f"{name} is spot: the loss of the head is the loss of the cluster")
        if "ImageId" not in settings:
            found.append(
                f"{name} has no ImageId, and Ray's default image is too old for torch: name one"
                " with Python 3.11 or newer"
            )
    group = config["provider"].get("security_group") or {}
    for rule in group.get("IpPermissions") or []:
        networks = [network["CidrIp"] for network in rule.get("IpRanges", [])]
        if (rule.get("FromPort"), rule.get("ToPort")) != (22, 22) or any(
            not network.endswith("/32") for network in networks
        ):
            found.append(
                f"ports {rule.get('FromPort')} to {rule.get('ToPort')} are open to"
                f" {', '.join(networks)}: only ssh, to one address (/32)"
            )
    if not group.get("IpPermissions") and not all(
        "SecurityGroupIds" in (node.get("node_config") or {}) for node in types.values()
    ):
        found.append("no address may use ssh (provider.security_group), and Ray would let in all")
    return found


def still_examples(config: Config) -> list[str]:
    """What of a file is still an example, that nobody can use."""
    text = json.dumps(config)
    found = [f"the address {_EXAMPLE} is an example: put your own"] if _EXAMPLE in text else []
    if re.search(r"ami-0{8,}|ami-\.\.\.", text):
        found.append("the ImageId is an example: put your own")
    return found


def not_here(config: Config) -> list[str]:
    """What a file names that is not on this machine."""
    found = [
        f"file_mounts names {source!r}, which is not there (looked for from {Path.cwd()}). The"
        " project as committed: mkdir -p build/checkout && git archive HEAD | tar -x -C"
        " build/checkout"
        for source in (config.get("file_mounts") or {}).values()
        if source != "~/.ray/auth_token" and not Path(source).expanduser().exists()
    ]
    key = (config.get("auth") or {}).get("ssh_private_key")
    if key and not Path(key).expanduser().is_file():
        found.append(f"auth.ssh_private_key names {key!r}, which is not there")
    return found


def token() -> Path:
    """The cluster's token, made where there is none: 64 characters, for this user alone."""
    path = _TOKEN.expanduser()
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    path.chmod(0o600)
    return path


def _rendered(config: Config) -> Path:
    """Where the file that Ray is given lies: for this user alone, since it goes into Ray's logs
    anyway but need not be read by others."""
    import yaml

    state = user_folder("XDG_STATE_HOME", ".local/state")
    if state is None:
        raise ZooError("this account has no home folder to keep a cluster's file in. Set HOME.")
    folder = state / "zoo" / "clusters"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{config['cluster_name']}.yaml"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        yaml.safe_dump(config, file, sort_keys=False)
    return path


def kept(config: Config) -> Path:
    """The file that the cluster was started with, or one made from the config as it is."""
    state = user_folder("XDG_STATE_HOME", ".local/state")
    path = Path(state or "") / "zoo" / "clusters" / f"{config['cluster_name']}.yaml"
    return path if path.exists() else _rendered(config)


# ---------------------------------------------------------------- Ray's launcher


def _ray(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """One command of Ray's. What it says goes to stderr, or is captured."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    # Since 2.50 'ray up' brings autoscaler v2, which counts the head of a local cluster as a worker
    # and starts one host too few.
    settings["RAY_UP_enable_autoscaler_v2"] = "0"
    return subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", _RAY, *arguments],
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else sys.stderr.fileno(),
        stderr=subprocess.STDOUT if capture else sys.stderr.fileno(),
        text=True,
        check=False,
    )


def on_head(file: Path, command: str) -> tuple[int | None, str]:
    """Run a line of shell on the head.

    Returns:
        Its exit code and what it said, by both streams; or None, if it was not run there, and what
        Ray and ssh said.
    """
    mark = secrets.token_hex(4)
    # Ray repeats the line in what it says; the marks stand nowhere in the line as they come out.
    begin, end = f"printf '%s-{mark}\\n' BEGIN", f"printf '\\n%s-{mark} %s\\n' END $?"
    line = f"{begin}; {{ {command} ; }} 2>&1; {end}"
    said = _ray("exec", "--no-config-cache", str(file), line, capture=True).stdout
    said = said.replace("\r\n", "\n")
    ran, begun, rest = said.partition(f"BEGIN-{mark}\n")
    own, ended, code = rest.rpartition(f"\nEND-{mark} ")
    return (int(code.split()[0]), own) if begun and ended else (None, ran + rest)


def expected_nodes(config: Config) -> int:
    """How many nodes are there at least once a cluster is up: the head and every min_workers."""
    if config["provider"]["type"] == "local":
        workers = len(config["provider"].get("worker_ips") or [])
        return 1 + min(workers, int(config.get("min_workers", workers)))
    types = config.get("available_node_types") or {}
    return 1 + sum(
        int(node.get("min_workers", 0))
        for name, node in types.items()
        if name != config.get("head_node_type")
    )


def _nodes(file: Path) -> list[str]:
    """Addresses of the living nodes, as the head tells; empty if it does not."""
    _, said = on_head(file, "python -m zoo.cluster.reach auto")
    return list(json.loads(said.partition("NODES ")[2].splitlines()[0])) if "NODES " in said else []


def up(path: Path, *, restart: bool = False, workspace: str = "") -> list[str]:
    """Start a cluster and wait until its nodes answer. A living one is left as it is.

    Args:
        restart: restart a living one.
        workspace: where it is to work; a bucket is what the workers of a cluster on AWS are given.

    Returns:
        The addresses of its nodes.

    Raises:
        UsageError: for a file that cannot be used.
        ZooError: if a machine cannot be reached or lacks zoo, if the cluster does not start, or
            nodes are missing after a while; with what the head's log says of them.
    """
    config = check(path)
    if found := [*still_examples(config), *not_here(config)]:
        raise UsageError(f"{path} cannot be used:\n  " + "\n  ".join(found))
    if found := out_of_reach(config):
        raise ZooError(
            f"cluster {config['cluster_name']} cannot be started:\n  " + "\n  ".join(found)
        )
    token()
    name = config["cluster_name"]
    wanted = expected_nodes(config)
    try:
        if config["provider"]["type"] == "aws":
            from zoo.cluster import aws

            config = aws.prepared(config, workspace)
        file = _rendered(config)
        there = _nodes(file) if config["provider"]["type"] == "local" or _has_head(file) else []
        if there and not restart:
            _say(f"cluster {name} is up already and is left as it is (--restart restarts it).")
        else:
            if there:
                _say(f"restarting cluster {name}: {len(there)} nodes, and all that runs on them.")
            if _ray("up", "-y", "--no-config-cache", str(file)).returncode:
                raise ZooError(
                    f"cluster {name} did not start: what 'ray up' said stands above. What has been"
                    f" started may cost money: zoo down {path} ends it."
                )
        return _wait(file, name, wanted)
    except (KeyboardInterrupt, SystemExit):
        _say(
            f"interrupted while cluster {name} was starting: what has been started runs, and on a"
            f" cloud costs money. zoo down {path} ends it; zoo up {path} goes on."
        )
        raise


def _has_head(file: Path) -> bool:
    return _ray("get-head-ip", str(file), capture=True).returncode == 0


def _wait(file: Path, name: str, wanted: int) -> list[str]:
    until = time.monotonic() + _WAIT_SECONDS
    there: list[str] = []
    while time.monotonic() < until:
        there = _nodes(file)
        if len(there) >= wanted:
            return there
        time.sleep(_POLL_SECONDS)
    _, said = on_head(file, "tail -n 30 /tmp/ray/session_latest/logs/monitor.*")
    raise ZooError(
        f"cluster {name}: {len(there)} of {wanted} nodes answer after {_WAIT_SECONDS:g} s"
        f" ({', '.join(there) or 'not even the head'}). They run, and on a cloud cost money: zoo"
        f" down ends them. The end of the head's log:\n{said.strip()}"
    )


def down(path: Path) -> None:
    """End a cluster, and make sure that it has ended.

    Raises:
        ZooError: naming hosts with processes of Ray's, or machines, that are still there.
    """
    config = read(path)
    file = kept(config)
    name, kind = config["cluster_name"], config["provider"]["type"]
    hosts = _hosts(config) if kind == "local" else []
    # 'ray down' stops the head alone; workers would go on for a minute and more.
    for host in reversed(hosts):
        _ssh(config, host, f"{_stop_command(config)} --force; true")
    if _ray("down", "-y", str(file)).returncode:
        raise ZooError(f"cluster {name}: 'ray down' failed; what it said stands above.")
    left = {host: said for host in hosts if (said := _ssh(config, host, _PROCESSES))}
    if left:
        listed = "\n  ".join(f"{host}: {said.splitlines()[0][:120]}" for host, said in left.items())
        raise ZooError(f"cluster {name}: processes of Ray's are still there:\n  {listed}")
    if kind == "aws":
        from zoo.cluster import aws

        if machines := aws.machines(config):
            raise ZooError(
                f"cluster {name}: {len(machines)} machines are still there and cost money:"
                f" {', '.join(machines)}. Run the same command again, or end them by hand."
            )


def _stop_command(config: Config) -> str:
    for command in config.get("worker_start_ray_commands") or []:
        if command.strip().endswith("ray stop"):
            return str(command).strip()
    return "ray stop"


def _ssh(config: Config, host: str, command: str) -> str:
    """A line of shell on a host of a local cluster, as Ray itself would run it; what it says."""
    auth = config["auth"]
    key = auth.get("ssh_private_key")
    named = ["-i", str(Path(key).expanduser())] if key else []
    options = [word for setting in _SSH for word in ("-o", setting)]
    done = subprocess.run(  # noqa: S603
        [
            *("ssh", *named, *options, f"{auth['ssh_user']}@{host}"),
            f"bash --login -c {shlex.quote(command)}",
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 255:
        raise ZooError(f"cannot reach {host} by ssh: {done.stderr.strip() or 'no reason given'}")
    return done.stdout.strip()


def out_of_reach(config: Config) -> list[str]:
    """Which machines of one's own ``zoo up`` could not use, and why; all are asked side by side.
    Ray would try for a quarter of an hour. Of a cloud's, which are not there yet, nothing is known.
    """
    if config["provider"]["type"] != "local":
        return []
    bare = not any(config.get(f"{part}setup_commands") for part in ("", "head_", "worker_"))

    def ask(host: str) -> str:
        try:
            there = {Path(line).name for line in _ssh(config, host, _FIND).splitlines()}
        except ZooError as error:
            return f"{error} (as {config['auth']['ssh_user']})"
        lacks = [name for name in ("ray", "zoo") if bare and name not in there]
        if not lacks:
            return ""
        return f"{host} has no {' and no '.join(lacks)} on the PATH of a login shell: install it"

    hosts = _hosts(config)
    with ThreadPoolExecutor(len(hosts)) as pool:
        return [problem for problem in pool.map(ask, hosts) if problem]


def _hosts(config: Config) -> list[str]:
    """Addresses of the machines of one's own."""
    provider = config["provider"]
    return [str(provider["head_ip"]), *map(str, provider.get("worker_ips") or [])]


# ---------------------------------------------------------------- commands on the head


def submit(path: Path, command: list[str]) -> str:
    """Start ``zoo COMMAND`` on the head, apart from this process; its name."""
    config = read(path)
    job = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    line = shlex.join(["zoo", *command])
    folder = f"{_JOBS}/{job}"
    inner = f"{line} > log 2>&1; echo $? > code"
    start = (
        f"mkdir -p {folder} && cd {folder} && echo {shlex.quote(line)} > command && : > log &&"
        f" (setsid nohup bash -c {shlex.quote(inner)} < /dev/null > /dev/null 2>&1 &)"
    )
    code, said = on_head(kept(config), start)
    if code != 0:
        raise ZooError(
            f"the command did not start on cluster {config['cluster_name']}: {_last(said)}"
        )
    return job


def logs(path: Path, job: str = "") -> tuple[str, str, int | None]:
    """(name, all it has written, exit code or None while it runs) of a submitted command.

    Args:
        job: its name; "" = the newest.

    Raises:
        NotFoundError: if there is none.
    """
    config = read(path)
    if job and not re.fullmatch(r"[0-9a-f-]+", job):
        raise UsageError(f"job {job!r}: names look like 20260131-120000-ab12.")
    chosen = job or f"$(ls {_JOBS} | tail -n 1)"
    line = (
        f"cd {_JOBS}/{chosen} && echo JOB $(basename $PWD) && echo CODE $(cat code 2> /dev/null)"
        " && echo LOG && cat log"
    )
    done, said = on_head(kept(config), line)
    if done is None:
        raise ZooError(f"cluster {config['cluster_name']} does not answer: {_last(said)}")
    if done != 0:
        raise NotFoundError(
            f"no submitted command {job or ''} on cluster {config['cluster_name']}:"
            f" {_last(said)}. Start one with zoo submit."
        )
    facts, _, text = said.partition("LOG\n")
    code = re.search(r"^CODE (\d+)", facts, re.MULTILINE)
    name = re.search(r"^JOB (\S+)", facts, re.MULTILINE)
    return name[1] if name else job, text, int(code[1]) if code else None


def _last(text: str) -> str:
    """The last line that is not one of Ray's own progress."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"\d{4}(-\d\d){2} [\d:,]+\s+V*INFO ", line)]
    return lines[-1].rstrip("!.") if lines else "no answer"


def _say(line: str) -> None:
    announce(f"{line} {time.monotonic()}", [line])
