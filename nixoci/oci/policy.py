"""Detection of a policy.json that may reject images (containers-policy.json(5)).

skopeo enforces the policy when it copies an image, but not when it inspects one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nixoci.user import home_directory

_SYSTEM = Path("/etc/containers/policy.json")
_USER = Path(".config/containers/policy.json")
_ACCEPT = "insecureAcceptAnything"


def may_reject(home: Path | None = None, system: Path = _SYSTEM) -> bool:
    """Return whether the policy of this user may reject an image of a registry.

    Args:
        home: The user's home; by default that of this process's user. A policy there replaces the system's.
        system: The system's policy.
    """
    home = home or home_directory()
    user = system if home is None else home / _USER
    try:
        path = user if user.exists() else system
        if not path.exists():
            return False
        policy = json.loads(path.read_bytes())
        return any(requirement != {"type": _ACCEPT} for requirement in _requirements(policy))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return True  # skopeo explains the fault in it best


def _requirements(policy: Any) -> Iterator[Any]:
    yield from policy.get("default", [None])
    for requirements in policy.get("transports", {}).get("docker", {}).values():
        yield from requirements
