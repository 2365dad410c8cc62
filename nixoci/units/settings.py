"""`settings.quadlet` of the document: keys of Quadlet files, written so that equal documents make equal units.

The generator keeps some keys in Go maps, and writes the options of one map in a different order each time that it runs.
A unit that differs in nothing else would be restarted. So these keys become the arguments of podman (`PodmanArgs=`)
that the generator makes of them, whose order it keeps.
"""

import re
from collections.abc import Iterator

from nixoci.container.model import Section
from nixoci.errors import ContainerError
from nixoci.units.escape import UnitFile, UnitText, literal, verbatim, verbatim_argument

_PULL = {
    "AuthFile": "--authfile",
    "CertDir": "--cert-dir",
    "Creds": "--creds",
    "DecryptionKey": "--decryption-key",
    "Retry": "--retry",
    "RetryDelay": "--retry-delay",
}
_DNS = {"DNS": "--dns", "DNSOption": "--dns-option", "DNSSearch": "--dns-search"}
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
        "Timezone": "--tz",
        "WorkingDir": "--workdir",
    },
    "Network": {"Driver": "--driver", "IPAMDriver": "--ipam-driver", "InterfaceName": "--interface-name"},
    "Pod": {"IP": "--ip", "IP6": "--ip6", "ShmSize": "--shm-size"},
    "Image": _PULL | {"Arch": "--arch", "OS": "--os", "Policy": "--policy", "Variant": "--variant"},
    "Artifact": _PULL,
    "Build": {
        "Arch": "--arch",
        "AuthFile": "--authfile",
        "IgnoreFile": "--ignorefile",
        "Retry": "--retry",
        "RetryDelay": "--retry-delay",
        "Target": "--target",
        "Variant": "--variant",
    },
}
"""Keys with one value, without its quotes; the last of several counts."""

LISTS = {
    "Container": {
        **_DNS,
        "AddHost": "--add-host",
        "GroupAdd": "--group-add",
        "NetworkAlias": "--network-alias",
        "Tmpfs": "--tmpfs",
        "Ulimit": "--ulimit",
    },
    "Pod": {
        **_DNS,
        "AddHost": "--add-host",
        "HostName": "--hostname",
        "NetworkAlias": "--network-alias",
    },
    "Build": {**_DNS, "GroupAdd": "--group-add"},
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
    "Image": {"AllTags": "--all-tags", "TLSVerify": "--tls-verify"},
    "Artifact": {"Quiet": "--quiet", "TLSVerify": "--tls-verify"},
    "Build": {"ForceRM": "--force-rm", "TLSVerify": "--tls-verify"},
}
"""Keys with the value true or false."""

WORDS = {
    "Container": {"Annotation": "--annotation", "Environment": "--env", "Label": "--label"},
    "Network": {"Label": "--label", "Options": "--opt"},
    "Build": {
        "Annotation": "--annotation",
        "BuildArg": "--build-arg",
        "Environment": "--env",
        "Label": "--label",
    },
}
"""Keys with a list of words, each one argument."""

_ESCAPED = frozenset(
    (
        *("Annotation", "Environment", "EnvironmentFile", "Exec", "GlobalArgs", "Label"),
        *("Mask", "Mount", "PodmanArgs", "Secret", "Unmask"),
    )
)
"""Keys of any section whose words the generator unescapes; one that it cannot unescape it leaves out in silence."""

_OWN = {
    "Image": "the container's image is `image`; use that",
    "Rootfs": "the container's image is `image`; use that",
    "ContainerName": "the container has the name that this document gives it; rename it there",
    "StopTimeout": "the unit must wait as long; use stopTimeout",
}
"""Keys of a container that would replace an option of the model behind its back."""

