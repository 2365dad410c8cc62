"""Prints, in one line of JSON after SEEN, everything that a process can see of its environment."""

import json
import os
import resource
import socket
from pathlib import Path

status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
of_status = ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")
# /proc/self/mountinfo: mount point is the fifth field, the file system's type the first after the dash
lines = [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]


def text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        return str(error.strerror)


print(  # noqa: T201 - this is what it is for
    "SEEN",
    json.dumps(
        {
            **{name: status[name].split() for name in of_status},
            "groups": sorted(os.getgroups()),
            "environment": dict(os.environ),
            "cwd": str(Path.cwd()),
            "umask": os.umask(0),
            "limits": {
                name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT")
            },
            "mounts": sorted(
                [line[4], line[line.index("-") + 1], *sorted(line[5].split(","))] for line in lines if line[4] != "/"
            ),
            "devices": {path.name: oct(path.lstat().st_mode) for path in Path("/dev").iterdir()},
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "leads session": os.getsid(0) == os.getpid(),
            "cgroup": text("/proc/self/cgroup"),
            "adjustment": text("/proc/self/oom_score_adj"),
            "terminal": [os.isatty(number) for number in range(3)],
            "interfaces": sorted(name for _, name in socket.if_nameindex()),
            "pings": text("/proc/sys/net/ipv4/ping_group_range"),
            "files": {name: text(f"/etc/{name}") for name in ("hosts", "resolv.conf", "hostname", "passwd", "group")},
            "mark": Path("/run/.containerenv").exists(),
        }
    ),
    flush=True,
)
