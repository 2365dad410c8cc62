"""Kubernetes' container runtime interface of a machine's containerd, as kubelet calls it.

gRPC is a length and a message over HTTP/2, which curl speaks. The numbers are those of k8s.io/cri-api, runtime v1.
"""

from __future__ import annotations

import base64
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.host.process import CommandError
from tests.support.protobuf import decode, encode

if TYPE_CHECKING:
    from tests.host.machine import Machine
    from tests.support.protobuf import Message

CALL = """
base64 --decode | curl --silent --show-error --http2-prior-knowledge --unix-socket "$1" --max-time 60 \
  --header 'content-type: application/grpc' --header 'te: trailers' --data-binary @- --dump-header /dev/stderr \
  "http://localhost/runtime.v1.$2" | base64 --wrap=0
"""
HOST_NETWORK: Message = {1: 2}
LOGS = "/var/log/pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An image as ListImages and ImageStatus tell it."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that runs, with the config that its containers repeat."""

    id: str
    config: Message


class Cri:
    """A client; a call that fails raises `CommandError` with the answer's headers."""

    def __init__(self, machine: Machine, socket: str = "/run/containerd/containerd.sock") -> None:
        self._machine = machine
        self._socket = socket

    def call(self, method: str, request: Message) -> dict[int, list[int | bytes]]:
        """Call a method, such as `ImageService/ListImages`."""
        message = encode(request)
        sent = base64.b64encode(struct.pack(">BI", 0, len(message)) + message).decode("ascii")
        argv = ["bash", "-o", "pipefail", "-c", CALL, "cri", self._socket, method]
        done = self._machine.run(argv, input=sent)
        if "grpc-status: 0" not in done.stderr.lower():
            raise CommandError([method, repr(request)], "the call failed", done.stdout, done.stderr)
        return decode(base64.b64decode(done.stdout)[5:])

    def images(self) -> list[Listed]:
        """List all images."""
        return [_listed(image) for image in self.call("ImageService/ListImages", {}).get(1, [])]

    def image(self, name: str) -> Listed | None:
        """Look an image up by a name or an id."""
        found = self.call("ImageService/ImageStatus", {1: {1: name}}).get(1)
        return _listed(found[0]) if found else None

    def pull(self, name: str) -> None:
        """Pull an image."""
        self.call("ImageService/PullImage", {1: {1: name}})

    def remove_image(self, name: str) -> None:
        """Remove an image with all of its names."""
        self.call("ImageService/RemoveImage", {1: {1: name}})

    def run_pod(self, name: str) -> Pod:
        """Start a pod on the host's network."""
        metadata: Message = {1: name, 2: uuid.uuid4().hex, 3: "default"}
        linux: Message = {2: {1: HOST_NETWORK}}
        config: Message = {1: metadata, 3: f"{LOGS}/{name}", 8: linux}
        (pod,) = self.call("RuntimeService/RunPodSandbox", {1: config})[1]
        return Pod(id=_text(pod), config=config)

    def start(self, pod: Pod, name: str, image: str, *command: str) -> str:
        """Start a container in a pod, and return its id; its log is `LOGS/POD/NAME.log`."""
        linux: Message = {2: {3: HOST_NETWORK}}
        config: Message = {1: {1: name}, 2: {1: image}, 3: list(command), 11: f"{name}.log", 15: linux}
        request: Message = {1: pod.id, 2: config, 3: pod.config}
        container = _text(self.call("RuntimeService/CreateContainer", request)[1][0])
        self.call("RuntimeService/StartContainer", {1: container})
        return container

    def execute(self, container: str, *command: str) -> str:
        """Run a command in a container, and return what it printed."""
        answer = self.call("RuntimeService/ExecSync", {1: container, 2: list(command), 3: 60})
        assert answer.get(3, [0]) == [0], answer
        return _text(answer[1][0])

    def status(self, container: str) -> dict[int, list[int | bytes]]:
        """Return the ContainerStatus of a container."""
        (status,) = self.call("RuntimeService/ContainerStatus", {1: container})[1]
        assert isinstance(status, bytes)
        return decode(status)

    def remove_pod(self, pod: Pod) -> None:
        """Stop a pod and remove it with its containers."""
        self.call("RuntimeService/StopPodSandbox", {1: pod.id})
        self.call("RuntimeService/RemovePodSandbox", {1: pod.id})


def _listed(data: int | bytes) -> Listed:
    assert isinstance(data, bytes)
    image = decode(data)
    tags, digests = (tuple(map(_text, image.get(number, []))) for number in (2, 3))
    return Listed(id=_text(image[1][0]), tags=tags, digests=digests, pinned=image.get(8, [0]) == [1])


def _text(value: int | bytes) -> str:
    assert isinstance(value, bytes)
    return value.decode()
