"""Images built by Nix, in its sandbox, from a registry on loopback."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme

from nixoci.image_path import FORMAT_VERSION
from nixoci.layer_cache.layout import entry_path
from nixoci.lock.model import LockedNarHash
from nixoci.lock.names import blob_name
from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.small import small_images
from tests.nix_language.locks import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixoci.lock.model import LockedImage
    from tests.host.images import Pair

    Write = Callable[[dict[str, LockedImage]], str]

NAMES = ("nginx", "small", "other")
PLATFORM = "linux/amd64"
TOOLS = {"nixoci": "/opt/nixoci", "composefs": "/usr", "erofs-utils": "/usr", "cacert": "/etc/ssl"}

BREAKING = "127.0.0.1:5009"
BREAKS = """
import os, random, socket, sys, threading
host, own, left, broken = sys.argv[1].split(":"), sys.argv[2].split(":"), int(sys.argv[3]), open(sys.argv[4], "w")
pick = random.Random(7)

def serve(client, server, count):
    threading.Thread(target=copy, args=(client, server, None)).start()
    if copy(server, client, count):
        print(end="x", file=broken, flush=True)

def copy(source, target, count):
    done = 0
    try:
        while data := source.recv(1 << 16 if count is None else min(1 << 16, count - done)):
            target.sendall(data)
            done += len(data)
            if done == count:
                break
        source.shutdown(socket.SHUT_RDWR)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    return done == count

listening = socket.create_server((own[0], int(own[1])))
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    client, _ = listening.accept()
    # the first one brings the manifest and the config, and is done before it breaks
    count = pick.randrange(20_000, 3_000_000) if left else None
    left -= bool(left)
    threading.Thread(target=serve, args=(client, socket.create_connection((host[0], int(host[1]))), count)).start()
"""
"""Passes connections on, and breaks the first ones after some bytes of the answers."""

PRIVATE = "registry.test:5010"
TLS = "/var/lib/tls"
SPEAKS_TLS = """
import os, socket, ssl, sys, threading
host = sys.argv[1].split(":")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/server.pem")

def copy(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass

def serve(client):
    try:
        client = context.wrap_socket(client, server_side=True)
    except OSError:
        return
    server = socket.create_connection((host[0], int(host[1])))
    threading.Thread(target=copy, args=(client, server)).start()
    copy(server, client)

listening = socket.create_server(("127.0.0.1", int(sys.argv[2])))
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],)).start()
"""
"""Passes connections over TLS on to a server without it."""


def arguments(*attributes: str, tools: dict[str, str] = TOOLS) -> list[str]:
    options = [part for name, place in tools.items() for part in ("--argstr", name, place)]
    return [*options, *(part for attribute in attributes for part in ("--attr", attribute))]


def build(machine: Machine, folder: str, *attributes: str, options: tuple[str, ...] = ()) -> list[str]:
    command = ["nix-build", folder, "--no-out-link", *arguments(*attributes), *options]
    return machine.run(command, timeout=600).stdout.splitlines()


def fails(machine: Machine, folder: str, attribute: str, *options: str) -> str:
    command = ["nix-build", folder, "--no-out-link", *arguments(attribute), *options]
    done = machine.run(command, check=False, timeout=600)
    assert done.returncode != 0
    return done.stderr


def blob_derivations(machine: Machine, folder: str, *attributes: str, options: tuple[str, ...] = ()) -> set[str]:
    derivations = machine.run(["nix-instantiate", folder, *arguments(*attributes), *options]).stdout.split()
    needed = machine.run(["nix-store", "--query", "--requisites", *derivations]).stdout.split()
    return {path for path in needed if path.endswith(".drv") and "-sha256-" in path}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine for these tests alone: fetches can be counted only if nothing was fetched before."""
    with Machine(binds={images_dir(): INSIDE}) as booted:
        yield booted


@pytest.fixture(scope="module")
def registry(machine: Machine) -> Iterator[Registry]:
    with Registry(machine) as running:
        yield running


