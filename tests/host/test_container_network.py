"""Networks, volumes and pods that units create, and devices."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, Host
from tests.host.prepared import sample_host
from tests.host.process import FETCH

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVE = (
    "import http.server, os, pathlib; os.chdir('/data'); pathlib.Path('page').write_text('from ' + os.environ['NAME']);"
    " http.server.ThreadingHTTPServer(('', 8000), http.server.SimpleHTTPRequestHandler).serve_forever()"
)
LOOK = (
    "import json, os, urllib.request;"
    " page = urllib.request.urlopen('http://store:8000/page', timeout=60).read().decode();"
    " size = os.statvfs('/scratch'); kind = [line.split()[2] for line in open('/proc/mounts') if ' /scratch ' in line];"
    " print('SEEN', json.dumps({'page': page, 'environment': {name: os.environ[name] for name in ('OWN', 'FILE')},"
    " 'scratch': [*kind, size.f_blocks * size.f_frsize]}), flush=True)"
)
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())"
UP = {
    "test": ["CMD", "python3", "-c", ASK, "http://127.0.0.1:8000/page"],
    "interval": "1s",
    "startPeriod": "20s",
}


def server(name: str, **options: Any) -> dict[str, Any]:
    """Return a container that is ready once it answers."""
    return {
        "image": "python",
        "entrypoint": ["python3", "-c", SERVE],
        "environment": {"NAME": name},
        "volumes": [f"{name}-data:/data"],
        "healthcheck": UP,
        "notify": "healthy",
        "stopTimeout": 1,
    } | options


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host("python") as host:
        # podman's name server does not start without one, though it has nobody to ask
        host.machine.run(["tee", "/etc/resolv.conf"], input="nameserver 127.0.0.1\n")
        host.deploy(
            "/var/net",
            {
                "one": server("one", networks=["lan:alias=db,ip=10.89.7.9"]),
                "beside": {
                    "image": "python",
                    "networks": ["container:one"],
                    "entrypoint": ["sleep", "600"],
                    "stopTimeout": 1,
                },
                "two": server("two", networks=["lan"], backend="rootfs", dependsOn=["one"]),
                "alone": server("alone", networks=["other"], ports=["127.0.0.1:8001:8000"]),
                "left": server("left", pod="pair"),
                "right": {"image": "python", "pod": "pair", "entrypoint": ["sleep", "600"], "stopTimeout": 1},
            },
            networks={"lan": {"internal": True, "subnets": ["10.89.7.0/24"]}, "other": {}},
            volumes={"one-data": {"labels": {"kept": "yes $x"}}},
            pods={"pair": {"ports": ["127.0.0.1:8002:8000"]}},
        )
        yield host


def ask(host: Host, container: str, url: str) -> str:
    return host.machine.run(["podman", "exec", container, "python3", "-c", ASK, url], check=False).stdout.strip()


def test_containers_of_a_network_find_each_other_by_name(host: Host) -> None:
    host.systemctl("start", "two.service", "alone.service")
    assert ask(host, "two", "http://one:8000/page") == "from one"
    assert ask(host, "one", "http://two:8000/page") == "from two"
    show = ["podman", "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "one"]
    assert host.machine.run(show).stdout == "10.89.7.9\n"
    assert ask(host, "two", "http://db:8000/page") == "from one"
    # neither name nor address of another network
    assert ask(host, "alone", "http://one:8000/page") == ""
    assert host.machine.run([*FETCH, "http://127.0.0.1:8001/page"]).stdout == "from alone"
    # they would be checked every second, while other tests run
    host.systemctl("stop", "one.service", "two.service", "alone.service")


def test_a_container_shares_the_network_of_another_which_starts_first(host: Host) -> None:
    host.systemctl("start", "beside.service")
    assert host.systemctl("is-active", "one.service") == "active"
    assert ask(host, "beside", "http://127.0.0.1:8000/page") == "from one"


def test_a_volume_is_that_of_its_unit_and_outlives_its_container(host: Host) -> None:
    host.systemctl("start", "one.service")
    labels = host.machine.run(["podman", "volume", "inspect", "--format={{.Labels.kept}}", "one-data"]).stdout
    assert labels == "yes $x\n"
    host.machine.run(["podman", "exec", "one", "touch", "/data/kept"])
    host.systemctl("restart", "one.service")
    host.machine.run(["podman", "exec", "one", "test", "-e", "/data/kept"])
    host.systemctl("stop", "one.service", "beside.service")


def test_containers_of_a_pod_share_its_network(host: Host) -> None:
    host.systemctl("start", "pair-pod.service")
    for name in ("left", "right"):
        host.machine.wait_for_unit(f"{name}.service")
    assert ask(host, "right", "http://127.0.0.1:8000/page") == "from left"
    assert host.machine.run([*FETCH, "http://127.0.0.1:8002/page"]).stdout == "from left"
    host.systemctl("stop", "pair-pod.service")
    assert "active" not in host.machine.run(["systemctl", "is-active", "left", "right"], check=False).stdout.split()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_device_can_be_opened(host: Host, backend: str) -> None:
    show = "import os; os.close(os.open('/dev/mine', os.O_RDWR)); print('SEEN', os.stat('/dev/mine').st_rdev)"
    container = {"image": "python", "backend": backend, "entrypoint": ["python3", "-c", show]}
    device = {"devices": ["/dev/fuse:/dev/mine"]}
    assert host.seen(f"device-{backend}", container | device) == os.makedev(10, 229)


SHOP = f"""
name: shop
services:
  db:
    image: python
    entrypoint: [python3, -c, {json.dumps(SERVE)}]
    environment: {{NAME: $$db}}
    volumes: [data:/data]
    networks: {{default: {{aliases: [store]}}}}
    stop_grace_period: 1s
    healthcheck: {{test: {json.dumps(UP["test"])}, interval: 1s, start_period: 20s}}
  job:
    image: python
    entrypoint: [python3, -c, "print('done')"]
  web:
    image: python
    depends_on: {{db: {{condition: service_healthy}}, job: {{condition: service_completed_successfully}}}}
    env_file: vars.env
    environment: {{OWN: own}}
    tmpfs: /scratch:size=1m
    entrypoint: [python3, -c, {json.dumps(LOOK)}]
volumes: {{data: }}
"""


def test_a_project_of_compose_runs(host: Host) -> None:
    host.machine.run(["mkdir", "/srv/shop"])
    host.machine.run(["tee", "/srv/shop/vars.env"], input="OWN=file\nFILE=file\n")
    host.machine.run(["tee", "/srv/shop/compose.yaml"], input=SHOP)
    made = json.loads(host.machine.run(["nixoci", "import", "--strict", "/srv/shop/compose.yaml"]).stdout)
    host.deploy("/var/shop", **made)
    host.systemctl("start", "shop-web.service")
    assert host.said("shop-web") == {
        "page": "from $db",
        "environment": {"OWN": "own", "FILE": "file"},
        "scratch": ["tmpfs", 1 << 20],
    }
    names = host.machine.run(["podman", "volume", "ls", "--format={{.Name}}"]).stdout.split()
    assert "shop_data" in names
    host.systemctl("stop", "shop-db.service", "shop-job.service")
