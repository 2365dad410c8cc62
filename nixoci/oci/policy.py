"""Whether the user's policy.json asks anything of images (containers-policy.json(5)).

skopeo holds images to it when it copies them, not when it inspects them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SYSTEM = Path("/etc/containers/policy.json")
_USER = Path(".config/containers/policy.json")
_NOTHING = "insecureAcceptAnything"


def asks_something(home: Path | None = None, system: Path = _SYSTEM) -> bool:
    """Return whether the policy that holds here may refuse an image of a registry.

    Args:
        home: The user's home; by default that of this process's user. A policy there takes the place of the system's.
        system: The system's policy.
    """
    user = (home or Path.home()) / _USER
    path = user if user.exists() else system
    if not path.exists():
        return False
    try:
        policy = json.loads(path.read_bytes())
        return any(requirement != {"type": _NOTHING} for requirement in _requirements(policy))
    except (ValueError, AttributeError, TypeError):
        return True  # skopeo says best what is wrong with it


def _requirements(policy: Any) -> Iterator[Any]:
    yield from policy.get("default", [None])
    for requirements in policy.get("transports", {}).get("docker", {}).values():
        yield from requirements
