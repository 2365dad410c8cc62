"""The volumes, configs, secrets and devices of a service."""

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
_SELINUX = {"z", "Z"}


def add_volumes(service: Service, node: Node) -> None:
    """Add the mounts of `volumes`, in the short or the long syntax."""
    for item in node.sequence(service.path("volumes")):
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
    fields = item.items(path)
    kind = fields["type"].text(f"{path}.type") if "type" in fields else "volume"
    if "target" not in fields:
        raise item.error(f"{path}: target is missing; give a path in the container")
    target = fields["target"].text(f"{path}.target")
    source = fields["source"].text(f"{path}.source") if "source" in fields else ""
    options = ["ro"] if "read_only" in fields and fields["read_only"].truth(f"{path}.read_only") else []
    more = fields[kind].items(f"{path}.{kind}") if kind in fields else {}
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
            source = source if source.startswith(("/", ".", "~")) else f"./{source}"
        case "volume":
            options += ["nocopy"] if "nocopy" in more and more["nocopy"].truth(f"{path}.volume.nocopy") else []
            if "subpath" in more:
                service.arguments.append(
                    f"--mount=type=volume,source={resource_name(service.project, 'volumes', source)}"
                    f",destination={target},subpath={more['subpath'].text(path)}" + (",ro" if "ro" in options else "")
                )
                return
        case _:
            service.leave_out(item, "volumes", f"a mount of type {kind} is none of a container here; use a volume")
            return
    if source:
        _add_mount(service, item, source, target, options)
    else:
        service.append("volumes", target)


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
    for item in node.sequence(service.path("configs")):
        name, fields, entry = _granted(service, item, "configs")
        target = fields["target"].text("configs.target") if "target" in fields else f"/{name}"
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
    for item in node.sequence(service.path("secrets")):
        name, fields, entry = _granted(service, item, "secrets")
        target = fields["target"].text("secrets.target") if "target" in fields else name
        target = target if target.startswith("/") else f"/run/secrets/{target}"
        mode = _mode(fields["mode"]) if "mode" in fields else None
        if is_external(entry, "secrets", name):
            known = entry["name"].text(f"secrets.{name}.name") if "name" in entry else name
            service.arguments.append(f"--secret={known},type=mount,target={target}" + (f",mode={mode}" if mode else ""))
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
        for key in ("uid", "gid"):
            if key in fields:
                service.leave_out(fields[key], f"secrets.{name}.{key}", "the container's user owns it; set user")
    if secrets:
        service.set("secrets", secrets)


def _granted(service: Service, item: Node, section: str) -> tuple[str, dict[str, Node], dict[str, Node]]:
    """Return the name of a config or secret, the service's fields for it, and its declaration."""
    path = service.path(section)
    fields = {"source": item} if item.is_scalar else item.items(path)
    if "source" not in fields:
        raise item.error(f"{path}: source is missing; name one under {section}")
    name = fields["source"].text(f"{path}.source")
    declared = service.project.section(section)
    if name not in declared:
        raise item.error(f"{path}: {section} has no {name!r}; declare it there")
    return name, fields, declared[name].items(f"{section}.{name}")


def _mode(node: Node) -> str:
    return f"{node.value:04o}" if isinstance(node.value, int) else node.text("mode").removeprefix("0o").zfill(4)


def add_devices(service: Service, node: Node) -> None:
    """Add devices: `SOURCE[:TARGET[:rwm]]`, a mapping, or the name of a CDI device."""
    for item in node.sequence(service.path("devices")):
        if item.is_scalar:
            service.append("devices", item.text(service.path("devices")))
            continue
        fields = item.items(service.path("devices"))
        parts = [fields[key].text(f"devices.{key}") for key in ("source", "target", "permissions") if key in fields]
        service.append("devices", ":".join(parts))


def add_gpus(service: Service, node: Node) -> None:
    """Add graphics cards as CDI devices of the NVIDIA Container Toolkit."""
    if node.is_scalar:
        service.append("devices", "nvidia.com/gpu=all")
        return
    for item in node.sequence(service.path("gpus")):
        add_gpu_request(service, item, "gpus")


def add_gpu_request(service: Service, item: Node, key: str) -> None:
    """Add the devices of a request for graphics cards."""
    fields = item.items(service.path(key))
    driver = fields["driver"].text(f"{key}.driver") if "driver" in fields else "nvidia"
    if driver != "nvidia":
        service.leave_out(item, key, f"the driver {driver} has no known devices; name its CDI devices under devices")
    elif "device_ids" in fields:
        ids = [each.text(key) for each in fields["device_ids"].sequence(f"{key}.device_ids")]
        service.append("devices", *(f"nvidia.com/gpu={each}" for each in ids))
    elif "count" in fields and fields["count"].value not in {"all", -1}:
        count = fields["count"].number(f"{key}.count")
        service.append("devices", *(f"nvidia.com/gpu={index}" for index in range(count)))
    else:
        service.append("devices", "nvidia.com/gpu=all")
