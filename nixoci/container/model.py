"""The container model: one typed document that drives bundles, units and the Nix modules.

Names and meaning follow `virtualisation.oci-containers`. The classes are the JSON document (camelCase keys) and
the source of its JSON schema (`nixoci.container.schema`); a field's text is in its metadata, for the schema and
for the option reference.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Self

from nixoci.document import parse

Section = dict[str, Any]
"""The keys of a section of a unit file; a value is text, a number, true, false, or a list of these (one line each)."""


def option_path(kind: str, name: str, field: str) -> str:
    """Return the path of an option of a container, volume, network or pod, as errors start with it."""
    return f"{kind}.{name}.{field}"


def about(text: str) -> Mapping[str, str]:
    """Return field metadata that describes a field."""
    return {"about": text}


class _Choice(Enum):
    """A fixed set of words; the error for another word lists them."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"expected one of {', '.join(str(choice) for choice in cls)}, got {value!r}")

    def __str__(self) -> str:
        return str(self.value)


class Backend(_Choice):
    """The program that runs a container."""

    PODMAN = "podman"
    ROOTFS = "rootfs"
    BUNDLE = "bundle"
    SYSTEMD = "systemd"

    @property
    def uses_podman(self) -> bool:
        """True if podman runs the containers."""
        return self in {Backend.PODMAN, Backend.ROOTFS}


class Engine(_Choice):
    """An engine of the host that finds the images among its own, besides podman."""

    DOCKER = "docker"
    DOCKER_CONTAINERD = "docker-containerd"
    CONTAINERD = "containerd"
    KUBERNETES = "kubernetes"
    K3S = "k3s"


class Runtime(_Choice):
    """The OCI runtime that starts a container's processes."""

    CRUN = "crun"
    RUNC = "runc"


class Notify(_Choice):
    """The event that makes a container's unit ready."""

    STARTED = "started"
    CONTAINER = "container"
    HEALTHY = "healthy"


class HealthAction(_Choice):
    """The action on a container that has become unhealthy (podman-run(1), `--health-on-failure`)."""

    NONE = "none"
    KILL = "kill"
    RESTART = "restart"
    STOP = "stop"


class LogDriver(_Choice):
    """The destination of a container's output (podman-run(1), `--log-driver`)."""

    JOURNALD = "journald"
    K8S_FILE = "k8s-file"
    JSON_FILE = "json-file"
    NONE = "none"
    PASSTHROUGH = "passthrough"


class WritableLayer(_Choice):
    """The lifetime of a container's changes to its root."""

    VOLATILE = "volatile"
    PERSISTENT = "persistent"


