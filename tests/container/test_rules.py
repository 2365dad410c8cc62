from __future__ import annotations

from typing import Any

import pytest

from nixoci.container.model import Deployment
from nixoci.container.rules import check
from nixoci.document import structure
from nixoci.errors import ContainerError

BUNDLE = {"backend": "bundle", "networks": ["none"]}


def deployment(containers: dict[str, dict[str, Any]], **more: Any) -> Deployment:
    named = {name: {"image": "i"} | options for name, options in containers.items()}
    return structure(Deployment, {"images": {"i": "/store/i"}, "containers": named, **more}, what="d", strict=True)


def test_containers_may_depend_on_one_another_in_a_long_chain() -> None:
    chain = {f"c{number}": {"dependsOn": [f"c{number + 1}"]} for number in range(1200)}
    check(deployment(chain | {"c1200": {}}))


def test_a_long_circle_is_one_line_that_names_it() -> None:
    names = [f"c{number:04}" for number in range(1200)]
    circle = {name: {"dependsOn": [after]} for name, after in zip(names, [*names[1:], names[0]], strict=True)}
    with pytest.raises(ContainerError) as caught:
        check(deployment(circle | {"a": {"dependsOn": ["c0700"]}}))
    path = " -> ".join([*names, names[0]])
    assert str(caught.value).startswith(f"containers.c0000.dependsOn: a circle, {path}; ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("containers", "more", "message"),
    [
        ({"a": {"image": "x"}}, {}, "containers.a.image: no image 'x'; this document has i"),
        ({"a": {"dependsOn": ["b"]}}, {}, "containers.a.dependsOn: no container 'b'"),
        (
            {"a": {"dependsOn": ["b"]}, "b": {"dependsOn": ["a"]}},
            {},
            "containers.a.dependsOn: a circle, a -> b -> a",
        ),
        (
            {"a": {"ports": ["80:80"]}, "b": {"ports": ["1:1", "127.0.0.1:80:8080"]}},
            {},
            "containers.b.ports[1]: port 80/tcp of the host is taken by containers.a.ports[0]",
        ),
        (
            {"a": {"ports": ["80-90:80-90/udp"]}},
            {"pods": {"p": {"ports": ["[::]:85:1/udp"]}}},
            "pods.p.ports[0]: port 85/udp of the host is taken by containers.a.ports[0]",
        ),
        ({"a": {"ports": ["80:80:80:80"]}}, {}, "containers.a.ports[0]: '80:80:80:80' is not a port"),
        (
            {"a": {"ports": ["[fe80::1%eth0]:8080:80"]}},
            {},
            "containers.a.ports[0]: '[fe80::1%eth0]:8080:80' is not a port",
        ),
        ({"a": {"ports": ["70000:1"]}}, {}, "containers.a.ports[0]: '70000:1' is not a port"),
        ({"a b": {}}, {}, "containers: 'a b' cannot be a name"),
        ({"a" * 201: {}}, {}, f"containers: '{'a' * 201}' has 201 characters; choose a name of 200 at most"),
        ({"d-volume": {}}, {"volumes": {"d": {}}}, "volumes.d: its unit is d-volume.service"),
        ({"a": {"pod": "p"}}, {}, "containers.a.pod: no pod 'p'"),
        ({"a": {"networks": ["container:a"]}}, {}, "containers.a.networks: a circle, a -> a"),
        ({"a": {"networks": ["container:b"]}, "b": BUNDLE}, {}, "containers.a.networks[0]: podman knows no container"),
        ({"a": {"networks": ["container:b", "n"]}}, {}, "containers.a.networks: 'container:b' cannot be combined"),
        ({"a": {"networks": ["container:b"], "ports": ["1:1"]}}, {}, "containers.a.ports: the network 'container:b'"),
        ({"a": {"networks": ["container:b"], "hostname": "h"}}, {}, "containers.a.hostname: it has that of"),
        ({"a": {"networks": ["container:"]}}, {}, "containers.a.networks[0]: 'container:' names no container"),
        ({"a": {"networks": ["none:ip=1"]}}, {}, "containers.a.networks[0]: the network 'none' has no options"),
        ({"a": BUNDLE | {"networks": ["n:ip=1"]}}, {}, "containers.a.networks: the bundle backend"),
        ({"a": {"devices": ["gpu"]}}, {}, "containers.a.devices[0]: 'gpu' is not a device"),
        ({"a": BUNDLE | {"devices": ["nvidia.com/gpu=all"]}}, {}, "containers.a.devices[0]: the bundle backend"),
        ({"a": BUNDLE | {"devices": ["/dev/dri"]}}, {}, "containers.a.devices[0]: /dev/dri is a directory"),
        ({"a": BUNDLE | {"tmpfs": ["/t:size=1m,Z"]}}, {}, "containers.a.tmpfs[0]: 'Z' is no option of"),
        (
            {"a": {"settings": {"quadlet": {"AutoUpdate": "registry"}}}},
            {},
            "containers.a.settings.quadlet.AutoUpdate: podman cannot update",
        ),
        (
            {"a": {"settings": {"unit": {"Service": {"User": "nobody"}}}}},
            {},
            "containers.a.settings.unit.Service.User: the unit runs as its manager does",
        ),
        (
            {"a": {"settings": {"unit": {"Service": {"Type": "oneshot"}}}}},
            {},
            "containers.a.settings.unit.Service.Type: systemd starts no oneshot service again",
        ),
        (
            {"a": BUNDLE | {"restart": "no", "settings": {"unit": {"Service": {"Type": "oneshot"}}}}},
            {},
            "containers.a.settings.unit.Service.Type: the container's start decides it",
        ),
        ({"a": {"memory": "much"}}, {}, "containers.a.memory: 'much' is not a size"),
        ({"a": {"shmSize": "0"}}, {}, "containers.a.shmSize: '0' is not a size"),
        ({"a": {"memory": ""}}, {}, "containers.a.memory: '' is not a size"),
        ({"a": {"shmSize": ""}}, {}, "containers.a.shmSize: '' is not a size"),
        ({"a": {"memory": "8589934592g"}}, {}, "containers.a.memory: '8589934592g' is beyond"),
        ({"a": {"shmSize": "999999999999999g"}}, {}, "containers.a.shmSize: '999999999999999g' is beyond"),
        ({"a": {"pidsLimit": 0}}, {}, "containers.a.pidsLimit: 0; give 1 to"),
        ({"a": {"pidsLimit": 2**63}}, {}, "containers.a.pidsLimit: 9223372036854775808; give 1 to"),
        ({"a": {"stopTimeout": -1}}, {}, "containers.a.stopTimeout: -1 seconds; give 0 to"),
        ({"a": {"stopTimeout": 2**31}}, {}, "containers.a.stopTimeout: 2147483648 seconds; give 0 to"),
        (
            {"a": {"healthcheck": {"test": ["CMD", "x"], "retries": 2**63}}},
            {},
            "containers.a.healthcheck.retries: 9223372036854775808; give 1 to",
        ),
        ({"a": {"sysctls": {"net": "1"}}}, {}, "containers.a.sysctls: 'net' is not a kernel parameter"),
        (
            {"a": {"networks": ["host"], "sysctls": {"net.core.somaxconn": "1"}}},
            {},
            "containers.a.sysctls.net.core.somaxconn: the host's network",
        ),
        # podman has one set of names for both
        ({"p": {}}, {"pods": {"p": {}}}, "pods.p: podman has a container of that name"),
        (
            {"volumes": BUNDLE | {"writableLayer": "persistent"}},
            {},
            "containers.volumes: /var/lib/nixoci/volumes has the named volumes",
        ),
        ({"a": {"pod": "p", "ports": ["1:1"]}}, {"pods": {"p": {}}}, "containers.a.ports: a pod publishes the ports"),
        ({"a": {"volumes": ["/store/x:/y"]}}, {}, "containers.a.volumes[0]: /store/x is in the store"),
        ({"a": {"volumes": ["/nix/store/x:/y:Z"]}}, {}, "containers.a.volumes[0]: /nix/store/x is in the store"),
        ({"a": {"settings": {"unit": {"X": {}}}}}, {}, "containers.a.settings.unit: no section 'X'"),
        ({"a": {"settings": {"runtime": {"x": 1}}}}, {}, "containers.a.settings.runtime: podman writes its own"),
        ({"a": {"writableLayer": "persistent"}}, {}, "containers.a.writableLayer: podman's containers start afresh"),
        ({"a": {"secrets": {"s": {"source": "/s", "mode": "9"}}}}, {}, "containers.a.secrets.s.mode: '9'"),
        ({"a": {"capabilities": {"FLY": True}}}, {}, "containers.a.capabilities: no capability 'FLY'"),
        (
            {"a": BUNDLE | {"settings": {"runtime": {"root": {"readonly": False}}}}},
            {},
            "containers.a.settings.runtime.root: the unit mounts the root",
        ),
        (
            {"a": BUNDLE | {"settings": {"runtime": {"mounts": [{"source": "/nix/store/x", "options": ["rbind"]}]}}}},
            {},
            "containers.a.settings.runtime.mounts: /nix/store/x is in the store",
        ),
        (
            {"a": BUNDLE | {"settings": {"runtime": {"mounts": "none"}}}},
            {},
            "containers.a.settings.runtime.mounts: expected a list of objects",
        ),
        ({"a": BUNDLE | {"ports": ["1:1"]}}, {}, "containers.a.ports: the bundle backend runs without podman"),
        (
            {"a": BUNDLE | {"environmentFiles": ["/e"], "settings": {"runtime": {"process": {"env": []}}}}},
            {},
            "containers.a.settings.runtime.process.env: it would replace the variables of environmentFiles",
        ),
        ({"a": BUNDLE | {"extraOptions": ["--x"]}}, {}, "containers.a.extraOptions: the bundle backend"),
        ({"a": BUNDLE | {"privileged": True}}, {}, "containers.a.privileged: the bundle backend"),
        ({"a": BUNDLE | {"networks": []}}, {}, "containers.a.networks: the bundle backend"),
        ({"a": BUNDLE | {"volumes": ["/a:/b:Z"]}}, {}, "containers.a.volumes[0]: the bundle backend"),
        ({"a": BUNDLE | {"volumes": ["/a:/b:idmap=uids=1"]}}, {}, "containers.a.volumes[0]: the bundle backend"),
        ({"a": BUNDLE | {"volumes": ["/a:/b:fast"]}}, {}, "containers.a.volumes[0]: no mount option 'fast'"),
        ({"a": {"volumes": ["/a:/b:ro,fast"]}}, {}, "containers.a.volumes[0]: no mount option 'fast'"),
        ({"a": BUNDLE | {"volumes": ["/b"]}}, {}, "containers.a.volumes[0]: the bundle backend"),
        (
            {"a": BUNDLE | {"volumes": ["/x:/y", "v:/b"]}},
            {"volumes": {"v": {}}},
            "containers.a.volumes[1]: volumes.v is one of podman's",
        ),
        (
            {"a": {"networks": ["host"], "ports": ["80:80"]}},
            {},
            "containers.a.ports: the network 'host' has no ports to publish",
        ),
        ({"a": {"networks": ["none"], "ports": ["80"]}}, {}, "containers.a.ports: the network 'none' has no ports"),
        ({}, {"pods": {"p": {"networks": ["host"], "ports": ["80:80"]}}}, "pods.p.ports: the network 'host' has no"),
        (
            {"a": {"networks": ["n", "host"]}},
            {},
            "containers.a.networks: 'host' cannot be combined with other",
        ),
        ({}, {"pods": {"p": {"networks": ["none", "n"]}}}, "pods.p.networks: 'none' cannot be combined with other"),
        (
            {"a": {"pod": "p", "hostname": "h"}},
            {"pods": {"p": {}}},
            "containers.a.hostname: the containers of a pod",
        ),
        ({}, {"volumes": {"v": {"labels": {"": "x"}}}}, "volumes.v.labels: '' cannot be the name of a label"),
        ({}, {"networks": {"n": {"labels": {"a=b": ""}}}}, "networks.n.labels: 'a=b' cannot be the name of a label"),
        ({}, {"pods": {"p": {"labels": {"a": "\0"}}}}, "pods.p.labels.a: a NUL character"),
        ({}, {"pods": {"p": {"settings": {"runtime": {"x": 1}}}}}, "pods.p.settings.runtime: only a container has it"),
        ({"a": BUNDLE | {"settings": {"quadlet": {"X": 1}}}}, {}, "containers.a.settings.quadlet: the bundle backend"),
        ({"a": BUNDLE | {"init": True}}, {}, "containers.a.init: the bundle backend runs without podman"),
        ({"a": BUNDLE | {"logDriver": "none"}}, {}, "containers.a.logDriver: the bundle backend writes to the journal"),
        ({"a": BUNDLE | {"logOptions": {"tag": "x"}}}, {}, "containers.a.logOptions: the bundle backend"),
        ({"a": BUNDLE | {"userNamespace": "auto"}}, {}, "containers.a.userNamespace: the bundle backend"),
        (
            {"a": BUNDLE | {"extraHosts": ["a:1.2.3.4"], "capabilities": {"SYS_ADMIN": True}}},
            {},
            "containers.a.extraHosts: a container that may mount",
        ),
        (
            {"a": {"userNamespace": "nomap"}},
            {},
            "containers.a.userNamespace: podman has 'nomap' only for ordinary users",
        ),
        (
            {"a": {"backend": "rootfs", "userNamespace": "auto"}},
            {},
            "containers.a.userNamespace: the bare tree belongs to the host's root",
        ),
        ({"a": {"logOptions": {"colour": "x"}}}, {}, "containers.a.logOptions.colour: no option 'colour'"),
        (
            {"a": {"logOptions": {"path": "/x"}}},
            {},
            "containers.a.logOptions.path: the log driver journald has no path",
        ),
        (
            {"a": {"logDriver": "k8s-file", "logOptions": {"tag": "x"}}},
            {},
            "containers.a.logOptions.tag: the log driver k8s-file has no tag; use journald",
        ),
        ({"a": {"ulimits": {"files": 1}}}, {}, "containers.a.ulimits.files: no limit 'files'"),
        ({"a": {"timezone": "../x"}}, {}, "containers.a.timezone: '../x' is not a time zone"),
        ({"a": {"environmentFiles": ["/a", "/b\nc"]}}, {}, "containers.a.environmentFiles[1]: "),
        (
            {"a": {"healthcheck": {"test": ["CMD", "x"], "onFailure": "restart"}}},
            {},
            "containers.a.healthcheck.onFailure: podman and systemd would both start the container again",
        ),
        # podman-run(1), --dns: it conflicts with these networks
        ({"a": {"networks": ["none"], "dns": ["1.1.1.1"]}}, {}, "containers.a.dns: no name server can be reached"),
        ({"a": BUNDLE | {"dnsOptions": ["rotate"]}}, {}, "containers.a.dnsOptions: no name server can be reached"),
        (
            {"a": {"networks": ["container:b"], "dnsSearch": ["a.org"]}, "b": {}},
            {},
            "containers.a.dnsSearch: it has the file of container:b",
        ),
        (
            {"a": {"networks": ["container:b"], "extraHosts": ["a:1.2.3.4"]}, "b": {}},
            {},
            "containers.a.extraHosts: it has the file of container:b",
        ),
        (
            {"a": {"networks": ["none"], "extraHosts": ["a:host-gateway"]}},
            {},
            "containers.a.extraHosts[0]: the host cannot be reached",
        ),
        *(
            (
                {"a": {"pod": "p", field: [value]}},
                {"pods": {"p": {}}},
                f"containers.a.{field}: the containers of a pod share its files; use pods.p.settings.quadlet.{key}",
            )
            for field, value, key in (
                ("dns", "1.1.1.1", "DNS"),
                ("dnsSearch", "a.org", "DNSSearch"),
                ("dnsOptions", "rotate", "DNSOption"),
                ("extraHosts", "a:1.2.3.4", "AddHost"),
            )
        ),
        (
            {"a": {"pod": "p", "userNamespace": "auto"}},
            {"pods": {"p": {}}},
            "containers.a.userNamespace: the containers",
        ),
        ({"a": {"serviceName": "x@"}}, {}, "containers.a.serviceName: 'x@' cannot be a name"),
        ({"a": {"serviceName": "x" * 201}}, {}, f"containers.a.serviceName: '{'x' * 201}' has 201 characters"),
        (
            {"a": {"serviceName": "b"}, "b": {}},
            {},
            "containers.b: its unit is b.service, like that of containers.a.serviceName",
        ),
        (
            {"a": {"serviceName": "v-volume"}},
            {"volumes": {"v": {}}},
            "volumes.v: its unit is v-volume.service, like that of containers.a.serviceName",
        ),
        ({"a": {}}, {"quadlets": {"a.kube": {}}}, "quadlets.a.kube: its unit is a.service, like that of containers.a"),
        ({}, {"quadlets": {"a.image": {}, "a-image.kube": {}}}, "quadlets.a-image.kube: its unit is a-image.service"),
        ({}, {"quadlets": {"a.container": {}}}, "quadlets.a.container: a .container file is an item of containers"),
        ({}, {"quadlets": {"a.service": {}}}, "quadlets: 'a.service' is not a Quadlet file; expected one of NAME.kube"),
        ({}, {"quadlets": {"../a.kube": {}}}, "quadlets: '../a' cannot be a name"),
        ({"a": {}}, {"images": {"i": "/a\0b"}}, "images.i: a NUL character, which cannot be passed to a process"),
        ({"a": {}}, {"images": {"i": ""}}, "images.i: the path is empty; name an image path, made by `nixoci extract`"),
        ({"a": {}}, {"imageStore": ""}, "imageStore: the path is empty; name an image store, or leave the key out"),
        ({}, {"imageStore": "/a\0b"}, "imageStore: a NUL character, which cannot be passed to a process"),
    ],
)
def test_what_cannot_be_honoured_names_the_option(
    containers: dict[str, dict[str, Any]], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContainerError) as caught:
        check(deployment(containers, **more))
    assert str(caught.value).startswith(message)


