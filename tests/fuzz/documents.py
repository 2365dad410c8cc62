"""Sound documents with as many fields as possible, to be changed."""

from __future__ import annotations

from typing import Any

LABELS = {"org.opencontainers.image.title": "t", "a": "b"}

IMAGE_CONFIG: dict[str, Any] = {
    "created": "2024-05-06T07:08:09.123456789Z",
    "author": "a",
    "os.version": "1",
    "os.features": ["f"],
    "config": {
        "User": "33:34",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Env": ["PATH=/bin:/usr/bin", "A=b c"],
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["run it"],
        "Volumes": {"/data": {}, "/var/lib/x": {}},
        "WorkingDir": "/srv",
        "Labels": LABELS,
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "check"], "Interval": 1_000_000_000, "Timeout": 2_000_000_000, "Retries": 3},
        "Shell": ["/bin/sh", "-c"],
        "OnBuild": ["RUN x"],
        "ArgsEscaped": False,
    },
    "history": [{"created": "2024-05-06T07:08:09Z", "created_by": "ADD x", "empty_layer": False, "comment": "c"}],
}

DEPLOYMENT: dict[str, Any] = {
    "containers": {
        "web": {
            "image": "i",
            "entrypoint": ["/bin/web"],
            "cmd": ["--port", "80"],
            "environment": {"A": "b"},
            "ports": [],
            "volumes": ["/srv/web:/srv:ro", "data:/data"],
            "user": "web",
            "workdir": "/srv",
            "hostname": "web",
            "labels": LABELS,
            "networks": ["none"],
            "devices": ["/dev/null:/dev/x:r"],
            "capabilities": {"NET_ADMIN": True, "CHOWN": False},
            "healthcheck": {"test": ["CMD", "true"], "interval": "10s", "timeout": "1s", "retries": 3},
            "stopSignal": "SIGTERM",
            "stopTimeout": 10,
            "restart": "on-failure",
            "writableLayer": "persistent",
            "tmpfs": ["/scratch:size=5m"],
            "shmSize": "64m",
            "memory": "1g",
            "pidsLimit": 100,
            "sysctls": {"net.core.somaxconn": "1"},
            "secrets": {"s": {"source": "/etc/hostname", "target": "/run/s", "mode": "0440"}},
            "settings": {
                "unit": {"Service": {"Nice": 7, "Environment": ["A=b"]}},
                "runtime": {"process": {"oomScoreAdj": 1}},
            },
        },
        "small": {"image": "i", "networks": ["none"], "readOnly": True, "autoStart": False, "dependsOn": []},
        "podman": {
            "image": "i",
            "environmentFiles": ["/etc/environment"],
            "extraOptions": ["--log-level=debug"],
            "labels": LABELS,
            "networks": ["n"],
            "notify": "container",
            "ports": ["127.0.0.1:8080:80/tcp", "53:53/udp"],
            "volumes": ["v:/v"],
            "settings": {"quadlet": {"Annotation": "a=b"}, "unit": {"Unit": {"After": ["x.service"]}}},
        },
    },
    "volumes": {"v": {"labels": {"a": "b"}, "settings": {"quadlet": {"Copy": False}}}},
    "networks": {"n": {"internal": True, "subnets": ["10.9.0.0/24"]}},
    "pods": {"p": {"ports": ["8472:80"], "networks": ["n"]}},
}