class Restart(_Choice):
    """The exits after which systemd starts a container again (systemd.service(5), `Restart=`)."""

    NO = "no"
    ALWAYS = "always"
    ON_SUCCESS = "on-success"
    ON_FAILURE = "on-failure"
    ON_ABNORMAL = "on-abnormal"
    ON_ABORT = "on-abort"
    ON_WATCHDOG = "on-watchdog"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthcheckOptions:
    """Changes to the health check; options that are not set come from the image, then from podman's defaults."""

    test: list[str] | None = field(
        default=None, metadata=about('`["CMD", ...]`, `["CMD-SHELL", command]` or `["NONE"]`, as in an image.')
    )
    interval: str | None = field(default=None, metadata=about("Time between checks, for example `30s` or `1m30s`."))
    timeout: str | None = field(default=None, metadata=about("Time after which a check counts as failed."))
    start_period: str | None = field(
        default=None, metadata=about("Time after the start in which failures do not count.")
    )
    retries: int | None = field(default=None, metadata=about("Failures in a row that make the container unhealthy."))
    on_failure: HealthAction | None = field(
        default=None,
        metadata=about(
            "The action on an unhealthy container: `none`, `kill` (the unit fails) or `stop` (a clean exit); `restart`"
            " of the container decides about the next start."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A file that only the container's user can read, passed on by systemd (`LoadCredential=`)."""

    source: str = field(metadata=about("The file on the host, or the name of a credential of systemd's own."))
    target: str | None = field(
        default=None, metadata=about("Absolute path inside the container, by default `/run/secrets/NAME`.")
    )
    mode: str = field(default="0400", metadata=about("Octal permission bits of the file inside."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that are passed on verbatim (RFC 42): checked for line breaks alone, never escaped."""

    unit: dict[str, Section] = field(
        default_factory=dict, metadata=about("Sections `Unit`, `Service` and `Install` of the unit (systemd.unit(5)).")
    )
    quadlet: Section = field(
        default_factory=dict, metadata=about("Keys of the Quadlet file's own section (podman-systemd.unit(5)).")
    )
    runtime: dict[str, Any] = field(
        default_factory=dict,
        metadata=about("Merged into config.json (runtime-spec): objects merge, other values replace the old ones."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container, as declared."""

    image: str = field(metadata=about("The name of an image of this document."))
    backend: Backend = field(
        default=Backend.PODMAN,
        metadata=about(
            "`podman` runs the image from the image store. `rootfs` runs the bare tree with podman: for an old podman"
            " or kernel; owners are lost. `bundle` needs only systemd and crun (or runc). `systemd` needs no runtime."
        ),
    )
    runtime: Runtime | None = field(
        default=None, metadata=about("`crun` or `runc`; by default crun for a bundle, else podman's own default.")
    )
    entrypoint: list[str] | None = field(
        default=None, metadata=about("Replaces the image's entrypoint, and with it the image's command.")
    )
    cmd: list[str] = field(
        default_factory=list,
        metadata=about("Replaces the image's command (the entrypoint's arguments), if not empty."),
    )
    environment: dict[str, str] = field(
        default_factory=dict, metadata=about("Environment variables; they override the image's.")
    )
    environment_files: list[str] = field(
        default_factory=list,
        metadata=about("Files on the host with more variables, in podman's format; `environment` overrides them."),
    )
    ports: list[str] = field(
        default_factory=list, metadata=about("Published ports: `[[IP:]HOST:]CONTAINER[/tcp|udp|sctp]`.")
    )
    volumes: list[str] = field(
        default_factory=list,
        metadata=about("Mounts: `SOURCE:TARGET[:OPTIONS]`, where SOURCE is an absolute path or the name of a volume."),
    )
    depends_on: list[str] = field(
        default_factory=list, metadata=about("Containers that must be ready before this one starts.")
    )
    user: str | None = field(
        default=None, metadata=about("`USER[:GROUP]`, as names or numbers; names are looked up in the image.")
    )
    workdir: str | None = field(default=None, metadata=about("The working directory, an absolute path."))
    hostname: str | None = field(default=None, metadata=about("The host name inside."))
    timezone: str | None = field(
        default=None, metadata=about("The time zone inside, for example `Europe/Berlin`, or `local` for the host's.")
    )
    labels: dict[str, str] = field(default_factory=dict, metadata=about("Labels; they override the image's."))
    networks: list[str] = field(
        default_factory=list,
        metadata=about(
            "Networks of this document or of podman, with podman's options (`NAME:alias=db,ip=10.0.0.2`), or `host`,"
            " `none` or `container:NAME`. A bundle and the systemd backend have `host` or `none`."
        ),
    )
    dns: list[str] = field(
        default_factory=list,
        metadata=about(
            "Addresses of name servers, by default the network's; `[\"none\"]` for the image's resolv.conf."
        ),
    )
    dns_search: list[str] = field(
        default_factory=list, metadata=about('Domains to search for names; `["."]` for no domain.')
    )
    dns_options: list[str] = field(
        default_factory=list, metadata=about("Options of resolv.conf(5), for example `ndots:2`.")
    )
    extra_hosts: list[str] = field(
        default_factory=list,
        metadata=about("More lines of /etc/hosts: `NAME[;NAME]...:ADDRESS`; the address `host-gateway` is the host's."),
    )
    pod: str | None = field(default=None, metadata=about("The pod of this document that the container joins."))
    devices: list[str] = field(
        default_factory=list,
        metadata=about(
            "Devices of the host: `/dev/x[:/dev/y][:rwm]`. podman also takes directories of devices, and CDI devices"
            " (`nvidia.com/gpu=all`)."
        ),
    )
    capabilities: dict[str, bool] = field(
        default_factory=dict, metadata=about("Capabilities to add to (true) or drop from (false) podman's defaults.")
    )
    privileged: bool = field(default=False, metadata=about("All capabilities and devices, without confinement."))
    user_namespace: str | None = field(
        default=None,
        metadata=about(
            "The user namespace: `host`, `auto[:OPTIONS]`, `keep-id[:OPTIONS]`, and for a user's containers `nomap`"
            " (podman-run(1), `--userns`). A bundle and the systemd backend have `host`."
        ),
    )
    init: bool = field(
        default=False, metadata=about("Run podman's init (catatonit) as the first process, which reaps zombies.")
    )
    service_name: str | None = field(
        default=None, metadata=about("The name of the unit without `.service`, by default the container's.")
    )
    auto_start: bool = field(default=True, metadata=about("Start with the machine (or the user's session)."))
    extra_options: list[str] = field(
        default_factory=list,
        metadata=about("More arguments for `podman run`, which reads them when the container starts."),
    )
    log_driver: LogDriver | None = field(
        default=None,
        metadata=about("The destination of the output, by default `journald`. Only podman has others."),
    )
    log_options: dict[str, str] = field(
        default_factory=dict,
        metadata=about("Options of the log driver: `path`, `max-size` (of files), `tag` (of the journal)."),
    )
    healthcheck: HealthcheckOptions = field(
        default_factory=HealthcheckOptions, metadata=about("Changes to the image's health check.")
    )
    notify: Notify = field(
        default=Notify.STARTED,
        metadata=about("The event that makes the unit ready: the process runs, reports it (sd_notify), or is healthy."),
    )
    stop_signal: str | None = field(
        default=None, metadata=about("The signal to stop the container, by default the image's.")
    )
    stop_timeout: int = field(default=10, metadata=about("Seconds until a container that is stopped is killed."))
    restart: Restart = field(
        default=Restart.ALWAYS, metadata=about("The exits after which systemd starts the container again.")
    )
    read_only: bool = field(default=False, metadata=about("Make the root read-only, except /run, /tmp and /var/tmp."))
    writable_layer: WritableLayer = field(
        default=WritableLayer.VOLATILE,
        metadata=about("The lifetime of changes to the root; only a bundle can keep them after the container stops."),
    )
    tmpfs: list[str] = field(
        default_factory=list,
        metadata=about("File systems in memory: `TARGET[:OPTIONS]`, for example `/tmp:mode=1777`."),
    )
    shm_size: str | None = field(
        default=None, metadata=about("Size of /dev/shm, for example `256m`; by default podman's, 64000k.")
    )
    memory: str | None = field(
        default=None, metadata=about("Most memory of all its processes, for example `512m`, and as much swap.")
    )
    pids_limit: int | None = field(
        default=None, metadata=about("Most processes and threads at a time; -1 for as many as the host has.")
    )
    ulimits: dict[str, int | str] = field(
        default_factory=dict,
        metadata=about("Limits of each process: a number or `SOFT:HARD` by name, for example `nofile`; -1 for none."),
    )
    sysctls: dict[str, str] = field(
        default_factory=dict, metadata=about("Kernel parameters of the container's own namespaces.")
    )
    secrets: dict[str, Secret] = field(default_factory=dict, metadata=about("Secret files by name."))
    settings: Settings = field(default_factory=Settings, metadata=about("Settings that are passed on verbatim."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume of podman that a unit creates (`.volume`)."""

    labels: dict[str, str] = field(default_factory=dict, metadata=about("Labels."))
    settings: Settings = field(default_factory=Settings, metadata=about("Settings that are passed on verbatim."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of podman that a unit creates (`.network`)."""

    internal: bool = field(default=False, metadata=about("No connection to the outside."))
    subnets: list[str] = field(default_factory=list, metadata=about("Subnets, for example `10.89.0.0/24`."))
    labels: dict[str, str] = field(default_factory=dict, metadata=about("Labels."))
    settings: Settings = field(default_factory=Settings, metadata=about("Settings that are passed on verbatim."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that a unit creates (`.pod`)."""

    ports: list[str] = field(default_factory=list, metadata=about("Published ports, as for a container."))
    networks: list[str] = field(default_factory=list, metadata=about("Networks, as for a container."))
    labels: dict[str, str] = field(default_factory=dict, metadata=about("Labels."))
    settings: Settings = field(default_factory=Settings, metadata=about("Settings that are passed on verbatim."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadlet:
    """A Quadlet file of a kind without options of its own: `.kube`, `.image`, `.build` or `.artifact`."""

    auto_start: bool = field(default=True, metadata=about("Start with the machine (or the user's session)."))
    settings: Settings = field(
        default_factory=Settings,
        metadata=about("Its content: `quadlet` is the section of its kind (`Kube` and so on), `unit` has the others."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything that runs on one host, or for one of its users."""

    images: dict[str, str] = field(
        default_factory=dict, metadata=about("Image paths by name (made by `nixoci extract`).")
    )
    image_store: str | None = field(
        default=None, metadata=about("The image store path that the host's storage.conf names.")
    )
    engines: list[Engine] = field(
        default_factory=list,
        metadata=about("The host's engines, besides podman, that get all images of the image store."),
    )
    containers: dict[str, Container] = field(default_factory=dict, metadata=about("Containers by name."))
    volumes: dict[str, Volume] = field(default_factory=dict, metadata=about("Volumes by name."))
    networks: dict[str, Network] = field(default_factory=dict, metadata=about("Networks by name."))
    pods: dict[str, Pod] = field(default_factory=dict, metadata=about("Pods by name."))
    quadlets: dict[str, Quadlet] = field(
        default_factory=dict, metadata=about("Other Quadlet files by name, for example `app.kube`.")
    )

    @classmethod
    def read(cls, file: str | os.PathLike[str]) -> Self:
        """Read a deployment's JSON file.

        Raises:
            DocumentError: It is not JSON, or not of this shape; unknown keys are refused.
        """
        return parse(cls, Path(file).read_bytes(), what=os.fspath(file), strict=True)
