"""All checks of a machine."""

from nixoci.doctor.facts import Facts
from nixoci.doctor.finding import Finding
from nixoci.doctor.image_stores import (
    check_commits,
    check_config,
    check_hidden_images,
    check_image_stores,
    check_mount_options,
    check_space,
)
from nixoci.doctor.roots import check_container_roots, check_store_roots
from nixoci.doctor.tools import (
    check_kernel,
    check_mkcomposefs,
    check_nix,
    check_nix_store,
    check_podman,
    check_skopeo,
    check_systemd,
)
from nixoci.doctor.users import check_id_tools, check_subordinate_ids


def examine(facts: Facts) -> list[Finding]:
    """Judge the facts about a machine; a function of them alone."""
    return [
        check_kernel(facts),
        *check_podman(facts),
        check_mkcomposefs(facts),
        check_skopeo(facts),
        check_nix(facts),
        *check_nix_store(facts),
        *check_systemd(facts),
        *check_config(facts),
        *check_image_stores(facts),
        *check_commits(facts),
        *check_mount_options(facts),
        *check_hidden_images(facts),
        *check_space(facts),
        *check_subordinate_ids(facts),
        *check_id_tools(facts),
        *check_store_roots(facts),
        *check_container_roots(facts),
    ]