@pytest.fixture(scope="module")
def entries(registry: Registry, images: dict[str, Pair]) -> dict[str, LockedImage]:
    sources = {name: images[name].old if name in images else small_images(name).old for name in NAMES}
    return {name: locked(image, registry.push(image)) for name, image in sources.items()}


@pytest.fixture
def write(machine: Machine, request: pytest.FixtureRequest) -> Write:
    def write_entries(entries: dict[str, LockedImage]) -> str:
        folder = f"/root/locks/{request.node.name}"
        write_lock(machine, folder, entries)
        return folder

    return write_entries


@pytest.fixture(scope="module")
def project(machine: Machine, entries: dict[str, LockedImage]) -> str:
    folder = "/root/locks/project"
    write_lock(machine, folder, entries)
    return folder


@pytest.fixture(scope="module")
def blobs(machine: Machine, registry: Registry, project: str) -> Counter[str]:
    """Build the blobs of all images, several at once; return how often the registry served each."""
    attributes = [f"images.{name}" for name in NAMES]
    registry.clear()
    derivations = sorted(blob_derivations(machine, project, *attributes))
    machine.run(["nix-store", "--realise", "--max-jobs", "4", *derivations], timeout=600)
    given = [request for request in registry.requests() if request.method == "GET" and request.status == 200]
    return Counter(request.path.rpartition("/")[2] for request in given if "sha256:" in request.path)


def test_each_distinct_blob_is_fetched_once(blobs: Counter[str], entries: dict[str, LockedImage]) -> None:
    pinned = [entry.platforms[PLATFORM] for entry in entries.values()]
    uses = Counter(str(layer.digest) for each in pinned for layer in each.layers)
    assert max(uses.values()) > 1, "no layer is shared"
    everything = (
        set(uses) | {str(each.manifest.digest) for each in pinned} | {str(each.config.digest) for each in pinned}
    )
    assert blobs == Counter(dict.fromkeys(everything, 1))


@pytest.mark.usefixtures("blobs")
def test_a_blob_is_where_prefetching_puts_it(
    machine: Machine, images: dict[str, Pair], entries: dict[str, LockedImage]
) -> None:
    layer = entries["nginx"].platforms[PLATFORM].layers[-1].digest
    hashed = ["--type", "sha256", "--base16"]
    place = machine.run(["nix-store", "--print-fixed-path", "sha256", layer.hex, blob_name(layer)]).stdout.strip()
    assert machine.run(["nix-hash", "--flat", *hashed, place]).stdout.strip() == layer.hex
    assert (
        images["nginx"].old.layout.joinpath("blobs/sha256", layer.hex).stat().st_size
        == (machine.root / place.lstrip("/")).stat().st_size
    )


def test_every_platform_takes_the_same_blobs(machine: Machine, write: Write, entries: dict[str, LockedImage]) -> None:
    nginx = entries["nginx"]
    pinned = nginx.platforms[PLATFORM]
    other = replace(pinned, manifest=replace(pinned.manifest, digest=digest("other")))
    folder = write({"nginx": replace(nginx, platforms={PLATFORM: pinned, "linux/arm64": other})})
    here = blob_derivations(machine, folder, "images.nginx")
    there = blob_derivations(machine, folder, "images.nginx", options=("--argstr", "platform", "linux/arm64"))
    shared = {blob_name(pinned.config.digest), *(blob_name(layer.digest) for layer in pinned.layers)}
    assert {path.partition("-")[2].removesuffix(".drv") for path in here & there} == shared
    assert len(there - here) == 1


def test_a_blob_that_the_registry_does_not_have(
    machine: Machine, write: Write, entries: dict[str, LockedImage]
) -> None:
    nginx = entries["nginx"]
    pinned = nginx.platforms[PLATFORM]
    wrong = replace(pinned.layers[0], digest=digest("nowhere"))
    folder = write({"web": replace(nginx, platforms={PLATFORM: replace(pinned, layers=[wrong, *pinned.layers[1:]])})})
    said = fails(machine, folder, "images.web")
    repository = nginx.reference.rpartition(":")[0]
    assert f"error: image web: cannot be fetched from {repository}: " in said
    assert f"answers 404 Not Found for blobs/{digest('nowhere')}; " in said
    assert "run `nixoci prefetch --no-nar-hash web`" in said


