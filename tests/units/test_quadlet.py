from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.deployment import resolve_deployment
from nixoci.container.model import Backend, Quadlet, Settings
from nixoci.container.rules import check_resolved
from nixoci.errors import ContainerError
from nixoci.units.podman_objects import network_file, other_file, pod_file, volume_file
from nixoci.units.quadlet import container_file
from tests.container.samples import make_image, resolved
from tests.units.samples import IMAGE, TOOLS, deployment, quadlet, resolve_all
from tests.units.test_escape import split

if TYPE_CHECKING:
    from pathlib import Path


def test_podman_is_told_what_the_image_does_not_say(tmp_path: Path) -> None:
    lines = quadlet(tmp_path, cmd=["a b", "$x"], ports=["80:80"], environment={"E": "%n"}, dependsOn=["d"])
    assert {"Image=" + "f" * 64, "Pull=never", 'Exec="a b" "$$x"', "PublishPort=80:80"} <= set(lines)
    assert {'Environment="E=%%n"', "Requires=d.service", "After=d.service", "PodmanArgs=--stop-signal=SIGINT"} <= set(
        lines
    )
    assert not [line for line in lines if line.startswith(("User=", "Environment=A", "PodmanArgs=--entrypoint"))]


@pytest.mark.parametrize("backend", ["podman", "rootfs"])
def test_podman_is_told_a_stop_signal_that_somebody_set(tmp_path: Path, backend: str) -> None:
    def told(folder: str, config: dict[str, Any], **options: Any) -> list[str]:
        container = resolved(make_image(tmp_path / folder, config), backend=Backend(backend), **options)
        file = container_file(container, TOOLS, image_id="f" * 64 if backend == "podman" else None, user=False)
        return [line for line in file.render().splitlines() if "stop-signal" in line]

    # podman itself chooses SIGRTMIN+3 for systemd (podman-run(1), --systemd)
    assert told("1", {"Cmd": ["/sbin/init"]}) == []
    assert told("2", {"Cmd": ["/sbin/init"], "StopSignal": "SIGTERM"}) == ["PodmanArgs=--stop-signal=SIGTERM"]
    assert told("3", {"Cmd": ["/sbin/init"]}, stop_signal="INT") == ["PodmanArgs=--stop-signal=SIGINT"]


def test_without_an_image_podman_is_told_everything(tmp_path: Path) -> None:
    lines = quadlet(tmp_path, backend="rootfs")
    assert {
        f"Rootfs={tmp_path}/rootfs:O",
        "Exec=run it",
        "User=web",
        "PodmanArgs=--workdir=/",
        "Environment=A=1",
    } <= set(lines)
    assert {"PodmanArgs=--entrypoint=", "PodmanArgs=--mount=type=volume,destination=/data,U=true"} <= set(lines)


@pytest.mark.parametrize("word", ["", ";", "a\x80b", "\ufffe"])
def test_arguments_that_quadlet_drops_go_into_the_entrypoint(tmp_path: Path, word: str) -> None:
    lines = quadlet(tmp_path, cmd=["run", word, "end"])
    (found,) = [line for line in lines if line.startswith("PodmanArgs=") and "entrypoint" in line]
    (argument,) = shlex.split(found.removeprefix("PodmanArgs="))
    assert json.loads(argument.removeprefix("--entrypoint=")) == ["run", word, "end"]
    assert not [line for line in lines if line.startswith("Exec=")]


