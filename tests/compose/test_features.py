"""Features of the Compose specification (05-services.md), and the options of a container that they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import ComposeError
from tests.compose.samples import container, imported, omissions

if TYPE_CHECKING:
    from pathlib import Path

SAME: dict[str, tuple[str, dict[str, Any]]] = {
    "a command that is text is split as by a shell, without expansion": (
        "command: sh -c 'echo \"a  b\" $$HOME'",
        {"cmd": ["sh", "-c", 'echo "a  b" $HOME']},
    ),
    "a command that is a list stays as it is": ("command: [a, 'b c']", {"cmd": ["a", "b c"]}),
    "an entrypoint": ("entrypoint: /run.sh --now", {"entrypoint": ["/run.sh", "--now"]}),
    "variables as a mapping": (
        "environment: {A: x, N: 1, T: true, E: ''}",
        {"environment": {"A": "x", "N": "1", "T": "true", "E": ""}},
    ),
    "variables as a list": ("environment: [A=x=y, B=]", {"environment": {"A": "x=y", "B": ""}}),
    "short ports": (
        'ports: ["80", "8080:80", "127.0.0.1:53:53/udp", "3000-3001:4000-4001", "[::1]:81:81"]',
        {"ports": ["80", "8080:80", "127.0.0.1:53:53/udp", "3000-3001:4000-4001", "[::1]:81:81"]},
    ),
    "a port that YAML 1.1 takes for a number of base 60": ("ports: [22:22]", {"ports": ["22:22"]}),
    "a port as a number": ("ports: [80]", {"ports": ["80"]}),
    "long ports": (
        "ports: [{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp, mode: host}]",
        {"ports": ["127.0.0.1:8080:80/udp"]},
    ),
    "relative and home paths of mounts": (
        "volumes: [./a:/a, ../b:/b:ro, ~/c:/c, /d:/d:z]",
        {"volumes": ["/srv/app/a:/a", "/srv/b:/b:ro", "/home/me/c:/c", "/d:/d:z"]},
    ),
    "an anonymous volume": ("volumes: [/data]", {"volumes": ["/data"]}),
    "a long bind mount": (
        "volumes: [{type: bind, source: ./a, target: /a, read_only: true, bind: {propagation: rslave}}]",
        {"volumes": ["/srv/app/a:/a:ro,rslave"]},
    ),
    "a long file system in memory": (
        "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o1777}}]",
        {"tmpfs": ["/t:size=1m,mode=1777"]},
    ),
    "one file system in memory": ("tmpfs: /run:size=1m", {"tmpfs": ["/run:size=1m"]}),
    "a shell's health check": (
        "healthcheck: {test: curl -f localhost, interval: 1m30s, timeout: 1.5s, start_period: 10s, retries: 3}",
        {
            "healthcheck": {
                "test": ["CMD-SHELL", "curl -f localhost"],
                "interval": "1m30s",
                "timeout": "1s500ms",
                "startPeriod": "10s",
                "retries": 3,
            }
        },
    ),
    "a health check of words": ("healthcheck: {test: [CMD, a, b]}", {"healthcheck": {"test": ["CMD", "a", "b"]}}),
    "no health check": ("healthcheck: {disable: true}", {"healthcheck": {"test": ["NONE"]}}),
    "the restart after failures": ("restart: on-failure", {"restart": "on-failure"}),
    "limits on memory and processes": (
        "mem_limit: 1.5g\npids_limit: 100\nshm_size: 64mb",
        {"memory": "1610612736", "pidsLimit": 100, "shmSize": "64m"},
    ),
    "limits of deploy": (
        "deploy: {resources: {limits: {memory: 50M, pids: 10}}}",
        {"memory": "50m", "pidsLimit": 10},
    ),
    "the limit of processors": ("cpus: 0.5", {"extraOptions": ["--cpus=0.5"]}),
    "kernel parameters": ("sysctls: [net.core.somaxconn=1024]", {"sysctls": {"net.core.somaxconn": "1024"}}),
    "capabilities": (
        "cap_add: [NET_ADMIN]\ncap_drop: [ALL, CAP_CHOWN]",
        {"capabilities": {"NET_ADMIN": True, "ALL": False, "CHOWN": False}},
    ),
    "devices": ("devices: [/dev/null:/dev/x:rw]", {"devices": ["/dev/null:/dev/x:rw"]}),
    "all graphics cards": ("gpus: all", {"devices": ["nvidia.com/gpu=all"]}),
    "two graphics cards": (
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]}}}",
        {"devices": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]},
    ),
    "names and places": (
        "user: '33:33'\nworking_dir: /srv\nhostname: host\nlabels: [a=b, c]",
        {"user": "33:33", "workdir": "/srv", "hostname": "host", "labels": {"a": "b", "c": ""}},
    ),
    "a read-only root": ("read_only: true", {"readOnly": True}),
    "a privileged container": ("privileged: true", {"privileged": True}),
    "the stop signal and its time, rounded up": (
        "stop_signal: SIGQUIT\nstop_grace_period: 1m1.5s",
        {"stopSignal": "SIGQUIT", "stopTimeout": 62},
    ),
    "security options": (
        "security_opt: ['label=disable', 'no-new-privileges:true']",
        {"extraOptions": ["--security-opt=label=disable", "--security-opt=no-new-privileges:true"]},
    ),
    "a terminal": ("tty: true\nstdin_open: true", {"extraOptions": ["--tty=true", "--interactive=true"]}),
    "the runtime": ("runtime: runc", {"runtime": "runc"}),
}


@pytest.mark.parametrize("feature", SAME)
def test_a_feature_is_an_option(feature: str) -> None:
    keys, expected = SAME[feature]
    found = container(keys)
    assert {key: found.get(key) for key in expected} == expected
    assert omissions(keys) == []


@pytest.mark.parametrize(
    ("keys", "option", "value"),
    [
        ("dns: [1.1.1.1, '::1']", "dns", ["1.1.1.1", "::1"]),
        ("dns: 1.1.1.1", "dns", ["1.1.1.1"]),
        ("dns_search: example.org", "dnsSearch", ["example.org"]),
        ("dns_opt: ['ndots:2']", "dnsOptions", ["ndots:2"]),
        (
            "extra_hosts: ['a=10.0.0.1', 'b:host-gateway', 'c=[::1]']",
            "extraHosts",
            ["a:10.0.0.1", "b:host-gateway", "c:::1"],
        ),
        ("extra_hosts: {a: 10.0.0.1}", "extraHosts", ["a:10.0.0.1"]),
        ("init: true", "init", True),
        (
            "ulimits: {nproc: 5, nofile: {soft: 10, hard: 20}}",
            "ulimits",
            {"nproc": 5, "nofile": "10:20"},
        ),
        ("logging: {driver: journald}", "logDriver", "journald"),
        ("logging: {driver: k8s-file, options: {max-size: 10m}}", "logOptions", {"max-size": "10m"}),
        ("userns_mode: host", "userNamespace", "host"),
    ],
)
def test_a_value_is_in_the_notation_of_its_option(keys: str, option: str, value: Any) -> None:
    assert container(keys)[option] == value
    assert omissions(keys) == []


def test_restart_is_no_by_default_and_unless_stopped_is_always() -> None:
    assert container("")["restart"] == "no"
    assert "restart" not in container("restart: unless-stopped")  # the model's default is always


def test_attempts_limit_the_starts() -> None:
    found = container("restart: on-failure:3")
    assert found["restart"] == "on-failure"
    assert found["settings"]["unit"]["Unit"] == {"StartLimitBurst": 4, "StartLimitIntervalSec": "infinity"}


def test_deploy_has_a_restart_policy() -> None:
    found = container("deploy: {restart_policy: {condition: on-failure, delay: 5s, max_attempts: 2, window: 2m}}")
    assert found["restart"] == "on-failure"
    assert found["settings"]["unit"] == {
        "Unit": {"StartLimitBurst": 3, "StartLimitIntervalSec": "2m"},
        "Service": {"RestartSec": "5s"},
    }


def test_the_restart_policy_of_deploy_has_precedence() -> None:
    keys = "restart: always\n", "deploy: {restart_policy: {condition: none}}\n"
    assert [container(a + b).get("restart") for a, b in (keys, keys[::-1])] == ["no", "no"]
    assert container(keys[0] + "deploy: {}").get("restart", "always") == "always"


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("replicas: {}", "scale"),
        ("resources: {{limits: {{cpus: {}}}}}", "cpus"),
        ("resources: {{limits: {{memory: {}}}}}", "mem_limit"),
        ("resources: {{limits: {{pids: {}}}}}", "pids_limit"),
        ("resources: {{reservations: {{memory: {}}}}}", "mem_reservation"),
    ],
)
def test_what_is_told_twice_has_to_be_the_same(key: str, own: str) -> None:
    keys = f"{own}: 7\n", f"deploy: {{{key.format(7)}}}\n"
    assert container(keys[0] + keys[1]) == container(keys[1] + keys[0]) == container(keys[0])
    with pytest.raises(
        ComposeError, match=rf"^compose\.yaml:5: services\.web\.deploy\..*: 8, but {own} is 7; remove one"
    ):
        container(f"{own}: 7\ndeploy: {{{key.format(8)}}}")


@pytest.mark.parametrize("keys", ["scale: 0", "deploy: {replicas: 0}"])
def test_a_service_of_no_container_is_one_that_somebody_starts(keys: str) -> None:
    assert container(keys)["autoStart"] is False
    assert omissions(keys) == []


def test_labels_of_files_give_way_to_those_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a.b=1\nboth=one\n", encoding="utf-8")
    (tmp_path / "two").write_text("both=two\nc='$x'\n", encoding="utf-8")
    for keys in ("labels: {a.b: own}\nlabel_file: [one, two]", "label_file: [one, two]\nlabels: {a.b: own}"):
        assert container(keys, directory=tmp_path)["labels"] == {"a.b": "own", "both": "two", "c": "$x"}
    with pytest.raises(ComposeError, match=r"^compose\.yaml:4: services\.web\.label_file: .*/no: No such file"):
        container("label_file: no", directory=tmp_path)


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("ports:\n  - 80:80\n  - 80:81", "6: services.web.ports"),
        ("volumes:\n  - ./a:/a\n  - ./b:/", "6: services.web.volumes"),
        ("hostname: a b", "4: services.web.hostname"),
        ("healthcheck:\n  test: [CMD, x]\n  retries: -1", "4: services.web.healthcheck.retries"),
        ("command: [a, '']\nworking_dir: no", "5: services.web.working_dir"),
        ("container_name: a b", "4: services.web.container_name"),
        ("devices:\n  - /dev/null\n  - ./x", "6: services.web.devices"),
        ("mem_limit: 0", "4: services.web.mem_limit"),
        ("networks: {default: {aliases: ['a,b c']}}\nsysctls: {x: 1}", "5: services.web.sysctls"),
        ("gpus: [{count: 99999999999999}]", "4: services.web.gpus.count"),
        (f"stop_signal: {'9' * 5000}", "4: services.web.stop_signal"),
        (f"stop_grace_period: {'9' * 5000}", "4: services.web.stop_grace_period"),
        ('env_file: "\\0"', "4: "),
        ("gpus: [{count: []}]", "4: services.web.gpus.count"),
    ],
)
def test_a_broken_rule_names_the_line_of_the_file(keys: str, place: str) -> None:
    with pytest.raises(ComposeError) as caught:
        container(keys)
    assert str(caught.value).startswith(f"compose.yaml:{place}")
    assert str(caught.value).isprintable()


def test_a_variable_without_value_is_that_of_the_environment() -> None:
    assert container("environment: [TOKEN]", environment={"TOKEN": "x"})["environment"] == {"TOKEN": "x"}
    assert omissions("environment: [TOKEN]") == [
        "compose.yaml:4: services.web.environment.TOKEN: the variable is not set here; give it a value"
    ]


def test_a_variable_that_is_not_set_has_its_line() -> None:
    assert omissions('environment: {B: "$NOPE", A: "${NOPE}${OTHER}"}\nlabels: {l: "$LAST"}') == [
        f"compose.yaml:{line}: ${name}: the variable is not set; it is replaced by nothing"
        for name, line in (("LAST", 5), ("NOPE", 4), ("OTHER", 4))
    ]


def test_files_of_variables_keep_their_order() -> None:
    found = container("env_file: [a.env, {path: /b.env, format: raw}]")
    assert found["environmentFiles"] == ["/srv/app/a.env", "/b.env"]


def test_an_optional_file_of_variables_is_left_out_if_it_is_missing() -> None:
    (line,) = omissions("env_file: [{path: none.env, required: false}]")
    assert line.startswith("compose.yaml:4: services.web.env_file: /srv/app/none.env is not there")


VOLUMES = """
volumes:
  data:
  shared: {external: true}
  old: {external: {name: elsewhere}}
  named: {name: exact, labels: {a: b}}
  nfs: {driver_opts: {type: nfs, o: 'addr=10.0.0.1,rw', device: ':/x'}}
