from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.container.users import User, resolve_user
from nixoci.errors import ContainerError
from tests.container.samples import make_image, resolved

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (), "/root")),
        ("root", User(0, 0, (0, 4), "/root")),
        ("web", User(33, 34, (34, 4, 5), "/srv")),
        ("33", User(33, 34, (34, 4, 5), "/srv")),
        ("033", User(33, 34, (34, 4, 5), "/srv")),
        ("web:tty", User(33, 5, (5,), "/srv")),
        ("web:1234", User(33, 1234, (1234,), "/srv")),
        ("4711", User(4711, 0, (0,), None)),
        ("4711:34", User(4711, 34, (34,), None)),
        ("2147483647", User(2**31 - 1, 0, (0,), None)),
        ("bare", User(77, 78, (78,), "/")),
    ],
)
def test_users_are_looked_up_in_the_tree(tmp_path: Path, text: str, user: User) -> None:
    assert resolve_user("o", text, make_image(tmp_path)) == user


@pytest.mark.parametrize("other", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_an_entry_ends_at_a_line_feed_only(tmp_path: Path, other: str) -> None:
    """podman finds no other user in a name or a shell, so there is none."""
    passwd = f"a:x:1:1:{other}new:x:5:5::/:/bin/sh\nb:x:2:3::/b:/bin/sh\r\n"
    image = make_image(tmp_path)
    (tmp_path / "rootfs/etc/real").write_bytes(passwd.encode())
    with pytest.raises(ContainerError, match="no user 'new'"):
        resolve_user("o", "new", image)
    assert resolve_user("o", "b", image).home == "/b"


@pytest.mark.parametrize("text", ["nemo", "web:nemo", "broken", "-1", "web:-1"])
def test_a_user_that_is_not_there_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ContainerError, match=r"^containers\.c\.user: the image has no (user|group)"):
        resolved(make_image(tmp_path), user=text, cmd=["x"])


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("2147483648", "user", "2147483648"),
        ("99999999999999999999999", "user", "99999999999999999999999"),
        ("web:4294967294", "group", "4294967294"),
    ],
)
def test_a_number_that_podman_does_not_read_is_named(tmp_path: Path, text: str, kind: str, number: str) -> None:
    with pytest.raises(ContainerError) as caught:
        resolved(make_image(tmp_path), user=text, cmd=["x"])
    says = f"the id of {kind} {number} is above 2147483647, podman's largest; give another"
    assert str(caught.value) == f"containers.c.user: {says}"


def test_a_number_is_an_id_even_if_an_entry_has_it_for_its_name(tmp_path: Path) -> None:
    """moby/sys/user, by which podman and Docker look it up: a user could otherwise take the id of another."""
    image = make_image(tmp_path)
    (tmp_path / "rootfs/etc/real").write_text("33:x:5:6::/trap:\nweb:x:33:34::/srv:\n7:x:8:9::/trap:\n")
    assert resolve_user("o", "33", image).home == "/srv"
    assert resolve_user("o", "7", image) == User(7, 0, (0,), None)


def test_a_passwd_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    (tmp_path / "image/rootfs/etc/passwd").unlink()
    assert resolve_user("o", "web", image).uid == 33
