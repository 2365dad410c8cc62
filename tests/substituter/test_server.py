"""The HTTP server: what it passes on, what it refuses, and that nothing keeps it busy for ever."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.errors import StoreError
from nixoci.substituter import server as module
from nixoci.substituter.server import listen
from nixoci.substituter.service import Service
from nixoci.substituter.shelf import Shelf
from nixoci.substituter.upstream import Upstream, UpstreamError
from tests.substituter.site import NEW_APP, NEW_LIB, OTHER, QUICK, Site, site
from tests.support.process import is_running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patched, site(tmp_path_factory.mktemp("site"), patched) as running:
        yield running


@pytest.fixture(scope="module")
def address(machine: Site) -> tuple[str, int]:
    return machine.address


def raw(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes, and return all that comes until the connection ends."""
    with closing(socket.create_connection(address, timeout=60)) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def asked(machine: Site) -> list[str]:
    """Return what the cache was asked for, without deltas, which are fetched ahead of what another test asked for."""
    return [path for path in machine.web.asked if not path.startswith("deltas/")]


def test_files_are_passed_on_with_their_headers(machine: Site) -> None:
    (machine.folder / "log").mkdir(exist_ok=True)
    (machine.folder / "log/x.drv").write_bytes(b"built")
    machine.web.headers = {"Content-Type": "text/plain", "Set-Cookie": "x"}
    connection = HTTPConnection(*machine.address, timeout=60)
    with closing(connection):
        for method, body in (("GET", b"built"), ("HEAD", b""), ("GET", b"built")):  # on one connection
            connection.request(method, "/log/x.drv?a=b")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, body)
            assert (response.headers["Content-Type"], response.headers["Content-Length"]) == ("text/plain", "5")
            assert "Set-Cookie" not in response.headers
            assert "Accept-Ranges" not in response.headers
    assert asked(machine)[-1] == "log/x.drv?a=b"
    machine.web.headers = {}


def test_the_head_of_a_narinfo_tells_whether_it_is_there(machine: Site) -> None:
    assert machine.ask(f"{NEW_LIB[11:43]}.narinfo", method="HEAD") == (200, b"")
    assert machine.ask(f"{'z' * 32}.narinfo", method="HEAD") == (404, b"")
    assert machine.ask(f"rebuilt/{NEW_LIB[11:43]}.nar", method="HEAD")[0] == 405


