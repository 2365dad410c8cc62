"""Checks of garbage collector roots: without one, Nix deletes an image store or an image that is in use."""

from collections.abc import Iterator

from nixoci.doctor.facts import Facts
from nixoci.doctor.finding import Finding, ok, warning

_CHECK = "gc roots of containers"


def check_store_roots(facts: Facts) -> Iterator[Finding]:
    """Judge the roots of image stores: every podman command fails once Nix has deleted one."""
    option = "--user " if facts.rootless else ""
    for store in () if facts.nix_error else facts.image_stores:  # Nix cannot be asked for roots
        if store.error or store.store_path is None:
            continue
        name = f"gc root of {store.path}"
        if store.roots:
            yield ok(name, store.roots[0])
        else:
            yield warning(
                name,
                f"none: the next nix-collect-garbage deletes {store.store_path}, and every podman command fails",
                f"run `nixoci switch {option}{store.store_path}`, or switch to the units that use it",
            )


def check_container_roots(facts: Facts) -> Iterator[Finding]:
    """Judge the roots of containers: Nix does not see what they have mounted."""
    if facts.roots_error:
        yield warning(_CHECK, f"not known: {facts.roots_error}", "mend that, then run `nixoci gc-roots`")
    elif facts.unrooted:
        yield warning(
            _CHECK,
            f"missing for {', '.join(facts.unrooted)}",
            "run `nixoci gc-roots` after each switch and before nix-collect-garbage",
        )
    elif facts.containers:
        yield ok(_CHECK, f"{facts.containers}, one for each container")