def test_a_name_that_a_container_leaves_is_free_for_another() -> None:
    check(deployment({"a": {"serviceName": "b"}, "b": {"serviceName": "a", "dependsOn": ["a"]}}))


@pytest.mark.parametrize(("namespace", "user"), [("nomap", True), ("keep-id:size=9", True), ("keep-id", False)])
def test_a_user_namespace_is_that_of_an_ordinary_user_or_of_root(namespace: str, *, user: bool) -> None:
    check(deployment({"a": {"userNamespace": namespace}}), user=user)


@pytest.mark.parametrize("own", [{"restart": "no"}, {"restart": "on-failure"}, {"Restart": "no"}])
def test_a_job_that_is_not_started_again_may_be_a_oneshot_service(own: dict[str, str]) -> None:
    service = {"Type": "oneshot"} | {key: value for key, value in own.items() if key == "Restart"}
    restart = {key: value for key, value in own.items() if key == "restart"}
    check(deployment({"a": {"settings": {"unit": {"Service": service}}} | restart}))


def test_a_bundle_is_not_for_a_users_systemd() -> None:
    with pytest.raises(ContainerError, match=r"^containers\.a\.backend: "):
        check(deployment({"a": BUNDLE}), user=True)


def test_ports_of_other_protocols_and_addresses_are_free() -> None:
    ports = [
        "80:80",
        "80:80/udp",
        "0.0.0.0:82:1",
        "[::]:82:1",
        "[::1]:83:1",
        "[::0]:84:1",
        "127.0.0.1:84:1",
        "127.0.0.1:81:1",
        "127.0.0.2:81:1",
        "9",
        "9",
    ]
    check(deployment({f"c{index}": {"ports": [port]} for index, port in enumerate(ports)}))


def test_a_mount_of_the_store_is_allowed_if_it_is_read_only() -> None:
    mounts = [{"source": "/nix/store/x", "options": ["rbind", "ro"]}]
    own = BUNDLE | {"settings": {"runtime": {"mounts": mounts}}, "volumes": ["/nix/store/x:/y:ro"]}
    assert check(deployment({"a": own})).containers[0].volumes[0].source == "/nix/store/x"
