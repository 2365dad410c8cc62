import errno
import os
from pathlib import Path

import pytest

from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.commands import check_daemon_access, failure_reason, real_store_dir


@pytest.mark.parametrize(
    ("store", "folder"),
    [
        *[(store, "/nix/store") for store in (None, "auto", "daemon", "local", "unix:///run/nix.socket")],
        ("/mnt/root", "/mnt/root/nix/store"),
        ("local?real=/disk/store", "/disk/store"),
        ("local?root=/mnt", "/mnt/nix/store"),
        ("local:///mnt/a%20b", "/mnt/a b/nix/store"),
    ],
)
def test_a_store_of_this_machine_has_a_directory(store: str | None, folder: str) -> None:
    assert real_store_dir(store) == Path(folder)


@pytest.mark.parametrize("store", ["ssh://host", "https://cache.nixos.org", "s3://bucket", "dummy://"])
def test_another_store_is_refused(store: str) -> None:
    with pytest.raises(StoreError, match=f"^{store}: not on this machine; give"):
        real_store_dir(store)


def test_a_daemon_that_serves_a_group_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that the user may not enter, as Debian's; without one, or with another store, nobody is refused."""
    monkeypatch.delenv("NIX_REMOTE", raising=False)
    stat = Path.stat

    def closed(path: Path, **options: bool) -> os.stat_result:
        if path.name == "socket":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr("nixoci.nix_store.commands._DAEMON_SOCKET", Path("/proc/1/none/socket"))
    check_daemon_access(None)
    monkeypatch.setattr("nixoci.nix_store.commands._DAEMON_SOCKET", Path("/proc/socket"))
    monkeypatch.setattr(Path, "stat", closed)
    for store in (None, "auto", "daemon"):
        with pytest.raises(StoreError, match=r"^/proc/socket: .* only the group root; .*SupplementaryGroups=root$"):
            check_daemon_access(store)
    check_daemon_access("/mnt/root")
    monkeypatch.setenv("NIX_REMOTE", "local")
    check_daemon_access(None)


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("error: no room", "no room"),
        (
            "copying...\n\x1b[31;1merror:\x1b[0m hash mismatch\n  specified: a\n  got: b\nTry again",
            "hash mismatch specified: a got: b",
        ),
        ("error: first\nwarning: x\nerror: last", "last"),
        ("nothing of the kind", "nix failed"),
    ],
)
def test_the_reason_is_one_line_in_the_words_of_nix(stderr: str, reason: str) -> None:
    assert failure_reason(ProcessError("nix failed", stderr=stderr)) == reason
