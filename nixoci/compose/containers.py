"""Services as containers of the model: everything about a service that needs more than one of its keys."""

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nixoci.compose.dotenv import podman_reads_alike, read_dotenv
from nixoci.compose.mounts import add_configs, add_devices, add_gpu_request, add_gpus, add_secrets, add_volumes
from nixoci.compose.networks import add_network, add_ports
from nixoci.compose.node import Node
from nixoci.compose.options import ARGUMENTS, HEALTHCHECK, LEFT_OUT, OPTIONS, WITHOUT_EFFECT
from nixoci.compose.report import UNKNOWN
from nixoci.compose.service import Service
from nixoci.compose.values import duration_text, host_path, size, text_pairs, texts
from nixoci.container.model import Container, HealthcheckOptions, LogDriver, Restart, Runtime, Settings
from nixoci.container.rules import LOG_OPTIONS
from nixoci.errors import read_failure

_RESTARTS = {
    "no": Restart.NO,
    "none": Restart.NO,
    "false": Restart.NO,
    "on-failure": Restart.ON_FAILURE,
    "always": Restart.ALWAYS,
    "any": Restart.ALWAYS,
    "unless-stopped": Restart.ALWAYS,
}
_ATTEMPTS = re.compile("[0-9]{1,9}")
_LOG_DRIVERS = {str(driver): driver for driver in LogDriver}
_ENV_FILE = ("path", "required", "format")
_HEALTHCHECK = ("test", "disable", *HEALTHCHECK)
_HEALTHCHECK_LOST = {"start_interval": "podman has one interval; set interval"}
_SWARM = {"endpoint_mode", "job", "labels", "mode", "placement", "rollback_config", "update_config"}
_RESOURCES: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "limits": (("cpus", "memory", "pids"), {}),
    "reservations": (
        ("memory", "devices"),
        dict.fromkeys(("cpus", "pids", "generic_resources"), "podman reserves nothing; use limits"),
    ),
}
"""The keys of both kinds of resources, and those of Compose that podman cannot express, with the reason."""

_TWINS = {
    "deploy.replicas": "scale",
    "deploy.resources.limits.cpus": "cpus",
    "deploy.resources.limits.memory": "mem_limit",
    "deploy.resources.limits.pids": "pids_limit",
    "deploy.resources.reservations.memory": "mem_reservation",
}
"""Keys of `deploy`, and those of a service that mean the same."""

_ELSEWHERE = {"build", "container_name", "depends_on", "image", "links", "mac_address", "network_mode", "networks"} | {
    "platform"
}
"""Keys that this module or `project` reads with others."""


def container_of(service: Service, image: str, depends_on: list[str]) -> Container:
    """Return a service's container; what it cannot have is reported.

    Args:
        service: The service.
        image: The name of its image.
        depends_on: The containers that it depends on.

    Raises:
        ComposeError: A value is not one of its key; the message starts with the file and the line.
    """
    service.begin("image")
    service.set("image", image)
    service.begin("restart")
    service.set("restart", Restart.NO)  # Compose's default; the model's is always
    service.begin("depends_on")
    if depends_on:
        service.set("depends_on", depends_on)
    service.begin("networks")
    add_network(service)
    for key, node in service.entries.items():
        if node.value is None or key.startswith("x-") or key in WITHOUT_EFFECT or key in _ELSEWHERE:
            continue
        service.begin(key)
        _add(service, key, node)
    if service.arguments:
        service.set("extra_options", service.arguments)
    if service.unit:
        service.set("settings", Settings(unit=service.unit))
    return Container(**service.options)


def _add(service: Service, key: str, node: Node) -> None:
    path = service.path(key)
    if key in _READERS:
        _READERS[key](service, node)
    elif key in OPTIONS:
        value = OPTIONS[key].read(node, path)
        if key == "command" and not value:
            service.leave_out(node, key, "the image's command cannot be replaced by nothing; set entrypoint too")
        else:
            service.set(OPTIONS[key].name, value)
    elif key in ARGUMENTS:
        _add_argument(service, key, node)
    else:
        service.leave_out(node, key, LEFT_OUT.get(key, UNKNOWN))


def _add_argument(service: Service, key: str, node: Node) -> None:
    for text in ARGUMENTS[key].read(node, service.path(key)):
        kind, _, name = text.partition(":")
        if kind == "service" and key in {"ipc", "pid"}:
            if name not in service.containers:
                raise node.error(f"{service.path(key)}: no service {name!r}; name another")
            text = f"container:{service.containers[name]}"  # noqa: PLW2901 - the same text for podman
            service.append("depends_on", service.containers[name])
        service.add_argument(f"{ARGUMENTS[key].flag}={text}")


def _add_labels(service: Service, node: Node) -> None:
    of_files = service.options.get("labels", {})
    service.set("labels", {**of_files, **text_pairs(node, service.path("labels"))})