def test_narinfos_in_an_encoding_are_passed_on(machine: Site) -> None:
    machine.web.headers = {"Content-Encoding": "br"}
    status, text = machine.ask(f"{OTHER[11:43]}.narinfo")
    machine.web.headers = {}
    assert (status, text) == (200, (machine.folder / f"{OTHER[11:43]}.narinfo").read_bytes())


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "nar/../../secret",
        "nar/%2e%2E/secret",
        "nar/..%2fsecret",
        "nar/.%2e/secret",
        "./nar/x",
        "nar\\..\\secret",
    ],
)
def test_nothing_outside_of_the_cache_is_asked_for(machine: Site, path: str) -> None:
    before = asked(machine)
    answer = raw(machine.address, f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert asked(machine) == before


@pytest.mark.parametrize("host", ["page.example", "page.example:8642", "127.0.0.1.page.example", "10.1.2.3", "", "a b"])
def test_a_web_page_cannot_ask_under_its_own_name(machine: Site, host: str) -> None:
    """Its name may have the address of this machine, after the page was loaded."""
    before = asked(machine)
    for path in ("nix-cache-info", f"{NEW_LIB[11:43]}.narinfo", f"rebuilt/{NEW_LIB[11:43]}.nar", "nar/x"):
        status, text = machine.ask(path, headers={"Host": host})
        assert (status, text.count(b"\n")) == (403, 1)
        assert text.startswith(f"{host!r} is no name of this machine; ".encode())
    assert asked(machine) == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.:80", "127.0.0.1:1", "127.8.9.1", "[::1]:8642", "[::1]"])
def test_this_machine_is_asked_by_its_own_names(machine: Site, host: str) -> None:
    assert machine.ask("nix-cache-info", headers={"Host": host})[0] == 200


def test_a_web_page_cannot_ask_on_a_connection_that_was_asked_by_another_name(machine: Site) -> None:
    with closing(HTTPConnection(*machine.address, timeout=60)) as connection:
        for host, status in (("localhost", 200), ("localhost", 200), ("page.example", 403), ("", 400)):
            connection.putrequest("GET", "/nix-cache-info", skip_host=True)
            if host:
                connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status


def test_an_answer_is_one_packet(machine: Site) -> None:
    """Nix would be woken twice, and the kernel would have twice the work."""
    with socket.create_connection(machine.address, timeout=60) as client:
        for path in (f"{NEW_APP[11:43]}.narinfo", "metrics", "nix-cache-info"):
            client.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = client.recv(1 << 16).partition(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")


@pytest.mark.parametrize("most", [1, 3, 4, 5, 6, 100])
def test_a_head_and_its_body_are_sent_whole(most: int) -> None:
    sent = bytearray()

    class Slow:
        def sendmsg(self, parts: list[bytes]) -> int:
            data = b"".join(parts)[:most]
            sent.extend(data)
            return len(data)

        def sendall(self, data: bytes) -> None:
            assert data, "a system call for nothing"
            sent.extend(data)

    connection: Any = Slow()
    out = module._Socket(connection, b"head")
    out.write(b"body")
    out.write(memoryview(b"more"))
    assert sent == b"headbodymore"


def test_other_names_of_this_machine_are_those_that_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch, names=["Cache.LAN"]) as machine:
        assert machine.ask("nix-cache-info", headers={"Host": "cache.lan:8642"})[0] == 200
        assert machine.ask("nix-cache-info", headers={"Host": "other.lan:8642"})[0] == 403


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n"])
def test_a_request_names_one_host(machine: Site, hosts: bytes) -> None:
    answer = raw(machine.address, b"GET /nix-cache-info HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert raw(machine.address, b"GET /nix-cache-info HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_another_host_is_not_asked(machine: Site) -> None:
    """This is the proxy of one cache."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        other.settimeout(0.2)
        assert machine.ask(f"http://127.0.0.1:{other.getsockname()[1]}/x")[0] == 404
        with pytest.raises(TimeoutError):
            other.accept()


@contextmanager
def answered(answer: bytes) -> Iterator[str]:
    """Answer all requests with the same bytes; give the address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with closing(listener.accept()[0]) as connection:
                        connection.recv(1 << 16)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def substituter(url: str, listener: socket.socket) -> Iterator[None]:
    """Run a substituter of a cache."""
    upstream = Upstream(url, patience=QUICK)
    with Shelf(upstream, store=None) as shelf:
        server = module.Server(listener, Service(upstream, shelf, store=None), upstream)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Content-Length: -5\r\n\r\nhello",
        b"Content-Length: x\r\n\r\nhello",
        b"Content-Length: 5, 5\r\n\r\nhello",
        b"\r\nhello",
    ],
)
def test_a_body_without_a_right_size_ends_with_the_connection(head: bytes) -> None:
    with answered(b"HTTP/1.1 200 OK\r\n" + head) as url, listen("127.0.0.1:0") as listener, substituter(url, listener):
        answer = raw(listener.getsockname(), b"GET /nar/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nhello")
    assert b"Content-Length" not in answer


def test_a_substituter_does_not_ask_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[object] = []
    process = module.Server.process_request

    def count(server: module.Server, request: object, client: object) -> None:
        connections.append(client)
        process(server, request, client)

    monkeypatch.setattr(module.Server, "process_request", count)
    with listen("127.0.0.1:0") as listener:
        address = "{}:{}".format(*listener.getsockname())
        with substituter(f"http://{address}", listener):
            for path in ("nix-cache-info", "nar/x"):
                answer = raw(listener.getsockname(), f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 502 ")
                assert answer.endswith(b"the cache answers 508\n")
    assert len(connections) <= 4


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "CONNECT"])
def test_nothing_can_be_written(machine: Site, method: str) -> None:
    answer = raw(machine.address, f"{method} /nar/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx".encode())
    assert answer.startswith(b"HTTP/1.1 501 ")


