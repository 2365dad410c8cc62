"""A model of dockerd: what it reads from a data root when it starts, and what its commands change there.

It follows moby 28 (`layer/layer_store.go`, `image/store.go`, `reference/store.go`, `daemon/graphdriver/overlay2`), and
shares no code with nixoci.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

_ID = re.compile(r"[0-9a-f]{64}")
_serial = itertools.count()


def new_id() -> str:
    """Return an id that was not there before; they are the same in each run of a test."""
    return hashlib.sha256(b"%d" % next(_serial)).hexdigest()


def restart_ids() -> None:
    global _serial  # noqa: PLW0603 - ids are new in all data roots
    _serial = itertools.count()


class Dockerd:
    """A daemon that has just started with a data root; a broken file that would end it is an exception."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.overlay = root / "overlay2"
        self.db = root / "image/overlay2"
        for folder in ("imagedb/content/sha256", "imagedb/metadata/sha256", "layerdb/sha256"):
            (self.db / folder).mkdir(parents=True, exist_ok=True)
        (self.overlay / "l").mkdir(parents=True, exist_ok=True)
        (root / "containers").mkdir(exist_ok=True)
        repositories = self.db / "repositories.json"
        self.names: dict[str, dict[str, str]] = {}
        if repositories.exists():
            self.names = json.loads(repositories.read_text())["Repositories"]
        self.layers = self._read_layers()
        self.images = self._read_images()

    def _read_layers(self) -> dict[str, dict[str, str]]:
        """Return what is known of each layer; one that cannot be read is none."""
        found = {}
        for record in (self.db / "layerdb/sha256").iterdir():
            if not _ID.fullmatch(record.name):
                continue
            try:
                layer = {name: (record / name).read_text().strip() for name in ("cache-id", "diff", "size")}
                parent = record / "parent"
                layer["parent"] = parent.read_text().removeprefix("sha256:") if parent.exists() else ""
                if not layer["cache-id"] or not re.fullmatch(r"sha256:[0-9a-f]{64}", layer["diff"]):
                    continue
                int(layer["size"])
            except (OSError, ValueError):
                continue
            found[record.name] = layer
        return {name: layer for name, layer in found.items() if not layer["parent"] or layer["parent"] in found}

    def _read_images(self) -> dict[str, dict[str, Any]]:
        found = {}
        for file in (self.db / "imagedb/content/sha256").iterdir():
            text = file.read_bytes() if _ID.fullmatch(file.name) else b""
            if hashlib.sha256(text).hexdigest() != file.name:
                continue
            config = json.loads(text)
            if chain_id(config["rootfs"]["diff_ids"]) in self.layers:
                found[file.name] = config
        return found

    def lookup(self, name: str) -> str | None:
        """Return the id of an image by its name with tag or digest, as `docker run` finds it."""
        repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
        found = self.names.get(repository, {}).get(name)
        return found.removeprefix("sha256:") if found else None

    def names_of(self, image: str) -> set[str]:
        return {name for names in self.names.values() for name, found in names.items() if found == f"sha256:{image}"}

    def tree(self, image: str) -> str:
        """Return where the files of an image's one layer are, by the way that a new container's overlay names them."""
        layer = self.layers[chain_id(self.images[image]["rootfs"]["diff_ids"])]
        return self._lowers(layer["cache-id"])[0]

    def _lowers(self, cache: str) -> list[str]:
        folder = self.overlay / cache
        lowers = [f"l/{(folder / 'link').read_text()}"]
        if (folder / "lower").exists():
            lowers += (folder / "lower").read_text().split(":")
        trees = []
        for lower in lowers:
            target = (self.overlay / lower).readlink()
            diff = Path(os.path.normpath(self.overlay / "l" / target))
            assert diff.parent.is_dir(), f"{lower} names a folder that is gone"
            trees.append(os.fspath(diff.readlink()) if diff.is_symlink() else os.fspath(diff))
        return trees

    def _save(self) -> None:
        names = {repository: names for repository, names in self.names.items() if names}
        (self.db / "repositories.json").write_text(json.dumps({"Repositories": names}))

    def tag(self, image: str, name: str) -> None:
        repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
        self.names.setdefault(repository, {})[name] = f"sha256:{image}"
        self._save()

    def untag(self, name: str) -> None:
        for names in self.names.values():
            names.pop(name, None)
        self._save()

    def create_layer(self, parent: str, *, chain: str, diff: str, files: bool = True) -> None:
        """Write a layer of Docker's own."""
        cache = self._create_folder(parent, files=files)
        record = self.db / "layerdb/sha256" / chain
        record.mkdir()
        content = {"cache-id": cache, "diff": f"sha256:{diff}", "size": "1"}
        for name, text in (content | ({"parent": f"sha256:{parent}"} if parent else {})).items():
            (record / name).write_text(text)
        self.layers[chain] = content | {"parent": parent}

    def _create_folder(self, parent: str, *, files: bool = True) -> str:
        cache = new_id()
        folder = self.overlay / cache
        folder.mkdir()
        (folder / "diff").mkdir()
        if files:
            (folder / "diff/file").write_text(cache)
        link = base64.b32encode(bytes.fromhex(new_id())).decode()[:26]
        (folder / "link").write_text(link)
        (self.overlay / "l" / link).symlink_to(f"../{cache}/diff")
        if parent:
            (folder / "work").mkdir()
            below = self.overlay / self.layers[parent]["cache-id"]
            (below / "committed").write_text("")
            lowers = [f"l/{(below / 'link').read_text()}"]
            if (below / "lower").exists():
                lowers.append((below / "lower").read_text())
            (folder / "lower").write_text(":".join(lowers))
        return cache

    def create_image(self, config: dict[str, Any]) -> str:
        text = json.dumps(config).encode()
        image = hashlib.sha256(text).hexdigest()
        (self.db / "imagedb/content/sha256" / image).write_bytes(text)
        self.images[image] = config
        return image

    def pull(self, config: bytes, name: str) -> None:
        """Take an image of one layer from outside."""
        image, (diff,) = hashlib.sha256(config).hexdigest(), json.loads(config)["rootfs"]["diff_ids"]
        layer = diff.removeprefix("sha256:")
        if layer not in self.layers:
            self.create_layer("", chain=layer, diff=layer)
        (self.db / "imagedb/content/sha256" / image).write_bytes(config)
        self.images[image] = json.loads(config)
        self.tag(image, name)

    def create_container(self, image: str) -> str:
        container = new_id()
        chain = chain_id(self.images[image]["rootfs"]["diff_ids"])
        mount = self.db / "layerdb/mounts" / container
        mount.mkdir(parents=True)
        (mount / "parent").write_text(f"sha256:{chain}")
        (mount / "mount-id").write_text(self._create_folder(chain))
        (self.root / "containers" / container).mkdir()
        config = {"Name": f"/c-{container[:6]}", "Image": f"sha256:{image}"}
        (self.root / "containers" / container / "config.v2.json").write_text(json.dumps(config))
        return container

    def trees_of(self, container: str) -> list[str]:
        """Return where the files of a container are, its own first."""
        return self._lowers((self.db / "layerdb/mounts" / container / "mount-id").read_text())

    def containers(self) -> list[str]:
        return sorted(path.name for path in (self.root / "containers").iterdir())

    def remove_container(self, container: str) -> None:
        mount = self.db / "layerdb/mounts" / container
        self._remove_folder((mount / "mount-id").read_text())
        shutil.rmtree(mount)
        shutil.rmtree(self.root / "containers" / container)

    def commit(self, image: str, name: str) -> str:
        """Make a child image with a layer of its own."""
        config = self.images[image]
        parent, diff = chain_id(config["rootfs"]["diff_ids"]), new_id()
        diff_ids = [*config["rootfs"]["diff_ids"], f"sha256:{diff}"]
        self.create_layer(parent, chain=chain_id(diff_ids), diff=diff)
        child = self.create_image({**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        self.tag(child, name)
        return child

    def users(self, image: str) -> bool:
        """Return whether `docker rmi` refuses: a container or a child image uses it."""
        diff_ids = self.images[image]["rootfs"]["diff_ids"]
        for container in self.containers():
            config = json.loads((self.root / "containers" / container / "config.v2.json").read_text())
            if config["Image"] == f"sha256:{image}":
                return True
        return any(
            other != image and config["rootfs"]["diff_ids"][: len(diff_ids)] == diff_ids and config is not None
            for other, config in self.images.items()
        )

    def rmi(self, image: str, *, killed: bool = False) -> None:
        """Remove an image with its names, and its layers as far as no other image or container has them.

        If `killed`, dockerd dies between the two steps in which it removes a layer.
        """
        for name in self.names_of(image):
            self.untag(name)
        config = self.images.pop(image)
        (self.db / "imagedb/content/sha256" / image).unlink()
        shutil.rmtree(self.db / "imagedb/metadata/sha256" / image, ignore_errors=True)
        used = {chain for other in self.images.values() for chain in chains(other["rootfs"]["diff_ids"])}
        for mount in (self.db / "layerdb/mounts").glob("*/parent"):
            chain = mount.read_text().removeprefix("sha256:")
            while chain:
                used.add(chain)
                chain = self.layers[chain]["parent"]
        for chain in reversed(chains(config["rootfs"]["diff_ids"])):
            if chain not in used:
                record = self.db / "layerdb/sha256" / chain
                removing = record.with_name(f"{chain}-{new_id()[:8]}-removing")
                record.rename(removing)
                cache = self.layers.pop(chain)["cache-id"]
                if not killed:
                    self._remove_folder(cache)
                    shutil.rmtree(removing)

    def prune(self) -> None:
        """Remove stopped containers and all images that no container has (`docker system prune --all`)."""
        for container in self.containers():
            self.remove_container(container)
        for image in list(self.images):
            self.rmi(image)

    def stop(self) -> None:
        """Remove what could not be removed before, as dockerd does at its end."""
        for removing in (self.db / "layerdb/sha256").glob("*-removing"):
            self._remove_folder((removing / "cache-id").read_text())
            shutil.rmtree(removing)

    def _remove_folder(self, cache: str) -> None:
        folder = self.overlay / cache
        if (folder / "link").exists():
            (self.overlay / "l" / (folder / "link").read_text()).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)


def chain_id(diff_ids: list[str]) -> str:
    """Return the chain id of layers, without its algorithm (image-spec config.md)."""
    return chains(diff_ids)[-1]


def chains(diff_ids: list[str]) -> list[str]:
    found: list[str] = []
    for diff in diff_ids:
        text = f"sha256:{found[-1]} {diff}" if found else ""
        found.append(hashlib.sha256(text.encode()).hexdigest() if text else diff.removeprefix("sha256:"))
    return found