def test_local_files_are_for_prefetch(machine: Machine, write: Write, entries: dict[str, LockedImage]) -> None:
    nginx = entries["nginx"]
    pinned = nginx.platforms[PLATFORM]
    mine = replace(pinned, manifest=replace(pinned.manifest, digest=digest("local")))
    folder = write({"web": replace(nginx, reference="oci:/layout:1", platforms={PLATFORM: mine})})
    said = fails(machine, folder, "images.web")
    assert "error: image web: pinned from local files" in said
    assert "run `nixoci prefetch --no-nar-hash web`" in said


def test_a_platform_that_is_not_locked(machine: Machine, project: str) -> None:
    said = fails(machine, project, "images.nginx", "--argstr", "platform", "linux/s390x")
    assert "image nginx: not locked for linux/s390x, only for linux/amd64; run `nixoci add" in said


def test_a_system_without_a_platform(machine: Machine, project: str) -> None:
    said = fails(machine, project, "images.nginx", "--argstr", "system", "pdp11-linux")
    assert "no OCI platform is known for system pdp11-linux; pass `platform`" in said


def test_a_nar_hash_of_another_format(machine: Machine, write: Write, entries: dict[str, LockedImage]) -> None:
    nar_hash = LockedNarHash(format=FORMAT_VERSION + 1, hash="sha256-" + "A" * 43 + "=")
    folder = write({"nginx": _pinned_tree(entries["nginx"], nar_hash)})
    said = fails(machine, folder, "images.nginx")
    assert f"image nginx: its narHash is of extraction format {FORMAT_VERSION + 1}" in said
    assert f"this nixoci writes format {FORMAT_VERSION}; run `nixoci prefetch nginx`" in said


def test_the_config_is_known_without_a_build(machine: Machine, project: str, entries: dict[str, LockedImage]) -> None:
    evaluate = ["nix-instantiate", "--eval", "--strict", "--json", project, *arguments("images.nginx.config")]
    assert json.loads(machine.run(evaluate).stdout) == entries["nginx"].platforms[PLATFORM].config.value


def test_the_lock_file_itself_gives_the_same_derivations(machine: Machine, project: str) -> None:
    attributes = ["images.nginx", "imageStore", "imageStore.rootless", "layerCache"]
    generated = machine.run(["nix-instantiate", project, *arguments(*attributes)]).stdout
    lock = ["--arg", "lock", f"{project}/nixoci.lock.json"]
    assert machine.run(["nix-instantiate", "/src/nix", *arguments(*attributes), *lock]).stdout == generated


@pytest.mark.usefixtures("blobs")
def test_an_image_is_built_reproducibly_and_refers_to_nothing(machine: Machine, project: str) -> None:
    (path,) = build(machine, project, "images.nginx")
    assert build(machine, project, "images.nginx", options=("--check",)) == [path]
    assert machine.run(["nix-store", "--query", "--references", path]).stdout == ""
    assert machine.run(["test", "-d", f"{path}/rootfs"]).returncode == 0


@pytest.mark.usefixtures("blobs")
def test_a_known_nar_hash_makes_the_path_depend_on_nothing_else(
    machine: Machine, project: str, write: Write, entries: dict[str, LockedImage]
) -> None:
    (built,) = build(machine, project, "images.small")
    nar_hash = machine.run(["nix", "hash", "path", "--sri", built]).stdout.strip()
    folder = write({"small": _pinned_tree(entries["small"], LockedNarHash(format=FORMAT_VERSION, hash=nar_hash))})
    assert blob_derivations(machine, folder, "images.small") == set(), "a blob would reach the store"
    (pinned,) = build(machine, folder, "images.small")
    assert pinned != built
    assert machine.run(["nix", "hash", "path", "--sri", pinned]).stdout.strip() == nar_hash
    assert machine.run(["nix-store", "--query", "--references", pinned]).stdout == ""
    evaluate = ["nix-instantiate", "--eval", "--strict", "--json", folder]
    elsewhere = arguments("images.small.outPath", tools=TOOLS | {"nixoci": "/another/nixoci"})
    assert json.loads(machine.run([*evaluate, *elsewhere]).stdout) == pinned


