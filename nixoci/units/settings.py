"""`settings.quadlet` of the document: keys of Quadlet files, written so that equal documents make equal units.

The generator keeps some keys in Go maps, and writes the options of one map in a different order each time that it runs.
A unit that differs in nothing else would be restarted. So these keys become the arguments of podman (`PodmanArgs=`)
that the generator makes of them, whose order it keeps.
"""

import re
from collections.abc import Iterator

from nixoci.container.model import Section
from nixoci.errors import ContainerError
from nixoci.units.text import UnitFile, UnitText, literal, verbatim, verbatim_argument

VALUES = {
    "Container": {
        "HostName": "--hostname",
        "IP": "--ip",
        "IP6": "--ip6",
        "Memory": "--memory",
        "PidsLimit": "--pids-limit",
        "Pull": "--pull",
        "Retry": "--retry",
        "RetryDelay": "--retry-delay",
        "ShmSize": "--shm-size",
        "StopSignal": "--stop-signal",
        "StopTimeout": "--stop-timeout",
        "Timezone": "--tz",
        "WorkingDir": "--workdir",
    },
    "Network": {"Driver": "--driver", "IPAMDriver": "--ipam-driver", "InterfaceName": "--interface-name"},
    "Pod": {"IP": "--ip", "IP6": "--ip6", "ShmSize": "--shm-size"},
}
"""Keys with one value, without its quotes; the last of several counts."""

LISTS = {
    "Container": {
        "AddHost": "--add-host",
        "DNS": "--dns",
        "DNSOption": "--dns-option",
        "DNSSearch": "--dns-search",
        "GroupAdd": "--group-add",
        "NetworkAlias": "--network-alias",
        "Tmpfs": "--tmpfs",
        "Ulimit": "--ulimit",
    },
    "Pod": {
        "AddHost": "--add-host",
        "DNS": "--dns",
        "DNSOption": "--dns-option",
        "DNSSearch": "--dns-search",
        "HostName": "--hostname",
        "NetworkAlias": "--network-alias",
    },
}
"""Keys with many values, each taken verbatim."""

FLAGS = {
    "Container": {
        "EnvironmentHost": "--env-host",
        "HttpProxy": "--http-proxy",
        "ReadOnlyTmpfs": "--read-only-tmpfs",
        "RunInit": "--init",
    },
    "Network": {"DisableDNS": "--disable-dns", "IPv6": "--ipv6", "Internal": "--internal"},
}
"""Keys with the value true or false."""

WORDS = {
    "Container": {"Annotation": "--annotation", "Environment": "--env", "Label": "--label"},
    "Network": {"Label": "--label", "Options": "--opt"},
}
"""Keys with a list of words, each one argument."""

_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'\\])+""")
_TRUE = {"1", "yes", "true", "on"}


def add_quadlet_settings(unit: UnitFile, option: str, section: str, settings: Section) -> None:
    """Append the settings of the path `option` to a section, a list as one line for each of its values.

    Raises:
        ContainerError: A key or a value that would not stay on its line; the message starts with the option.
    """
    for key, value in settings.items():
        if not any(key in group.get(section, {}) for group in (VALUES, LISTS, FLAGS, WORDS)):
            unit.add_keys(option, section, {key: value})
            continue
        for item in value if isinstance(value, list) else [value]:
            own = f"{option}.{key}"
            # Quadlet ignores an empty value
            if written := verbatim(own, item).strip():
                unit.add(section, "PodmanArgs", *_arguments(own, section, key, written))


def _arguments(option: str, section: str, key: str, value: str) -> Iterator[UnitText]:
    """Yield the arguments of podman that the generator would make of a value."""
    if (flag := VALUES.get(section, {}).get(key)) is not None:
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        yield verbatim_argument(option, f"{flag}={value[1:-1] if quoted else value}")
    elif (flag := LISTS.get(section, {}).get(key)) is not None:
        yield verbatim_argument(option, f"{flag}={value}")
    elif (flag := FLAGS.get(section, {}).get(key)) is not None:
        yield literal(flag if value.casefold() in _TRUE else f"{flag}=false")
    else:
        flag = WORDS[section][key]
        if _WORD.sub("", value).strip():
            raise ContainerError(f"{option}: {value!r} has a quotation mark that is not closed; close it")
        for word in _WORD.findall(value):
            yield literal(f"{flag} {word}")