def test_podman_is_told_about_names_and_limits_and_time(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "dns": ["10.0.0.1"],
        "dnsSearch": ["."],
        "dnsOptions": ["ndots:2"],
        "extraHosts": ["a;b:fd00::1", "h:host-gateway"],
        "ulimits": {"nofile": 5, "core": "0:-1"},
        "timezone": "Europe/Berlin",
        "init": True,
        "userNamespace": "auto:size=9",
        "logOptions": {"tag": "{{.Name}} $x %n"},
    }
    lines = quadlet(tmp_path, **options)
    arguments = [word for line in lines if line.startswith("PodmanArgs=") for word in split(line.partition("=")[2])]
    assert {
        *("--dns=10.0.0.1", "--dns-search=.", "--dns-option=ndots:2"),
        *("--add-host=a;b:fd00::1", "--add-host=h:host-gateway"),
        *("--ulimit=nofile=5:5", "--ulimit=core=0:-1", "--tz=Europe/Berlin", "--init", "--userns=auto:size=9"),
        "--log-opt=tag={{.Name}} $$x %%n",
    } <= set(arguments)
    assert {"LogDriver=journald", "PassEnvironment=TZDIR"} <= set(lines)
    assert "LogDriver=k8s-file" in quadlet(tmp_path / "file", logDriver="k8s-file")


def test_the_check_of_an_image_is_turned_off(tmp_path: Path) -> None:
    make_image(tmp_path, IMAGE | {"Healthcheck": {"Test": ["CMD", "x"]}})
    document = deployment(tmp_path, {"healthcheck": {"test": ["NONE"]}})
    container = resolve_deployment(document).containers[0]
    assert "HealthCmd=none\n" in container_file(container, TOOLS, image_id="f" * 64, user=False).render()


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_podman_ends_an_unhealthy_container(tmp_path: Path, action: str) -> None:
    assert f"HealthOnFailure={action}" in quadlet(tmp_path, healthcheck={"test": ["CMD", "x"], "onFailure": action})
    without = quadlet(tmp_path / "none", healthcheck={"test": ["CMD", "x"], "onFailure": "none"})
    assert not [line for line in without if line.startswith("HealthOnFailure")]


def test_the_unit_has_its_own_name_and_the_container_keeps_its_own(tmp_path: Path) -> None:
    deployment = resolve_all(tmp_path, {"serviceName": "web", "backend": "rootfs"}).parsed.declared
    renamed = replace(deployment.containers["d"], depends_on=["c"])
    containers = resolve_deployment(replace(deployment, containers=deployment.containers | {"d": renamed})).containers
    first, second = (container_file(each, TOOLS, image_id="f" * 64, user=False) for each in containers)
    assert (first.name, second.name) == ("web.container", "d.container")
    assert "ContainerName=c\n" in first.render()
    assert "Requires=web.service\nAfter=web.service\n" in second.render()