def test_a_connection_that_breaks_at_twenty_points_changes_nothing(
    machine: Machine, registry: Registry, write: Write, entries: dict[str, LockedImage]
) -> None:
    nginx = entries["nginx"]
    through = replace(nginx, reference=nginx.reference.replace(registry.host, BREAKING))
    with breaking(machine, registry, 0):
        (built,) = build(machine, write({"nginx": through}), "images.nginx")
    nar_hash = machine.run(["nix", "hash", "path", "--sri", built]).stdout.strip()
    folder = write({"nginx": _pinned_tree(through, LockedNarHash(format=FORMAT_VERSION, hash=nar_hash))})
    before = files_of_builds(machine)
    with breaking(machine, registry, 20):
        (pinned,) = build(machine, folder, "images.nginx")
    assert machine.run(["nix", "hash", "path", "--sri", pinned]).stdout.strip() == nar_hash
    assert machine.run(["cat", "/root/broken"]).stdout == "x" * 20
    derivation = machine.run(["nix-store", "--query", "--deriver", pinned]).stdout.strip()
    added = files_of_builds(machine) - before
    assert {path for path in added if not path.endswith(".drv")} == {pinned}
    assert derivation in added


def files_of_builds(machine: Machine) -> set[str]:
    """Return the entries of the Nix store, and of the directories in which Nix builds."""
    places = ["/nix/store", "/nix/var/nix/builds", "/tmp", "/var/tmp"]  # noqa: S108
    found = machine.run(["find", *places, "-mindepth", "1", "-maxdepth", "1"], check=False).stdout.split()
    return {path for path in found if path != "/nix/store/.links" and "/systemd-private-" not in path}


def test_a_build_trusts_the_certificates_that_the_environment_names(
    machine: Machine, registry: Registry, write: Write
) -> None:
    # an image of its own, whose blobs no other test puts into the store
    image = small_images("private").old
    folder = write({"web": locked(image, registry.push(image).replace(registry.host, PRIVATE))})
    with private_authority(machine, registry):
        tools = TOOLS | {"cacert": f"{TLS}/cacert"}
        command = ["nix-build", folder, "--no-out-link", *arguments("images.web", tools=tools)]
        command += ["--option", "extra-sandbox-paths", TLS]
        usual = machine.run(command, check=False, timeout=300)
        hidden = machine.run(command, env={"NIX_SSL_CERT_FILE": "/root/hidden.crt"}, check=False, timeout=300)
        (built,) = machine.run(command, env={"NIX_SSL_CERT_FILE": f"{TLS}/ours.crt"}, timeout=300).stdout.split()
    assert usual.returncode != 0
    assert f"{PRIVATE} is not trusted: " in usual.stderr
    assert "NIX_SSL_CERT_FILE names /root/hidden.crt, which this build cannot read" in hidden.stderr
    assert hidden.returncode != 0
    assert machine.run(["test", "-d", f"{built}/rootfs"]).returncode == 0