def _add_label_files(service: Service, node: Node) -> None:
    """Add the labels of files, over which those of `labels` have precedence."""
    path = service.path("label_file")
    found: dict[str, str] = {}
    for item in service.each(node.one_or_more(path), "label_file"):
        file = host_path(item, item.text(path), service.home)
        try:
            found |= read_dotenv(Path(file), found)
        except OSError as error:
            failure = read_failure(file, error, otherwise=f"{file}: {error.strerror}; correct the path")
            raise item.error(f"{path}: {failure}") from error
    service.set("labels", {**found, **service.options.get("labels", {})})


def _add_environment(service: Service, node: Node) -> None:
    found = {}
    for name, item in node.pairs(service.path("environment")).items():
        if item.value is not None:
            found[name] = item.text(service.path(f"environment.{name}"))
        elif name in service.project.variables:
            found[name] = item.checked(service.project.variables[name])
        else:
            service.leave_out(item, f"environment.{name}", "the variable is not set here; give it a value")
    service.set("environment", found)


def _add_environment_files(service: Service, node: Node) -> None:
    path = service.path("env_file")
    for item in service.each(node.one_or_more(path), "env_file"):
        fields = {"path": item} if item.is_scalar else service.fields(item, "env_file", _ENV_FILE)
        if "path" not in fields:
            raise item.error(f"{path}: path is missing; name a file")
        file = host_path(item, fields["path"].text(f"{path}.path"), service.home)
        required = "required" not in fields or fields["required"].truth(f"{path}.required")
        raw = "format" in fields and fields["format"].text(f"{path}.format") == "raw"
        try:
            text = Path(file).read_bytes().decode("utf-8", "replace")
        except OSError:
            if required:
                service.append("environment_files", file)
            else:
                service.leave_out(item, "env_file", f"{file} is not there, and podman needs the file; make it first")
            continue
        service.append("environment_files", file)
        if not raw and not podman_reads_alike(text):
            service.leave_out(
                item,
                "env_file",
                f"podman takes quotes, variables and comments in {file} as text; write NAME=VALUE lines",
            )


def _add_healthcheck(service: Service, node: Node) -> None:
    path = service.path("healthcheck")
    entries = service.fields(node, "healthcheck", _HEALTHCHECK, _HEALTHCHECK_LOST)
    if "disable" in entries and entries["disable"].truth(f"{path}.disable"):
        service.set("healthcheck", HealthcheckOptions(test=["NONE"]))
        return
    found: dict[str, Any] = {}
    for key, item in entries.items():
        if key == "test":
            found["test"] = ["CMD-SHELL", item.text(path)] if item.is_scalar else texts(item, f"{path}.test")
        elif key in HEALTHCHECK:
            found[HEALTHCHECK[key].name] = HEALTHCHECK[key].read(item, f"{path}.{key}")
    service.set("healthcheck", HealthcheckOptions(**found))


def _add_restart(service: Service, node: Node) -> None:
    if "deploy" in service.entries and "restart_policy" in service.entries["deploy"].items(service.path("deploy")):
        return  # which has precedence (compose-spec deploy.md, restart_policy)
    text = node.text(service.path("restart")) or "no"
    policy, _, attempts = text.partition(":")
    if policy not in _RESTARTS or (attempts and (policy != "on-failure" or not _ATTEMPTS.fullmatch(attempts))):
        raise node.error(
            f"{service.path('restart')}: {text!r} is no policy; expected no, always, unless-stopped or on-failure[:N]"
        )
    service.set("restart", _RESTARTS[policy])
    if attempts:
        # systemd counts the first start too
        service.unit.setdefault("Unit", {}).update(StartLimitBurst=int(attempts) + 1, StartLimitIntervalSec="infinity")


def _add_capabilities(add: bool) -> Callable[[Service, Node], None]:  # noqa: FBT001 - the value itself
    def read(service: Service, node: Node) -> None:
        path = service.path("cap_add" if add else "cap_drop")
        for item in node.sequence(path):
            name = item.text(path).upper().removeprefix("CAP_")
            service.options.setdefault("capabilities", {})[name] = add

    return read


def _add_logging(service: Service, node: Node) -> None:
    path = service.path("logging")
    entries = service.fields(node, "logging", ("driver", "options"))
    driver = LogDriver.JOURNALD
    if "driver" in entries:
        name = entries["driver"].text(f"{path}.driver")
        if name not in _LOG_DRIVERS:
            service.leave_out(node, "logging.driver", f"podman has no driver {name}; the output goes to the journal")
            return
        driver = _LOG_DRIVERS[name]
        service.set("log_driver", driver)
    options = entries["options"].items(f"{path}.options") if "options" in entries else {}
    kept = {}
    for key, item in options.items():
        if driver in LOG_OPTIONS.get(key, ()):
            kept[key] = item.text(f"{path}.options.{key}")
        elif key in LOG_OPTIONS:
            known = " or ".join(map(str, LOG_OPTIONS[key]))
            service.leave_out(item, f"logging.options.{key}", f"podman has it for {known} alone; set that driver")
        else:
            service.leave_out(item, f"logging.options.{key}", "podman has no such option; remove it")
    if kept:
        service.set("log_options", kept)