_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'\\])+""")
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(
    rf"""\\(?:[abfnrtv\\"'s]|x(?!00){_HEX}{{2}}|u(?!0{{4}}){_HEX}{{4}}|U(?!0{{8}}){_HEX}{{8}}|(?!000)[0-3][0-7]{{2}})"""
)
_RELATIVE = {
    "ConfigMap": re.compile(r"^[^/%]"),
    "EnvironmentFile": re.compile(r"""(?:^|\s)["']?[^/%\s"']"""),
    "Mount": re.compile(r"(?:^|,)(?:source|src)=\."),
    "Volume": re.compile(r"^\."),
    "Yaml": re.compile(r"""(?:^|\s)["']?[^/%\s"']"""),
}
"""The beginnings of relative paths, which the generator takes from the directory of the Quadlet file."""
_TRUE = {"1", "yes", "true", "on"}


def add_quadlet_settings(unit: UnitFile, option: str, section: str, settings: Section) -> None:
    """Append the settings of the path `option` to a section, a list as one line for each of its values.

    As in a Quadlet file, an empty value resets a list, and the last of a key's single values counts.

    Raises:
        ContainerError: A key or a value that would not stay on its line, or that the generator would lose; the message
            starts with the option.
    """
    for key, value in settings.items():
        own = f"{option}.{key}"
        values = value if isinstance(value, list) else [value]
        _check_key(unit, own, section, key)
        for item in values:
            _check_value(own, key, item)
        if not any(key in group.get(section, {}) for group in (VALUES, LISTS, FLAGS, WORDS)):
            unit.add_keys(option, section, {key: value})
            continue
        items = [verbatim(own, item).strip() for item in values]
        if "" in items:
            items = items[len(items) - items[::-1].index("") :]
            if any(present == key for present, _ in unit.sections.get(literal(section), [])):
                unit.add(section, key, literal(""))
        if key in VALUES.get(section, {}) or key in FLAGS.get(section, {}):
            items = items[-1:]
        for item in items:
            unit.add(section, "PodmanArgs", *_arguments(own, section, key, item))


def _check_key(unit: UnitFile, option: str, section: str, key: str) -> None:
    if key == "ServiceName":
        way = "use serviceName" if section == "Container" else "rename it there"
        raise ContainerError(f"{option}: other units know this one by its name in this document; {way}")
    if section == "Container" and key in _OWN:
        raise ContainerError(f"{option}: {_OWN[key]}")
    given = (value for name, value in unit.sections.get(literal(section), []) if name == "PodmanArgs")
    if key == "Entrypoint" and any(value.lstrip('"').startswith("--entrypoint=") for value in given):
        raise ContainerError(f"{option}: podman is told another entrypoint already; use entrypoint and cmd")


def _check_value(option: str, key: str, value: object) -> None:
    if not isinstance(value, str):
        return
    if key in _ESCAPED and "\\" in _ESCAPE.sub("", value):
        raise ContainerError(
            f"{option}: {value!r} has an escape that Quadlet does not know, and it would leave the value out; write a"
            " backslash as \\\\"
        )
    if key in _RELATIVE and _RELATIVE[key].search(value):
        raise ContainerError(
            f"{option}: {value!r} has a relative path, which would begin at the generated files; write it from the root"
            " of the host"
        )


def _arguments(option: str, section: str, key: str, value: str) -> Iterator[UnitText]:
    """Yield the arguments of podman that the generator would make of a value.

    It is a word of its own, since systemd expands `$NAME` only as a whole word.
    """
    if (flag := VALUES.get(section, {}).get(key)) is not None:
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        if word := value[1:-1] if quoted else value:
            yield _option(flag, verbatim_argument(option, word))
    elif (flag := LISTS.get(section, {}).get(key)) is not None:
        yield _option(flag, verbatim_argument(option, value))
    elif (flag := FLAGS.get(section, {}).get(key)) is not None:
        yield literal(flag if value.casefold() in _TRUE else f"{flag}=false")
    else:
        flag = WORDS[section][key]
        if _WORD.sub("", value).strip():
            raise ContainerError(f"{option}: {value!r} has a quotation mark that is not closed; close it")
        for found in _WORD.findall(value):
            yield literal(f"{flag} {found}")


def _option(flag: str, word: UnitText) -> UnitText:
    return literal(f"{flag} {word}")