@contextmanager
def private_authority(machine: Machine, registry: Registry) -> Iterator[None]:
    """Serve the registry over HTTPS while the block runs, with a certificate that only `ours.crt` vouches for."""
    ours, others = trustme.CA(), trustme.CA()
    own = ours.issue_cert(PRIVATE.partition(":")[0]).private_key_and_cert_chain_pem
    authorities = {"ours.crt": ours, "cacert/etc/ssl/certs/ca-bundle.crt": others}
    machine.run(["mkdir", "--parents", f"{TLS}/cacert/etc/ssl/certs"])
    for name, authority in authorities.items():
        machine.run(["tee", f"{TLS}/{name}"], input=authority.cert_pem.bytes().decode())
    machine.run(["cp", f"{TLS}/ours.crt", "/root/hidden.crt"])
    machine.run(["tee", "/root/server.pem"], input=own.bytes().decode())
    machine.run(["tee", "/root/tls.py"], input=SPEAKS_TLS)
    machine.run(["tee", "--append", "/etc/hosts"], input=f"127.0.0.1 {PRIVATE.partition(':')[0]}\n")
    unit = ["systemd-run", "--quiet", "--unit=tls", "--collect", "--service-type=notify"]
    machine.run([*unit, "python3", "/root/tls.py", registry.host, PRIVATE.rpartition(":")[2]])
    yield
    machine.run(["systemctl", "stop", "tls"])


@contextmanager
def breaking(machine: Machine, registry: Registry, count: int) -> Iterator[None]:
    """Pass connections on to the registry while the block runs, and break so many of them."""
    machine.run(["tee", "/root/breaking.py"], input=BREAKS)
    unit = ["systemd-run", "--quiet", "--unit=breaking", "--collect", "--service-type=notify"]
    machine.run([*unit, "python3", "/root/breaking.py", registry.host, BREAKING, str(count), "/root/broken"])
    yield
    machine.run(["systemctl", "stop", "breaking"])


@pytest.mark.usefixtures("blobs")
def test_a_wrong_nar_hash_fails(machine: Machine, write: Write, entries: dict[str, LockedImage]) -> None:
    nar_hash = LockedNarHash(format=FORMAT_VERSION, hash="sha256-" + "A" * 43 + "=")
    folder = write({"small": _pinned_tree(entries["small"], nar_hash)})
    assert "hash mismatch in fixed-output derivation" in fails(machine, folder, "images.small")


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("attribute", ["imageStore", "imageStore.rootless"])
def test_an_image_store_is_built_reproducibly_and_keeps_its_images(
    machine: Machine, project: str, attribute: str
) -> None:
    (path,) = build(machine, project, attribute)
    assert build(machine, project, attribute, options=("--check",)) == [path]
    kept = set(machine.run(["nix-store", "--query", "--requisites", path]).stdout.split())
    entries = {each for each in kept if "-nixoci-image-store-entry" in each}
    assert len(entries) == len(NAMES)
    # its storage.conf names itself
    assert kept - entries == {path, *build(machine, project, *(f"images.{name}" for name in NAMES))}


@pytest.mark.usefixtures("blobs")
def test_the_log_of_a_build_which_nix_takes_by_a_terminal_has_no_progress_bar(machine: Machine, project: str) -> None:
    build(machine, project, "images.small")
    again = ["nix-build", project, "--no-out-link", *arguments("images.small"), "--check"]
    log = machine.run(again, timeout=600).stderr
    assert "checking outputs of" in log
    assert "extracting small" not in log


@pytest.mark.usefixtures("blobs")
def test_a_layer_cache_is_built_reproducibly_and_each_layer_once(
    machine: Machine, project: str, entries: dict[str, LockedImage]
) -> None:
    (path,) = build(machine, project, "layerCache")
    assert build(machine, project, "layerCache", options=("--check",)) == [path]
    layers = {layer.diff_id for entry in entries.values() for layer in entry.platforms[PLATFORM].layers}
    found = machine.run(["find", path, "-name", "*.erofs"]).stdout.split()
    assert set(found) == {f"{path}/{entry_path(diff_id)}" for diff_id in layers}
    # neither a blob nor a tool is needed where containerd mounts them
    kept = machine.run(["nix-store", "--query", "--requisites", path]).stdout.split()
    assert len(kept) == len(layers) + 1
    assert len({name.partition("-")[2] for name in kept}) == 2


def _pinned_tree(image: LockedImage, nar_hash: LockedNarHash) -> LockedImage:
    return replace(image, platforms={PLATFORM: replace(image.platforms[PLATFORM], nar_hash=nar_hash)})