def _add_deploy(service: Service, node: Node) -> None:
    path = service.path("deploy")
    for key, item in node.items(path).items():
        match key:
            case "resources":
                _add_resources(service, item)
            case "restart_policy":
                _add_restart_policy(service, item)
            case "replicas":
                if not _is_told_twice(service, item, "deploy.replicas"):
                    _add_scale(service, item, "deploy.replicas")
            case _ if not key.startswith("x-") and item.value is not None:
                reason = "an option of Swarm alone; remove it" if key in _SWARM else UNKNOWN
                service.leave_out(item, f"deploy.{key}", reason)


def _add_resources(service: Service, node: Node) -> None:
    path = service.path("deploy.resources")
    for kind, item in service.fields(node, "deploy.resources", _RESOURCES).items():
        entries = service.fields(item, f"deploy.resources.{kind}", *_RESOURCES[kind])
        for key, value in entries.items():
            what = f"{path}.{kind}.{key}"
            if _is_told_twice(service, value, f"deploy.resources.{kind}.{key}"):
                continue
            match kind, key:
                case "limits", "cpus":
                    service.add_argument(f"--cpus={value.text(what)}")
                case "limits", "memory":
                    service.set("memory", size(value, what))
                case "limits", "pids":
                    service.set("pids_limit", value.number(what))
                case "reservations", "memory":
                    service.add_argument(f"--memory-reservation={size(value, what)}")
                case "reservations", "devices":
                    key = "deploy.resources.reservations.devices"  # noqa: PLW2901 - the whole path of the same key
                    for each in service.each(value.sequence(what), key):
                        add_gpu_request(service, each, key)


def _is_told_twice(service: Service, node: Node, key: str) -> bool:
    """Return whether another key of the service says the same.

    Raises:
        ComposeError: It says something else; Compose refuses that too.
    """
    twin = _TWINS.get(key, "")
    other = service.entries.get(twin)
    if other is None or other.value is None:
        return False
    if node.text(service.path(key)) != other.text(service.path(twin)):
        raise node.error(f"{service.path(key)}: {node.shown()}, but {twin} is {other.shown()}; remove one of them")
    return True


def _add_restart_policy(service: Service, node: Node) -> None:
    path = service.path("deploy.restart_policy")
    entries = service.fields(node, "deploy.restart_policy", ("condition", "delay", "max_attempts", "window"))
    condition = entries["condition"].text(f"{path}.condition") if "condition" in entries else "any"
    if condition not in _RESTARTS:
        raise node.error(f"{path}.condition: {condition!r}; expected none, on-failure or any")
    service.set("restart", _RESTARTS[condition])
    if "delay" in entries:
        service.unit.setdefault("Service", {})["RestartSec"] = duration_text(entries["delay"], f"{path}.delay")
    limits = service.unit.setdefault("Unit", {}) if {"max_attempts", "window"} & entries.keys() else {}
    if "max_attempts" in entries:
        limits["StartLimitBurst"] = entries["max_attempts"].number(f"{path}.max_attempts") + 1
        limits["StartLimitIntervalSec"] = "infinity"
    if "window" in entries:
        limits["StartLimitIntervalSec"] = duration_text(entries["window"], f"{path}.window")


def _add_scale(service: Service, node: Node, key: str = "scale") -> None:
    count = node.number(service.path(key))
    if count == 0:
        service.set("auto_start", value=False)
    elif count != 1:
        service.leave_out(node, key, f"one container is made instead of {count}; declare each with its own name")


def _add_runtime(service: Service, node: Node) -> None:
    name = posixpath.basename(node.text(service.path("runtime")))
    if name in set(map(str, Runtime)):
        service.set("runtime", Runtime(name))
    else:
        service.leave_out(node, "runtime", f"the runtime {name} is none of crun and runc; remove it")


_READERS: Mapping[str, Callable[[Service, Node], None]] = {
    "cap_add": _add_capabilities(add=True),
    "cap_drop": _add_capabilities(add=False),
    "configs": add_configs,
    "deploy": _add_deploy,
    "devices": add_devices,
    "env_file": _add_environment_files,
    "environment": _add_environment,
    "gpus": add_gpus,
    "healthcheck": _add_healthcheck,
    "label_file": _add_label_files,
    "labels": _add_labels,
    "logging": _add_logging,
    "ports": add_ports,
    "restart": _add_restart,
    "runtime": _add_runtime,
    "scale": _add_scale,
    "secrets": add_secrets,
    "volumes": add_volumes,
}
"""The keys that become more than one option, or an option in another shape."""