"""


def test_volumes_have_the_names_of_compose() -> None:
    used = "['data:/a', 'shared:/b', 'named:/c', 'nfs:/d', 'old:/e']"
    made = imported(f"services: {{web: {{image: nginx, volumes: {used}}}}}\n{VOLUMES}")
    assert made.deployment.containers["app-web"].volumes == [
        "app_data:/a",
        "shared:/b",
        "exact:/c",
        "app_nfs:/d",
        "elsewhere:/e",
    ]
    assert set(made.deployment.volumes) == {"app_data", "exact", "app_nfs"}
    assert made.deployment.volumes["exact"].labels == {"a": "b"}
    assert made.deployment.volumes["app_nfs"].settings.quadlet == {
        "VolumeName": "app_nfs",
        "Type": "nfs",
        "Options": "addr=10.0.0.1,rw",
        "Device": ":/x",
    }


def test_services_share_a_network_in_which_they_have_their_names() -> None:
    made = imported("services: {web: {image: nginx}, db: {image: redis, networks: []}}")
    assert made.deployment.containers["app-db"].networks == ["app_default:alias=db"]
    assert made.deployment.containers["app-web"].networks == ["app_default:alias=web"]
    assert made.deployment.networks["app_default"].settings.quadlet == {"NetworkName": "app_default"}


def test_networks_have_aliases_addresses_and_the_names_of_compose() -> None:
    made = imported(
        """
        services:
          web:
            image: nginx
            networks:
              front: {aliases: [www], ipv4_address: 10.1.0.5}
              outside:
        networks:
          front: {internal: true, ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1}]}}
          outside: {external: true, name: other}
        """
    )
    assert made.deployment.containers["app-web"].networks == [
        "app_front:alias=web,alias=www,ip=10.1.0.5",
        "other:alias=web",
    ]
    (network,) = made.deployment.networks.values()
    assert (network.internal, network.subnets) == (True, ["10.1.0.0/24"])
    assert network.settings.quadlet == {"NetworkName": "app_front", "Gateway": ["10.1.0.1"]}


def test_options_of_a_network_are_those_that_podman_knows() -> None:
    made = imported(
        """
        services: {web: {image: nginx}}
        networks:
          default:
            driver_opts:
              com.docker.network.driver.mtu: 1400
              com.docker.network.bridge.name: br-app
              com.docker.network.bridge.enable_icc: "false"
        """
    )
    (network,) = made.deployment.networks.values()
    assert network.settings.quadlet == {
        "NetworkName": "app_default",
        "Options": ["mtu=1400"],
        "InterfaceName": "br-app",
    }
    (omission,) = made.omissions
    assert (omission.line, omission.path.rpartition(".")[2]) == (8, "enable_icc")


@pytest.mark.parametrize(
    ("mode", "expected"), [("host", ["host"]), ("none", ["none"]), ("container:x", ["container:x"])]
)
def test_network_modes(mode: str, expected: list[str]) -> None:
    assert container(f"network_mode: {mode}")["networks"] == expected


def test_a_service_in_the_network_of_another_starts_after_it() -> None:
    made = imported("services: {web: {image: nginx, network_mode: 'service:vpn'}, vpn: {image: redis}}")
    web = made.deployment.containers["app-web"]
    assert (web.networks, web.depends_on) == (["container:app-vpn"], ["app-vpn"])


def test_conditions_of_dependencies_are_those_of_the_containers_waited_for() -> None:
    made = imported(
        """
        services:
          web:
            image: nginx
            depends_on:
              db: {condition: service_healthy}
              job: {condition: service_completed_successfully}
              cache: {condition: service_started}
              gone: {condition: service_started, required: false}
          db: {image: redis, healthcheck: {test: redis-cli ping}}
          job: {image: redis}
          cache: {image: redis}
        """
    )
    web, db, job, cache = made.deployment.containers.values()
    assert web.depends_on == ["app-db", "app-job", "app-cache"]
    assert (str(db.notify), str(cache.notify)) == ("healthy", "started")
    assert job.settings.unit["Service"] == {"Type": "oneshot", "RemainAfterExit": True}


def test_files_of_secrets_and_configs() -> None:
    found = container(
        "secrets: [a, {source: b, target: /b, mode: 0o440}]\nconfigs: [{source: c, target: /etc/c.conf}]",
        "secrets: {a: {file: ./a.txt}, b: {file: /b.txt}}\nconfigs: {c: {file: c.conf}}",
    )
    assert found["secrets"] == {
        "a": {"source": "/srv/app/a.txt"},
        "b": {"source": "/b.txt", "target": "/b", "mode": "0440"},
    }
    assert found["volumes"] == ["/srv/app/c.conf:/etc/c.conf:ro"]


def test_an_external_secret_is_one_of_podman() -> None:
    found = container("secrets: [a]", "secrets: {a: {external: true, name: app-a}}")
    assert found["extraOptions"] == ["--secret=app-a,type=mount,target=/run/secrets/a"]


def test_the_name_of_a_container_is_kept() -> None:
    made = imported("services: {web: {image: nginx, container_name: my-web}, db: {image: redis, depends_on: [web]}}")
    assert made.deployment.containers["app-db"].depends_on == ["my-web"]


LEFT_OUT = {
    "build beside an image": ("build: .", "services.web.build: nixoci builds no images"),
    "a port of a range": ("ports: ['8000-8010:80']", "services.web.ports: podman picks no port of a range"),
    "ports on the host's network": (
        "network_mode: host\nports: ['80:80']",
        "services.web.ports: the network mode host publishes no port",
    ),
    "more than one container": (
        "deploy: {replicas: 3}",
        "services.web.deploy.replicas: one container is made",
    ),
    "options of Swarm": ("deploy: {mode: global}", "services.web.deploy.mode: an option of Swarm alone"),
    "another log driver": ("logging: {driver: syslog}", "services.web.logging.driver: podman has no driver syslog"),
    "limits of the journal": (
        "logging: {options: {max-size: 1m}}",
        "services.web.logging.options.max-size: podman has it for json-file or k8s-file alone",
    ),
    "a number of log files": (
        "logging: {driver: json-file, options: {max-file: '3'}}",
        "services.web.logging.options.max-file: podman has no such option",
    ),
    "hooks": ("post_start: [{command: x}]", "services.web.post_start: podman has no hooks"),
    "a start interval": (
        "healthcheck: {test: x, start_interval: 1s}",
        "services.web.healthcheck.start_interval: podman has one interval",
    ),
    "volumes of another container": ("volumes_from: [db]", "services.web.volumes_from: volumes are not shared"),
    "no command": ("command: []", "services.web.command: the image's command cannot be replaced by nothing"),
    "an unknown key": ("imgae: x", "services.web.imgae: no key of Compose that nixoci knows"),
    "another runtime": ("runtime: runsc", "services.web.runtime: the runtime runsc is none of crun and runc"),
}


@pytest.mark.parametrize("thing", LEFT_OUT)
def test_what_a_container_cannot_have_is_named_with_its_line(thing: str) -> None:
    keys, expected = LEFT_OUT[thing]
    (line,) = omissions(keys)
    place, _, message = line.partition(": ")
    assert place in {"compose.yaml:4", "compose.yaml:5"}
    assert message.startswith(expected)
    assert "; " in message


def test_a_service_that_is_only_built_is_left_out_unless_the_lock_has_its_image() -> None:
    made = imported("services: {web: {image: nginx, depends_on: [own]}, own: {build: .}}")
    assert list(made.deployment.containers) == ["app-web"]
    assert made.deployment.containers["app-web"].depends_on == []
    first, second = map(str, made.omissions)
    assert first.startswith("compose.yaml:1: services.own.build: nixoci builds no images")
    assert "--name app-own" in first
    assert second.startswith("compose.yaml:1: services.web.depends_on: the service own is left out")


def test_a_secret_that_is_a_variable_is_not_written_down() -> None:
    (line,) = omissions("secrets: [a]", "secrets: {a: {environment: TOKEN}}")
    assert line.startswith("compose.yaml:4: services.web.secrets: the secret 'a' is no file")


def test_images_are_named_by_the_lock_and_once() -> None:
    made = imported(
        "services: {a: {image: 'redis:7'}, b: {image: 'docker.io/library/redis:7', platform: linux/arm64},"
        " c: {image: 'redis:6'}}"
    )
    assert [(image.name, image.reference, image.platforms) for image in made.images] == [
        ("c", "docker.io/library/redis:6", []),
        ("redis", "docker.io/library/redis:7", ["linux/arm64"]),
    ]
    assert made.images[1].command == [
        *("nixoci", "add", "docker.io/library/redis:7", "--name", "redis", "--platform", "linux/arm64"),
    ]


def test_mounts_of_each_type_and_their_options() -> None:
    long = (
        "{type: volume, target: /anonymous}",
        "{type: volume, source: data, target: /d, volume: {nocopy: true}}",
        "{type: volume, source: data, target: /s, read_only: true, volume: {subpath: part}}",
        "{type: bind, source: a, target: /a, bind: {selinux: z}}",
        "{type: tmpfs, target: /t, tmpfs: {mode: '1770'}}",
    )
    found = container(f"volumes: [{', '.join(long)}]", "volumes: {data: {}}")
    assert found["volumes"] == ["/anonymous", "app_data:/d:nocopy", "/srv/app/a:/a:z"]
    assert found["tmpfs"] == ["/t:mode=1770"]
    assert found["extraOptions"] == ["--mount=type=volume,source=app_data,destination=/s,subpath=part,ro"]


def test_devices_and_graphics_cards() -> None:
    assert container("devices: [{source: /dev/a, target: /dev/b, permissions: r}]")["devices"] == ["/dev/a:/dev/b:r"]
    for gpus, names in (
        ("all", ["all"]),
        ("[{count: 2}]", ["0", "1"]),
        ("[{driver: nvidia, device_ids: ['3', x]}]", ["3", "x"]),
        ("[{count: all}]", ["all"]),
    ):
        assert container(f"gpus: {gpus}")["devices"] == [f"nvidia.com/gpu={name}" for name in names]
    (line,) = omissions("gpus: [{driver: other}]")
    assert "services.web.gpus: the driver other has no known devices" in line


def test_a_network_s_addresses() -> None:
    network = (
        "{internal: true, enable_ipv6: true, labels: {a: b}, odd: 1,"
        " ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.1, ip_range: 10.9.0.128/25, odd: 1}]}}"
    )
    made = imported(f"services: {{web: {{image: nginx, networks: [n]}}}}\nnetworks: {{n: {network}}}")
    found = made.deployment.networks["app_n"]
    assert (found.internal, found.subnets, found.labels) == (True, ["10.9.0.0/24"], {"a": "b"})
    quadlet = found.settings.quadlet
    assert (quadlet["IPv6"], quadlet["Gateway"], quadlet["IPRange"]) == (True, ["10.9.0.1"], ["10.9.0.128/25"])


@pytest.mark.parametrize(
    ("keys", "more", "expected"),
    [
        ("volumes: [{type: bind, source: /a}]", "", "services.web.volumes: target is missing"),
        ("volumes: [gone:/a]", "", "services.web.volumes: no volume 'gone'; declare it under volumes"),
        ("secrets: [{target: /a}]", "", "services.web.secrets: source is missing"),
        ("secrets: [gone]", "", "services.web.secrets: secrets has no 'gone'; declare it there"),
    ],
)
def test_what_is_missing_is_an_error(keys: str, more: str, expected: str) -> None:
    with pytest.raises(ComposeError, match=re.escape(expected)):
        container(keys, more)