def test_a_request_with_a_body_ends_the_connection(machine: Site) -> None:
    smuggled = b"GET /nix-cache-info HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for header in (b"Content-Length: %d" % len(smuggled), b"Transfer-Encoding: chunked"):
        answer = raw(machine.address, b"GET /nar/x HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n" + smuggled)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 400 ")


@given(
    st.binary(max_size=300)
    | st.text(st.characters(codec="latin-1"), max_size=60).map(
        lambda path: b"GET /" + path.encode("latin-1") + b" HTTP/1.1\r\n\r\n"
    )
)
@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_any_request_has_an_answer_or_an_end(address: tuple[str, int], request_bytes: bytes) -> None:
    answer = raw(address, request_bytes + b"\r\n\r\n")
    assert answer == b"" or answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ", b"<!DOCTYPE"))  # of the library, to HTTP/0.9


def test_a_client_that_asks_for_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.1)
    with site(tmp_path, monkeypatch) as machine, closing(socket.create_connection(machine.address)) as connection:
        connection.settimeout(60)
        connection.sendall(b"GET /nar/x HTTP/1.1\r\nHo")
        assert connection.recv(1000) == b""


def test_a_client_that_goes_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with site(tmp_path, monkeypatch) as machine:
        for request in (
            b"GET /nix-cache-info HTTP/1.1\r\n",
            b"GET /nix-cache-info HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ):
            with closing(socket.create_connection(machine.address)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not end
                connection.sendall(request)
                time.sleep(0.1)
        time.sleep(0.2)
    assert not [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


def test_a_client_that_does_not_read_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds memory that the next ones need."""
    monkeypatch.setattr("nixoci.substituter.service.MEMORY", 1)
    with site(tmp_path, monkeypatch) as machine:
        machine.fetch(NEW_LIB)
        with closing(socket.socket()) as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect(machine.address)
            with pytest.MonkeyPatch.context() as patched:  # the next one may be slow as long as it reads
                patched.setattr(module, "_UNREAD", 0.2)
                lazy.sendall(f"GET /rebuilt/{NEW_LIB[11:43]}.nar HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                lazy.recv(100)
            assert machine.fetch(NEW_LIB) == machine.nars[NEW_LIB]


def test_a_connection_too_many_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 3)
    with site(tmp_path, monkeypatch) as machine, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(closing(socket.create_connection(machine.address)))
        time.sleep(0.1)
        assert machine.ask("nix-cache-info")[0] == 503
        stack.close()
        deadline = time.monotonic() + 60
        while machine.ask("nix-cache-info")[0] != 200:
            assert time.monotonic() < deadline


def test_a_unix_socket_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = os.path.relpath(tmp_path / "socket")

    with ExitStack() as stack:
        listener, client = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        listener.bind(place)
        listener.listen(8)
        stack.enter_context(site(tmp_path, monkeypatch, listener=listener))
        client.connect(place)
        client.sendall(b"GET /nix-cache-info HTTP/1.1\r\nHost: page.example\r\n\r\n")  # no page reaches it
        response = HTTPResponse(client)
        response.begin()
        assert (response.status, response.read()[:8]) == (200, b"StoreDir")


@pytest.mark.parametrize(
    "address", ["0.0.0.0:80", "8642", "localhost:1", "127.0.0.1", "127.0.0.1:http", "[::]:1", "example.org:1"]
)
def test_only_this_machine_is_served(address: str) -> None:
    with pytest.raises(StoreError, match="not an address of this machine alone"), listen(address):
        pass


def test_an_address_in_use_is_named() -> None:
    with listen("127.0.0.1:0") as first:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        with pytest.raises(StoreError, match=f"^{address}: cannot listen: Address already in use"), listen(address):
            pass


@pytest.mark.parametrize(
    "url", ["ftp://x", "x", "http://", "http://x/?a", "http://x/#a", "file:///x", "http://[x", "http://x\n"]
)
def test_the_cache_must_be_on_the_web(url: str) -> None:
    with pytest.raises(UpstreamError, match="not the address of a binary cache"):
        Upstream(url)


PASSED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[2])
os.execv(sys.executable, [sys.executable, "-m", "nixoci", *sys.argv[3:]])
"""


@contextmanager
def passed_socket(machine: Site, *, sockets: int = 1) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a substituter as systemd does, which says how many sockets it passes; give the port of the first one."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        options = ["--upstream", machine.web.url, "--store", machine.nix.store]
        command = [sys.executable, "-c", PASSED, str(listener.fileno()), str(sockets), "substituter", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, pass_fds=[listener.fileno()]) as process:
            try:
                yield listener.getsockname()[1], process
            finally:
                process.kill()


def test_systemd_may_pass_a_socket(machine: Site) -> None:
    with passed_socket(machine) as (port, process):
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/nix-cache-info")
            assert connection.getresponse().status == 200
        process.terminate()
        _, errors = process.communicate(timeout=60)
    said = f"serving {machine.web.url}/ at http://127.0.0.1:{port}\n".encode()
    assert (process.returncode, errors) == (143, said)


def test_one_socket_is_enough(machine: Site) -> None:
    with passed_socket(machine, sockets=2) as (_, process):
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == b"error: systemd passes 2 sockets; give the socket unit one ListenStream=\n"


@contextmanager
def own_process(machine: Site, program: str = "from nixoci.cli import main; main()") -> Iterator[tuple[int, int]]:
    """Run a substituter of the site in a process of its own; give its port and its process id."""
    options = ["--upstream", machine.web.url, "--listen", "127.0.0.1:0", "--store", machine.nix.store]
    command = [sys.executable, "-c", program, "substituter", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            serving = process.stderr.readline()
            assert serving.startswith(f"serving {machine.web.url}/ at http://127.0.0.1:")
            yield int(serving.rpartition(":")[2]), process.pid
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(timeout=60)


def fetched(port: int, path: str) -> bytes:
    """Return the SHA-256 of the NAR of a path."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("GET", f"/rebuilt/{path[11:43]}.nar")
        response = connection.getresponse()
        hashed = hashlib.sha256()
        while part := response.read(1 << 20):
            hashed.update(part)
        return hashed.digest()


def children(pid: int) -> list[int]:
    """Return the children of a process that run."""
    found = [file.read_text(encoding="ascii").split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for part in found for child in part if is_running(int(child))]


def test_the_worker_begins_and_ends_with_the_substituter(machine: Site) -> None:
    """Nix starts the service when it wants something: the worker gets ready while the service loads the rest."""
    with own_process(machine) as (_, pid):
        (worker,) = children(pid)
        assert b"nixoci.delta.codecs.worker" in Path(f"/proc/{worker}/cmdline").read_bytes()
    assert not is_running(worker)


def peak(pid: int) -> int:
    """Return the kilobytes that a process has had in memory at most."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_the_memory_of_many_at_once_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 clients, in a process of its own."""
    with site(tmp_path, monkeypatch, noise=8_000_000) as machine, own_process(machine) as (port, pid):
        with ThreadPoolExecutor(64) as pool:
            found = list(pool.map(lambda _: fetched(port, NEW_LIB), range(64)))
        assert set(found) == {hashlib.sha256(machine.nars[NEW_LIB]).digest()}
        assert peak(pid) + sum(map(peak, children(pid))) < 250_000


HUNGRY = """
from nixoci.delta import rebuild
rebuild.decode = lambda *_: bytes(bytearray(b"x") * (1 << 30))
from nixoci.cli import main
main()
"""
"""A substituter each of whose patches needs 2 GiB."""


def test_a_patch_that_needs_too_much_memory_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(tmp_path, monkeypatch) as machine, own_process(machine, HUNGRY) as (port, pid):
        for path in (NEW_LIB, NEW_APP, NEW_LIB):
            assert fetched(port, path) == hashlib.sha256(machine.nars[path]).digest()
        assert machine.web.count("nar/") == 3
        assert machine.web.count("deltas/") > 0
        assert peak(pid) < 448 << 10
