"""The table of a service's keys: the option of a container, or the argument of `podman run`, that each becomes.

Keys that need more than their own value are in `nixoci.compose.containers`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nixoci.compose.node import Node
from nixoci.compose.values import duration_text, hosts, limits, seconds, size, text_pairs, texts, words


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a container, and the reader of its value."""

    name: str
    read: Callable[[Node, str], Any]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of `podman run` for each text that the reader finds."""

    flag: str
    read: Callable[[Node, str], list[str]]


def _text(node: Node, what: str) -> str:
    return node.text(what)


def _number(node: Node, what: str) -> int:
    return node.number(what)


def _truth(node: Node, what: str) -> bool:
    return node.truth(what)


def _one(node: Node, what: str) -> list[str]:
    return [node.text(what)]


def _size(node: Node, what: str) -> list[str]:
    text = node.text(what)
    return [text if text == "-1" else size(node, what)]


def _equations(node: Node, what: str) -> list[str]:
    return [f"{name}={value}" for name, value in text_pairs(node, what).items()]


OPTIONS: Mapping[str, Option] = {
    "command": Option("cmd", words),
    "dns": Option("dns", texts),
    "dns_opt": Option("dns_options", texts),
    "dns_search": Option("dns_search", texts),
    "entrypoint": Option("entrypoint", words),
    "extra_hosts": Option("extra_hosts", hosts),
    "hostname": Option("hostname", _text),
    "init": Option("init", _truth),
    "mem_limit": Option("memory", size),
    "pids_limit": Option("pids_limit", _number),
    "privileged": Option("privileged", _truth),
    "read_only": Option("read_only", _truth),
    "shm_size": Option("shm_size", size),
    "stop_grace_period": Option("stop_timeout", seconds),
    "stop_signal": Option("stop_signal", _text),
    "sysctls": Option("sysctls", text_pairs),
    "tmpfs": Option("tmpfs", texts),
    "ulimits": Option("ulimits", limits),
    "user": Option("user", _text),
    "userns_mode": Option("user_namespace", _text),
    "working_dir": Option("workdir", _text),
}
"""The keys that are one option of a container."""

HEALTHCHECK: Mapping[str, Option] = {
    "interval": Option("interval", duration_text),
    "timeout": Option("timeout", duration_text),
    "start_period": Option("start_period", duration_text),
    "retries": Option("retries", _number),
}
"""The keys of `healthcheck` that are one option of the health check."""

ARGUMENTS: Mapping[str, Argument] = {
    "annotations": Argument("--annotation", _equations),
    "cgroup": Argument("--cgroupns", _one),
    "cgroup_parent": Argument("--cgroup-parent", _one),
    "cpu_period": Argument("--cpu-period", _one),
    "cpu_quota": Argument("--cpu-quota", _one),
    "cpu_shares": Argument("--cpu-shares", _one),
    "cpus": Argument("--cpus", _one),
    "cpuset": Argument("--cpuset-cpus", _one),
    "device_cgroup_rules": Argument("--device-cgroup-rule", texts),
    "group_add": Argument("--group-add", texts),
    "ipc": Argument("--ipc", _one),
    "mem_reservation": Argument("--memory-reservation", _size),
    "mem_swappiness": Argument("--memory-swappiness", _one),
    "memswap_limit": Argument("--memory-swap", _size),
    "oom_kill_disable": Argument("--oom-kill-disable", _one),
    "oom_score_adj": Argument("--oom-score-adj", _one),
    "pid": Argument("--pid", _one),
    "security_opt": Argument("--security-opt", texts),
    "stdin_open": Argument("--interactive", _one),
    "tty": Argument("--tty", _one),
    "uts": Argument("--uts", _one),
}
"""The keys that are an argument of podman, because the container model has no option for them."""

WITHOUT_EFFECT = frozenset({"attach", "develop", "expose", "extends", "profiles", "pull_policy", "pull_refresh_after"})
"""The keys that change nothing about a container of a pinned image."""

LEFT_OUT: Mapping[str, str] = {
    "blkio_config": "the container model has no limits of block devices; set IOWeight in settings.unit.Service",
    "cpu_count": "Windows only; remove it",
    "cpu_percent": "Windows only; remove it",
    "cpu_rt_period": "needs cgroup v1; remove it",
    "cpu_rt_runtime": "needs cgroup v1; remove it",
    "credential_spec": "Windows only; remove it",
    "domainname": "podman has no option for it; write the whole name as hostname",
    "external_links": "the other container is not of this project; put both into one external network",
    "isolation": "Windows only; remove it",
    "models": "nixoci runs containers alone; start the model in a service of its own",
    "post_start": "podman has no hooks; set ExecStartPost in settings.unit.Service",
    "pre_stop": "podman has no hooks; set ExecStop in settings.unit.Service",
    "provider": "nixoci runs containers alone; start it in a unit of its own",
    "storage_opt": "an image of the store has no quota; use a volume",
    "use_api_socket": "podman has no socket of Docker for it; mount podman's own as a volume",
    "volumes_from": "volumes are not shared by the container's name; write them under volumes in both services",
}
"""The keys that nothing expresses, and the way out."""