def test_a_file_of_another_kind_is_written_as_declared() -> None:
    kube = Settings(quadlet={"Yaml": "/app.yaml", "PublishPort": ["1:1", "2:2"]}, unit={"Unit": {"After": "x.service"}})
    text = other_file("app.kube", Quadlet(settings=kube), TOOLS, user=False).render()
    assert text == (
        "[Kube]\nYaml=/app.yaml\nPublishPort=1:1\nPublishPort=2:2\n\n[Unit]\nAfter=x.service\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    image = Settings(quadlet={"Image": "docker.io/x", "Arch": "arm64", "TLSVerify": False})
    pulled = other_file("x.image", Quadlet(auto_start=False, settings=image), TOOLS, user=True).render()
    # the generator writes the options of such keys in random order
    assert "[Image]\nImage=docker.io/x\nPodmanArgs=--arch arm64\nPodmanArgs=--tls-verify=false\n" in pulled
    assert "WantedBy" not in pulled
    with pytest.raises(ContainerError, match=r"^quadlets\.app\.kube\.settings\.quadlet\.Yaml: .*relative path"):
        other_file("app.kube", Quadlet(settings=Settings(quadlet={"Yaml": "app.yaml"})), TOOLS, user=False)


def test_names_of_the_document_become_units(tmp_path: Path) -> None:
    more: dict[str, Any] = {"volumes": {"v": {}}, "networks": {"n": {}}}
    lines = quadlet(tmp_path, more=more, volumes=["v:/data:ro", "w:/w"], networks=["n", "other"])
    assert {"Volume=v.volume:/data:ro", "Volume=w:/w", "Network=n.network", "Network=other"} <= set(lines)


def test_networks_have_podmans_options_and_a_containers_network_its_order(tmp_path: Path) -> None:
    more: dict[str, Any] = {"networks": {"n": {}}}
    lines = quadlet(tmp_path / "1", more=more, networks=["n:alias=db,ip=10.91.0.7", "other:mac=92:d0:c6:0a:29:33"])
    assert {"Network=n.network:alias=db,ip=10.91.0.7", "Network=other:mac=92:d0:c6:0a:29:33"} <= set(lines)
    lines = quadlet(tmp_path / "2", networks=["container:d"])
    assert {"Network=container:d", "Requires=d.service", "After=d.service"} <= set(lines)
    lines = quadlet(tmp_path / "3", networks=["container:elsewhere"])
    assert "Network=container:elsewhere" in lines
    assert not [line for line in lines if "elsewhere.service" in line]


def test_podman_looks_up_devices_of_cdi(tmp_path: Path) -> None:
    lines = quadlet(tmp_path, devices=["nvidia.com/gpu=all", "/dev/dri"])
    assert {"AddDevice=nvidia.com/gpu=all", "AddDevice=/dev/dri:/dev/dri:rwm"} <= set(lines)


def test_a_health_check_is_podmans(tmp_path: Path) -> None:
    check_ = {"test": ["CMD", "a", "$b"], "interval": "1m"}
    lines = quadlet(tmp_path / "1", healthcheck=check_, notify="healthy")
    assert {'HealthCmd=["a", "$$b"]', "HealthInterval=60000000us", "Notify=healthy"} <= set(lines)
    shell = quadlet(tmp_path / "2", healthcheck={"test": ["CMD-SHELL", "a && b"]})
    assert 'HealthCmd=["CMD-SHELL", "a && b"]' in shell
    # podman would make a timer to turn off a check that is not there
    assert not [line for line in quadlet(tmp_path / "3") if line.startswith("HealthCmd")]
    odd = quadlet(tmp_path / "6", healthcheck={"test": ["CMD", "a", "\n\x7f\u2028%"]})
    assert 'HealthCmd=["a", "\\n\\u007f\\u2028%%"]' in odd
    # podman would run the one word of a list in a shell, which an image need not have
    assert "HealthCmd=CMD /a%%" in quadlet(tmp_path / "4", healthcheck={"test": ["CMD", "/a%"]})
    with pytest.raises(ContainerError, match=r"^containers\.c\.healthcheck\.test: podman cannot run 'a b'"):
        quadlet(tmp_path / "5", healthcheck={"test": ["CMD", "a b"]})


def test_volumes_networks_and_pods_have_their_own_names(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "volumes": {"v": {"labels": {"a": "b c"}}},
        "networks": {"n": {"internal": True, "subnets": ["10.1.0.0/24"]}},
        "pods": {"p": {"ports": ["80:80"], "networks": ["n"], "settings": {"quadlet": {"ShmSize": "1m"}}}},
    }
    whole = resolve_all(tmp_path, {"pod": "p"}, **more)
    volume = volume_file("v", whole.declared.volumes["v"], user=False).render().splitlines()
    assert {"VolumeName=v", 'Label="a=b c"'} <= set(volume)
    network = network_file("n", whole.declared.networks["n"], user=False).render().splitlines()
    assert {"NetworkName=n", "Internal=true", "Subnet=10.1.0.0/24"} <= set(network)
    pod = pod_file(whole.parsed.pods[0], user=True).render().splitlines()
    assert {
        "PodName=p",
        "PublishPort=80:80",
        "Network=n.network",
        "PodmanArgs=--shm-size 1m",
        "WantedBy=default.target",
    } <= set(pod)


def test_podman_is_told_which_runtime_to_use(tmp_path: Path) -> None:
    assert "GlobalArgs=--runtime=/r/runc" in quadlet(tmp_path / "1", runtime="runc")
    assert not [line for line in quadlet(tmp_path / "2") if line.startswith("GlobalArgs")]


def test_podman_is_asked_to_say_that_it_runs_a_bare_tree(tmp_path: Path) -> None:
    assert "Environment=container=podman" in quadlet(tmp_path / "1", backend="rootfs")
    own = quadlet(tmp_path / "2", backend="rootfs", environment={"container": "x"})
    assert [line for line in own if "container=" in line] == ["Environment=container=x"]


def test_a_container_of_a_pod_that_does_not_start_by_itself_does_not_start_with_the_pod(tmp_path: Path) -> None:
    more: dict[str, Any] = {"pods": {"p": {}}}
    assert "StartWithPod=false" in quadlet(tmp_path / "1", more=more, pod="p", autoStart=False)
    assert not [line for line in quadlet(tmp_path / "2", more=more, pod="p") if line.startswith("StartWithPod")]
    assert not [line for line in quadlet(tmp_path / "3", autoStart=False) if line.startswith("StartWithPod")]


def test_a_working_directory_that_podman_would_not_find_is_refused(tmp_path: Path) -> None:
    """podman creates a working directory of the image, but not one from an option."""
    with pytest.raises(ContainerError, match=r"^containers\.c\.workdir: the image has no /not/there, "):
        quadlet(tmp_path / "1", workdir="/not/there")
    assert "PodmanArgs=--workdir=/not/there" in quadlet(tmp_path / "2", workdir="/not/there", volumes=["v:/not"])
    assert "PodmanArgs=--workdir=/srv" in quadlet(tmp_path / "3", workdir="/srv")


def test_a_capability_that_is_none_is_refused_when_podman_is_told(tmp_path: Path) -> None:
    for number, backend in enumerate(("podman", "rootfs")):
        with pytest.raises(ContainerError, match=r"^containers\.c\.capabilities: no capability 'FLY'"):
            quadlet(tmp_path / str(number), backend=backend, capabilities={"FLY": True})


def test_podman_finds_newuidmap_from_every_unit_of_a_user(tmp_path: Path) -> None:
    more: dict[str, Any] = {"volumes": {"v": {}}, "networks": {"n": {}}, "pods": {"p": {}}}
    own = {"unit": {"Service": {"Environment": ["PATH=/mine"]}}}
    lines = quadlet(tmp_path / "1", user=True, more=more, settings=own)
    whole = resolve_all(tmp_path / "3", {}, **more)
    volumes, networks = whole.declared.volumes, whole.declared.networks
    files = [volume_file("v", volumes["v"], user=True), network_file("n", networks["n"], user=True)]
    files.append(pod_file(whole.parsed.pods[0], user=True))
    for unit in [lines, *(file.render().splitlines() for file in files)]:
        (path, *_) = [line for line in unit if line.startswith("Environment=PATH=")]
        assert "/run/wrappers/bin" in path.removeprefix("Environment=PATH=").split(":")
    # the last one counts
    assert lines.index("Environment=PATH=/mine") > lines.index(next(line for line in lines if "wrappers" in line))
    assert not [line for line in quadlet(tmp_path / "2") if "PATH" in line]


def test_a_volume_of_the_image_goes_to_the_containers_user_and_must_be_a_word_of_podmans(tmp_path: Path) -> None:
    container = resolved(make_image(tmp_path, {"Cmd": ["x"], "Volumes": {"/a,b": {}}}), backend=Backend.ROOTFS)
    with pytest.raises(ContainerError, match=r"^containers\.c\.image: its volume '/a,b' has a comma"):
        check_resolved(container)


@pytest.mark.parametrize("program", ["CMD", "cmd-shell", "None"])
def test_a_program_that_podman_takes_for_a_keyword_is_refused(tmp_path: Path, program: str) -> None:
    with pytest.raises(ContainerError, match=r"^containers\.c\.healthcheck\.test: podman takes the program"):
        quadlet(tmp_path, healthcheck={"test": ["CMD", program, "x"]})
