"""Machines as facts, each broken in one way, and the one finding that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nixoci.doctor.examine import examine
from nixoci.doctor.facts import Facts, ImageStoreFacts, version_of
from nixoci.doctor.finding import Finding, Status
from nixoci.gc_roots.update import KEPT_DROP_IN
from nixoci.image_store.mount_options import DropIns
from nixoci.image_store.storage_conf_files import ConfigFile

CONF = ConfigFile(
    path=Path("/etc/containers/storage.rootful.conf.d/50-nixoci.conf"),
    drop_in=True,
    image_stores=(Path("/nix/var/nix/profiles/nixoci"),),
    append=True,
)
STORE = ImageStoreFacts(
    path=Path("/nix/var/nix/profiles/nixoci"),
    file=CONF.path,
    erofs=True,
    images={"docker.io/library/nginx:1.27": "aa"},
    store_path=Path("/nix/store/x-nixoci-image-store"),
    roots=("/nix/var/nix/profiles/nixoci-1-link",),
)
HEALTHY = Facts(
    uid=0,
    user="root",
    kernel="6.12.41+deb13-amd64",
    programs={
        "podman": "podman version 5.8.6",
        "mkcomposefs": "",
        "skopeo": "skopeo version 1.20.0",
        "nix": "nix (Nix) 2.34.7",
        "systemctl": "systemd 262 (262.1-1)",
    },
    config=(CONF,),
    image_stores=(STORE,),
    containers=1,
)
ROOTLESS_STORE = replace(STORE, erofs=False)
ALICE = replace(
    HEALTHY,
    uid=1000,
    user="alice",
    kernel="6.18.4",
    programs={**HEALTHY.programs, "newuidmap": "", "newgidmap": ""},
    config=(replace(CONF, path=Path("/home/alice/.config/containers/storage.conf.d/50-nixoci.conf")),),
    image_stores=(ROOTLESS_STORE,),
    subordinate_ids=(65536, 65536),
)


def without(facts: Facts, program: str) -> Facts:
    return replace(facts, programs={name: text for name, text in facts.programs.items() if name != program})


def having(facts: Facts, program: str, text: str) -> Facts:
    return replace(facts, programs={**facts.programs, program: text})


def setting(path: str, mountopt: str) -> ConfigFile:
    """Return a file that sets mount options alone."""
    return ConfigFile(path=Path(path), drop_in=".d/" in path, options={"overlay.mountopt": mountopt})


def bad(facts: Facts) -> list[Finding]:
    return [finding for finding in examine(facts) if finding.status is not Status.OK]


KEPT_DAMAGES: list[tuple[dict[str, Any], str]] = [
    ({"error": "does not exist"}, "does not exist; every podman command fails"),
    ({"missing_trees": (Path("/nix/store/gone/rootfs"),)}, "/nix/store/gone/rootfs"),
]


def test_a_podman_that_cannot_start_is_one_problem() -> None:
    (found,) = bad(replace(having(HEALTHY, "podman", ""), podman_error="podman info: exit code 1: broken"))
    assert (found.check, found.found) == ("podman info", "podman info: exit code 1: broken")


@pytest.mark.parametrize("facts", [HEALTHY, ALICE])
def test_a_healthy_machine_has_nothing_to_do(facts: Facts) -> None:
    assert bad(facts) == []
    assert not [finding for finding in examine(facts) if finding.advice]


@pytest.mark.parametrize(
    ("facts", "status", "check", "found", "advice"),
    [
        (replace(HEALTHY, kernel="6.11.0"), "problem", "kernel", "6.12 or newer", "install Linux 6.12"),
        (replace(ALICE, kernel="6.12.1"), "problem", "kernel", "6.18 or newer", "install Linux 6.18"),
        (without(HEALTHY, "podman"), "problem", "podman", "not on PATH", "5.3 or newer"),
        (
            without(HEALTHY, "podman"),
            "problem",
            "podman",
            "not on PATH",
            "other engines and the backends `bundle` and `systemd`",
        ),
        (without(HEALTHY, "nix"), "problem", "nix", "not on PATH", "2.18 or newer"),
        (having(HEALTHY, "nix", "nix (Nix) 2.8.0"), "problem", "nix", "2.8.0", "install Nix 2.18"),
        (
            having(HEALTHY, "systemctl", "systemd 257 (257.9-1~deb13u1)"),
            "warning",
            "systemd",
            "257; the backend `systemd` needs 258 or newer",
            "use another backend, such as `bundle`",
        ),
        (having(HEALTHY, "systemctl", "systemd ?"), "warning", "systemd", "'systemd ?' has no version", "systemd 258"),
        (having(HEALTHY, "systemctl", ""), "warning", "systemd", "`systemctl --version` fails", "systemd 258"),
        (having(HEALTHY, "podman", ""), "warning", "podman", "`podman --version` fails", "podman 5.3"),
        (without(HEALTHY, "systemctl"), "warning", "systemd", "not on PATH", "units are for systemd"),
        (without(HEALTHY, "mkcomposefs"), "warning", "mkcomposefs", "not on PATH", "composefs"),
        (without(HEALTHY, "skopeo"), "warning", "skopeo", "not on PATH", "install skopeo"),
        (
            having(HEALTHY, "podman", "podman version 5.4.2"),
            "problem",
            str(CONF.path),
            "does not read drop-ins",
            "link the storage.conf of the image store, or of the profile that has it, as /etc/containers/storage.conf",
        ),
        (
            replace(HEALTHY, config=(replace(CONF, image_stores=None, error="not TOML: x"),)),
            "problem",
            str(CONF.path),
            "not TOML",
            "every podman command fails",
        ),
        (
            replace(HEALTHY, config=(CONF, ConfigFile(path=Path("/etc/x.conf"), dangling=Path("/nix/none")))),
            "problem",
            "/etc/x.conf",
            "is a link to /nix/none, which does not exist, and podman ignores it",
            "make the link again",
        ),
        (
            replace(HEALTHY, native_diff=True),
            "problem",
            "mountopt",
            "write zeros for files of image stores whose owner or mode changed",
            'of /etc/containers/storage.rootful.conf.d/60-mountopt.conf, set mountopt = "redirect_dir=on"',
        ),
        (
            replace(HEALTHY, native_diff=True, config=(CONF, setting("/etc/containers/storage.d/9.conf", "nodev"))),
            "problem",
            "mountopt",
            "write zeros",
            'of /etc/containers/storage.d/9.conf, set mountopt = "nodev,redirect_dir=on"',
        ),
        (
            replace(HEALTHY, native_diff=True, config=(setting("/usr/share/containers/storage.conf", "nodev"), CONF)),
            "problem",
            "mountopt",
            "write zeros",
            'of /etc/containers/storage.rootful.conf.d/60-mountopt.conf, set mountopt = "nodev,redirect_dir=on"',
        ),
        (
            replace(
                HEALTHY,
                config=(
                    setting("/etc/containers/storage.conf", "nodev,metacopy=on"),
                    setting(str(DropIns().mount_options), "nodev,redirect_dir=on"),
                    CONF,
                ),
            ),
            "warning",
            str(DropIns().mount_options),
            "sets mountopt to nodev,redirect_dir=on; with the other files as they are now, it has to be gone",
            "nixoci gc-roots",
        ),
        (
            replace(HEALTHY, driver="vfs"),
            "problem",
            "storage driver",
            "vfs; image stores are for",
            'driver = "overlay"',
        ),
        (
            replace(HEALTHY, config=(replace(CONF, closed=Path("/root")),)),
            "problem",
            str(CONF.path),
            "/root is closed to them",
            "chmod o+rX /root",
        ),
        (
            replace(HEALTHY, config=(), image_stores=()),
            "warning",
            "image store",
            "names none",
            "`nixoci switch`",
        ),
        (
            replace(HEALTHY, image_stores=(replace(STORE, error="does not exist"),)),
            "problem",
            str(STORE.path),
            "does not exist; every podman command fails",
            f"take it out of {CONF.path}",
        ),
        *(
            (
                replace(HEALTHY, image_stores=(replace(STORE, file=KEPT_DROP_IN, **damage),)),
                "problem",
                str(STORE.path),
                found,
                "run `nixoci gc-roots`",
            )
            for damage, found in KEPT_DAMAGES
        ),
        (
            replace(HEALTHY, image_stores=(replace(STORE, missing_trees=(Path("/nix/store/gone/rootfs"),)),)),
            "problem",
            str(STORE.path),
            "/nix/store/gone/rootfs",
            "build the image store again",
        ),
        (
            replace(HEALTHY, own_images={"docker.io/library/nginx:1.27": "bb", "other:1": "cc"}),
            "problem",
            "docker.io/library/nginx:1.27",
            "hides that of /nix/var/nix/profiles/nixoci",
            "podman untag docker.io/library/nginx:1.27",
        ),
        (replace(ALICE, image_stores=(STORE,)), "problem", str(STORE.path), "only root may mount", "--rootless"),
        (
            replace(ALICE, subordinate_ids=(0, 65536)),
            "problem",
            "/etc/subuid",
            "no ids for alice",
            "--add-subuids 100000-165535 alice",
        ),
        (
            replace(ALICE, subordinate_ids=(65536, 1000), free_ids=(0, 231072)),
            "warning",
            "/etc/subgid",
            "1000 ids",
            "--add-subgids 231072-296607 alice",
        ),
        (
            replace(ALICE, nix_error="getting status of the socket: Permission denied"),
            "problem",
            "nix store",
            "getting status of the socket: Permission denied",
            "run `usermod --append --groups nix-users alice` as root",
        ),
        (replace(ALICE, nix_error="cannot connect"), "problem", "nix store", "cannot connect", "nix-daemon.socket"),
        (without(ALICE, "newuidmap"), "problem", "newuidmap", "not on PATH", "uidmap"),
        (
            replace(HEALTHY, image_stores=(replace(STORE, roots=()),)),
            "warning",
            f"gc root of {STORE.path}",
            "nix-collect-garbage deletes /nix/store/x-nixoci-image-store",
            "nixoci switch /nix/store/x-nixoci-image-store",
        ),
        (
            replace(HEALTHY, unrooted=("web", "db")),
            "warning",
            "gc roots of containers",
            "missing for web, db",
            "nixoci gc-roots",
        ),
        (
            replace(HEALTHY, podman_error="podman info: exit code 125: broken"),
            "problem",
            "podman info",
            "broken",
            "every podman command fails",
        ),
    ],
)
def test_a_broken_machine(facts: Facts, status: str, check: str, found: str, advice: str) -> None:
    (finding,) = bad(facts)
    assert (finding.status.value, finding.check) == (status, check)
    assert found in finding.found
    assert advice in finding.advice


def test_mount_options_that_fit_the_other_files_are_no_finding() -> None:
    own = setting(str(DropIns().mount_options), "nosuid,redirect_dir=on")
    assert bad(replace(HEALTHY, config=(setting("/etc/containers/storage.conf", "nosuid"), own, CONF))) == []


def test_a_podman_without_drop_ins_is_pointed_to_the_main_file() -> None:
    old = replace(HEALTHY, native_diff=True, programs=dict(HEALTHY.programs) | {"podman": "podman version 5.4.2"})
    (advice,) = [finding.advice for finding in bad(old) if finding.check == "mountopt"]
    assert advice == 'in [storage.options.overlay] of /etc/containers/storage.conf, set mountopt = "redirect_dir=on"'


def test_a_podman_without_drop_ins_may_have_the_store_in_the_main_file() -> None:
    main = replace(CONF, path=Path("/etc/containers/storage.conf"), drop_in=False, append=False)
    old = replace(HEALTHY, config=(main, CONF), programs=dict(HEALTHY.programs) | {"podman": "podman version 5.4.2"})
    assert bad(old) == []
    other = replace(main, image_stores=(Path("/nix/store/other"),))
    assert [finding.check for finding in bad(replace(old, config=(other, CONF)))] == [str(CONF.path)]


def test_a_store_of_layers_without_metadata_alone_loses_no_content() -> None:
    assert bad(replace(HEALTHY, native_diff=True, image_stores=(replace(STORE, erofs=False),))) == []
    assert bad(replace(ALICE, native_diff=True)) == []


def test_roots_are_not_judged_where_nix_cannot_be_asked() -> None:
    stores = tuple(replace(store, roots=()) for store in ALICE.image_stores)
    facts = replace(ALICE, nix_error="Permission denied", image_stores=stores)
    assert stores
    assert [finding.check for finding in bad(facts)] == ["nix store"]


def test_an_old_podman_and_kernel_are_enough_for_a_store_without_erofs_files() -> None:
    old = having(replace(HEALTHY, kernel="6.1.0-13-amd64", config=()), "podman", "podman version 4.3.1")
    assert {finding.status for finding in bad(old)} == {Status.PROBLEM}
    plain = replace(old, image_stores=(replace(STORE, erofs=False),))
    assert {(finding.check, finding.status) for finding in bad(plain)} == {
        ("kernel", Status.WARNING),
        ("podman", Status.WARNING),
    }


@pytest.mark.parametrize(
    ("facts", "check", "tested"),
    [
        (replace(HEALTHY, kernel="6.12.0"), "kernel", "6.18"),
        (having(HEALTHY, "podman", "podman version 5.4.2"), "podman", "5.8"),
        (having(HEALTHY, "nix", "nix (Nix) 2.18.1"), "nix", "2.34"),
        (having(HEALTHY, "systemctl", "systemd 258 (258)"), "systemd", "262"),
    ],
)
def test_a_version_that_is_new_enough_but_untried(facts: Facts, check: str, tested: str) -> None:
    (finding,) = (finding for finding in examine(facts) if finding.check == check)
    assert finding.status is Status.OK
    assert finding.found.endswith(f"untried: nixoci is tested with {tested}")


def test_tested_versions_are_not_called_untried() -> None:
    machine = having(replace(HEALTHY, kernel="6.18.0"), "nix", "nix (Nix) 2.34.0")
    assert not [finding for finding in examine(machine) if "untried" in finding.found]


def test_a_user_without_a_session_learns_how_to_get_one() -> None:
    message = "podman info: exit code 1: Failed to obtain podman configuration: lstat /run/user/1000: no such file"
    findings = bad(replace(HEALTHY, uid=1000, user="alice", podman_error=message))
    (found,) = (finding for finding in findings if finding.check == "podman info")
    assert found.advice.startswith("log in as alice and not by su or sudo")
    assert "`loginctl enable-linger alice`" in found.advice


def test_a_storage_conf_that_an_older_podman_does_not_take() -> None:
    message = "podman info: exit code 1: Failed to obtain podman configuration: runroot must be set"
    (found,) = bad(replace(HEALTHY, podman_error=message))
    assert found.found == message
    assert 'write runroot = "/run/containers/storage" and graphroot = ' in found.advice


@pytest.mark.parametrize(
    ("images", "nameless", "says"),
    [({}, 0, "none"), ({}, 2, "2 without a name"), ({"a:1": "aa", "b:1": "bb"}, 1, "a:1, b:1, 1 without a name")],
)
def test_images_without_a_name_are_counted(images: dict[str, str], nameless: int, says: str) -> None:
    store = replace(STORE, images=images, nameless=nameless)
    found = [each.found for each in examine(replace(HEALTHY, image_stores=(store,))) if each.check == str(STORE.path)]
    assert f"images: {says}" in found


def test_a_store_of_several_images_keeps_equal_files_once() -> None:
    several = replace(STORE, images={"a": "aa", "b": "bb"})
    (finding,) = bad(replace(HEALTHY, image_stores=(several,), optimised=False))
    assert (finding.status, finding.check) == (Status.WARNING, "space")
    assert "auto-optimise-store" in finding.advice
    one, elsewhere = replace(STORE, images={"a": "aa", "b": "aa"}), replace(several, store_path=None, roots=())
    for store, optimised in ((several, True), (one, False), (elsewhere, False)):
        assert bad(replace(HEALTHY, image_stores=(store,), optimised=optimised)) == []


def test_one_image_in_both_places_is_not_hidden() -> None:
    assert bad(replace(HEALTHY, own_images=STORE.images)) == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("skopeo version 1.20.0 commit: x", (1, 20, 0)),
        ("nix (Nix) 2.34.7pre1", (2, 34, 7)),
        ("6.18.44-fc-v669", (6, 18, 44)),
        ("6.1", (6, 1)),
        ("podman version 6.0.0-dev", (6, 0, 0)),
        ("no version", None),
        ("", None),
    ],
)
def test_versions(text: str, version: tuple[int, ...] | None) -> None:
    assert version_of(text) == version
