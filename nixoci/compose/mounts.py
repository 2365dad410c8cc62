"""The volumes, configs, secrets and devices of a service."""

from collections.abc import Mapping

from nixoci.compose.node import Node
from nixoci.compose.service import Service, is_external, resource_name
from nixoci.compose.values import host_path, size
from nixoci.container.model import Secret

_KEPT_OPTIONS = frozenset(
    (
        *("ro", "rw", "z", "Z", "nocopy", "U", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "O"),
        *("private", "rprivate", "shared", "rshared", "slave", "rslave", "bind", "rbind"),
    )
)
_WITHOUT_EFFECT = frozenset({"cached", "delegated", "consistent", "default"})
_LONG_FIELDS = ("type", "source", "target", "read_only", "consistency")
_LONG: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "bind": (("propagation", "selinux", "create_host_path", "recursive"), {}),
    "volume": (("nocopy", "subpath"), {"labels": "a volume has labels where it is declared; write them there"}),
    "tmpfs": (("size", "mode"), {}),
}
"""The keys of each type of mount, and those of Compose that podman cannot express, with the reason."""

_CONFIG_LOST = dict.fromkeys(("uid", "gid", "mode"), "the file is mounted as it is; change it on the host")
_SECRET_LOST = dict.fromkeys(("uid", "gid"), "the container's user owns it; set user")
_MOST_GPUS = 128
_GPU_LOST = {"options": "a CDI device has no options; remove them"}
_DECLARED = ("file", "external", "name", "content", "environment", "labels")
_DECLARED_LOST = dict.fromkeys(("driver", "driver_opts", "template_driver"), "an option of Swarm alone; remove it")


def add_volumes(service: Service, node: Node) -> None:
    """Add the mounts of `volumes`, in the short or the long syntax."""
    for item in service.each(node.sequence(service.path("volumes")), "volumes"):
        if item.is_scalar:
            _add_short(service, item)
        else:
            _add_long(service, item)


def _add_short(service: Service, item: Node) -> None:
    text = item.text(service.path("volumes"))
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise item.error(f"{service.path('volumes')}: {text!r} is not a mount; expected SOURCE:TARGET[:OPTIONS]")
    if len(parts) == 1:
        service.append("volumes", text)
        return
    source, target, *rest = parts
    options = []
    for option in rest[0].split(",") if rest else []:
        if option in _KEPT_OPTIONS:
            options.append(option)
        elif option not in _WITHOUT_EFFECT:
            service.leave_out(item, "volumes", f"podman has no mount option {option!r}; remove it")
    _add_mount(service, item, source, target, options)


def _add_long(service: Service, item: Node) -> None:
    path = service.path("volumes")
    kinds = item.items(path)
    kind = kinds["type"].text(f"{path}.type") if "type" in kinds else "volume"
    if kind not in _LONG:
        service.leave_out(item, "volumes", f"a mount of type {kind} is none of a container here; use a volume")
        return
    fields = service.fields(item, "volumes", (*_LONG_FIELDS, kind))
    if "target" not in fields:
        raise item.error(f"{path}: target is missing; give a path in the container")
    target = fields["target"].text(f"{path}.target")
    source = fields["source"].text(f"{path}.source") if "source" in fields else ""
    options = ["ro"] if "read_only" in fields and fields["read_only"].truth(f"{path}.read_only") else []
    more = service.fields(fields[kind], f"volumes.{kind}", *_LONG[kind]) if kind in fields else {}
    match kind:
        case "tmpfs":
            settings = [f"size={size(more['size'], f'{path}.tmpfs.size')}"] if "size" in more else []
            if "mode" in more:
                mode = more["mode"]
                # the number is in octal notation in YAML, or a text with octal digits
                settings.append(f"mode={mode.value:o}" if isinstance(mode.value, int) else f"mode={mode.text(path)}")
            service.append("tmpfs", ":".join(filter(None, (target, ",".join([*options, *settings])))))
            return
        case "bind":
            options += [more[key].text(f"{path}.bind.{key}") for key in ("propagation", "selinux") if key in more]
            _add_bind_fields(service, more, options)
            source = source if source.startswith(("/", ".", "~")) else f"./{source}"
        case "volume":
            options += ["nocopy"] if "nocopy" in more and more["nocopy"].truth(f"{path}.volume.nocopy") else []
            if "subpath" in more:
                if "nocopy" in options:
                    service.leave_out(
                        more["nocopy"], "volumes.volume.nocopy", "podman has both not together; remove one"
                    )
                service.add_argument(
                    f"--mount=type=volume,source={resource_name(service.project, 'volumes', source)}"
                    f",destination={target},subpath={more['subpath'].text(path)}" + (",ro" if "ro" in options else "")
                )
                return
    if source:
        _add_mount(service, item, source, target, options)
    else:
        service.append("volumes", target)


def _add_bind_fields(service: Service, fields: dict[str, Node], options: list[str]) -> None:
    path = service.path("volumes.bind")
    if "create_host_path" in fields and fields["create_host_path"].truth(f"{path}.create_host_path"):
        reason = "podman makes no directory of the host; make it before the first start"
        service.leave_out(fields["create_host_path"], "volumes.bind.create_host_path", reason)
    if "recursive" in fields:
        match fields["recursive"].text(f"{path}.recursive"):
            case "disabled":
                options.append("bind")
            case "enabled":
                pass
            case _:
                reason = "podman decides about the mounts below by itself; use enabled or disabled"
                service.leave_out(fields["recursive"], "volumes.bind.recursive", reason)


def _add_mount(service: Service, item: Node, source: str, target: str, options: list[str]) -> None:
    if source.startswith(("/", ".", "~")):
        source = host_path(item, source, service.home)
    else:
        if source not in service.project.section("volumes"):
            raise item.error(f"{service.path('volumes')}: no volume {source!r}; declare it under volumes")
        source = resource_name(service.project, "volumes", source)
    service.append("volumes", ":".join(filter(None, (source, target, ",".join(options)))))


def add_configs(service: Service, node: Node) -> None:
    """Mount the files of `configs` read-only."""
    for item in service.each(node.sequence(service.path("configs")), "configs"):
        name, fields, entry = _granted(service, item, "configs", lost=_CONFIG_LOST)
        target = fields["target"].text(service.path("configs.target")) if "target" in fields else f"/{name}"
        if "file" not in entry:
            service.leave_out(
                item, "configs", f"the config {name!r} is no file, and a container gets files; write it to one"
            )
            continue
        source = host_path(entry["file"], entry["file"].text(f"configs.{name}.file"), service.home)
        service.append("volumes", f"{source}:{target}:ro")


def add_secrets(service: Service, node: Node) -> None:
    """Add the files of `secrets`, and secrets of podman."""
    secrets: dict[str, Secret] = {}
    for item in service.each(node.sequence(service.path("secrets")), "secrets"):
        name, fields, entry = _granted(service, item, "secrets", lost=_SECRET_LOST)
        target = fields["target"].text(service.path("secrets.target")) if "target" in fields else name
        target = target if target.startswith("/") else f"/run/secrets/{target}"
        mode = _mode(fields["mode"], service.path("secrets.mode")) if "mode" in fields else None
        if is_external(entry, "secrets", name):
            known = entry["name"].text(f"secrets.{name}.name") if "name" in entry else name
            service.add_argument(f"--secret={known},type=mount,target={target}" + (f",mode={mode}" if mode else ""))
        elif "file" in entry:
            source = host_path(entry["file"], entry["file"].text(f"secrets.{name}.file"), service.home)
            secrets[name] = Secret(
                source=source, target=None if target == f"/run/secrets/{name}" else target, mode=mode or "0400"
            )
        else:
            service.leave_out(
                item,
                "secrets",
                f"the secret {name!r} is no file, and its value would be readable in the Nix store;"
                " write it to a file and name that",
            )
    if secrets:
        service.set("secrets", secrets)


def _granted(
    service: Service, item: Node, section: str, *, lost: Mapping[str, str]
) -> tuple[str, dict[str, Node], dict[str, Node]]:
    """Return the name of a config or secret, the service's fields for it, and its declaration."""
    path = service.path(section)
    known = {"source", "target", "mode"} - lost.keys()
    fields = {"source": item} if item.is_scalar else service.fields(item, section, known, lost)
    if "source" not in fields:
        raise item.error(f"{path}: source is missing; name one under {section}")
    name = fields["source"].text(f"{path}.source")
    declared = service.project.section(section)
    if name not in declared:
        raise item.error(f"{path}: {section} has no {name!r}; declare it there")
    return name, fields, service.report.fields(declared[name], f"{section}.{name}", _DECLARED, _DECLARED_LOST)


def _mode(node: Node, what: str) -> str:
    return f"{node.value:04o}" if isinstance(node.value, int) else node.text(what).removeprefix("0o").zfill(4)


def add_devices(service: Service, node: Node) -> None:
    """Add devices: `SOURCE[:TARGET[:rwm]]`, a mapping, or the name of a CDI device."""
    for item in service.each(node.sequence(service.path("devices")), "devices"):
        if item.is_scalar:
            service.append("devices", item.text(service.path("devices")))
            continue
        fields = service.fields(item, "devices", ("source", "target", "permissions"))
        parts = [
            fields[key].text(service.path(f"devices.{key}"))
            for key in ("source", "target", "permissions")
            if key in fields
        ]
        service.append("devices", ":".join(parts))


def add_gpus(service: Service, node: Node) -> None:
    """Add graphics cards as CDI devices of the NVIDIA Container Toolkit."""
    if node.is_scalar:
        service.append("devices", "nvidia.com/gpu=all")
        return
    for item in service.each(node.sequence(service.path("gpus")), "gpus"):
        add_gpu_request(service, item, "gpus")


def add_gpu_request(service: Service, item: Node, key: str) -> None:
    """Add the devices of a request for graphics cards."""
    # capabilities choose the programs and libraries of the driver, all of which a CDI device brings
    fields = service.fields(item, key, ("driver", "count", "device_ids", "capabilities"), _GPU_LOST)
    driver = fields["driver"].text(service.path(f"{key}.driver")) if "driver" in fields else "nvidia"
    if driver != "nvidia":
        service.leave_out(item, key, f"the driver {driver} has no known devices; name its CDI devices under devices")
    elif "device_ids" in fields:
        path = service.path(f"{key}.device_ids")
        ids = [each.text(path) for each in fields["device_ids"].sequence(path)]
        service.append("devices", *(f"nvidia.com/gpu={each}" for each in ids))
    elif "count" in fields and (not fields["count"].is_scalar or fields["count"].value not in {"all", -1}):
        count = fields["count"].number(service.path(f"{key}.count"))
        if not 0 <= count <= _MOST_GPUS:
            raise fields["count"].error(f"{service.path(key)}.count: {count} cards; give all, or 0 to {_MOST_GPUS}")
        service.append("devices", *(f"nvidia.com/gpu={index}" for index in range(count)))
    else:
        service.append("devices", "nvidia.com/gpu=all")
