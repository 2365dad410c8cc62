from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.document import unstructure
from nixoci.lock.file import read_lock, write_lock
from nixoci.lock.model import EMPTY_LOCK
from tests.support.layout import tar_stream, write_layout, write_platforms
from tests.support.skopeo import install_skopeo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

LOCK = "nixoci.lock.json"
CONFIG = {
    "config": {
        "Entrypoint": ["/entry point"],
        "Cmd": ["serve", "--all"],
        "User": "www",
        "WorkingDir": "/srv",
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Volumes": {"/data": {}},
    },
    "created": "2026-01-01T00:00:00Z",
}


@pytest.fixture
def web(tmp_path: Path, nixoci: Run) -> str:
    """Pin an image of one layer, and return its digest."""
    digest = write_layout(
        tmp_path / "web", [tar_stream({"a": b"x" * 2000})], tag="1.0", config=CONFIG, compression=None
    )
    assert nixoci("add", "oci:web:1.0", "--platform", "linux/amd64").code == 0
    return str(digest)


def images(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / LOCK).read_bytes()).get("images", {})
    return found


def test_add_says_what_was_pinned(tmp_path: Path, nixoci: Run) -> None:
    write_platforms(tmp_path / "web", "linux/amd64", "linux/arm64")
    digest = json.loads((tmp_path / "web/index.json").read_bytes())["manifests"][0]["digest"]
    result = nixoci("add", "oci:web", "--platform", "linux/amd64")
    assert result == (0, f"web: added: oci:web {digest} (linux/amd64)\n", "")
    result = nixoci("add", "oci:web", "--platform", "linux/arm64", "--json")
    assert result.json == [
        {
            "name": "web",
            "reference": "oci:web",
            "digest": digest,
            "platforms": [{"platform": f"linux/{name}", "layers": 0, "size": 0} for name in ("amd64", "arm64")],
            "change": "updated",
        }
    ]
    assert nixoci("add", "oci:web", "--platform", "linux/arm64").out.startswith("web: unchanged: ")
    assert list(images(tmp_path)["web"]["platforms"]) == ["linux/amd64", "linux/arm64"]


def test_another_lock_file(tmp_path: Path, nixoci: Run) -> None:
    write_layout(tmp_path / "web", [])
    (tmp_path / "sub").mkdir()
    nixoci("add", "oci:web", "--platform", "linux/amd64", "--lock", "sub/lock.json", "--name", "x")
    assert read_lock(tmp_path / "sub/lock.json").images["x"].reference == "oci:../web"
    assert nixoci("update", "--lock", "sub/lock.json").out.startswith("x: unchanged: oci:../web ")


@pytest.mark.usefixtures("web")
def test_nothing_is_written_in_a_dry_run(tmp_path: Path, nixoci: Run) -> None:
    before = (tmp_path / LOCK).read_bytes()
    write_layout(tmp_path / "web", [], tag="1.0")
    assert nixoci("update", "--dry-run").out.startswith("web: would be updated: oci:web:1.0 sha256:")
    assert nixoci("remove", "web", "--dry-run").out.startswith("web: would be removed: ")
    assert nixoci("add", "oci:web:1.0", "--name", "y", "--platform", "linux/amd64", "--dry-run").code == 0
    assert (tmp_path / LOCK).read_bytes() == before


def test_update_and_remove(tmp_path: Path, nixoci: Run, web: str) -> None:
    assert nixoci("update").out.startswith("web: unchanged: ")
    digest = write_layout(tmp_path / "web", [], tag="1.0")
    assert nixoci("update", "web").out == f"web: updated: oci:web:1.0 {web} -> {digest} (linux/amd64)\n"
    assert nixoci("remove", "web").out == f"web: removed: oci:web:1.0 {digest} (linux/amd64)\n"
    assert images(tmp_path) == {}


def test_a_name_that_is_given_twice_is_told_once(nixoci: Run, web: str) -> None:
    assert nixoci("update", "web", "web").out == f"web: unchanged: oci:web:1.0 {web} (linux/amd64)\n"
    assert [each["change"] for each in nixoci("remove", "web", "web", "--json").json] == ["removed"]


def test_list(nixoci: Run, web: str) -> None:
    assert nixoci("list").out.splitlines() == [
        "NAME  REFERENCE    PLATFORM     SIZE     DIGEST",
        f"web   oci:web:1.0  linux/amd64  10.2 kB  {web}",
    ]
    (listed,) = nixoci("list", "--json").json
    assert listed["platforms"] == [{"platform": "linux/amd64", "layers": 1, "size": 10240}]


def test_show(tmp_path: Path, nixoci: Run, web: str) -> None:
    result = nixoci("show", "web")
    pinned = images(tmp_path)["web"]["platforms"]["linux/amd64"]
    layer = pinned["layers"][0]["digest"]
    assert result.out.splitlines() == [
        "web",
        "  reference  oci:web:1.0",
        f"  digest     {web}",
        "",
        "linux/amd64",
        f"  manifest    {web}",
        f"  config      {pinned['config']['digest']}",
        "  size        10.2 kB, layers: 1",
        "  created     2026-01-01T00:00:00Z",
        "  entrypoint  '/entry point'",
        "  cmd         serve --all",
        "  user        www",
        "  workdir     /srv",
        "  ports       443/tcp 80/tcp",
        "  volumes     /data",
        "  LAYER  DIGEST                                                                   SIZE     MEDIA TYPE",
        f"  1      {layer}  10.2 kB  application/vnd.oci.image.layer.v1.tar",
        "",
    ]
    assert result.err.startswith("warning: every user of the machine can read every file in the Nix store")
    assert result.err.count("\n") == 1


def test_show_for_programs(tmp_path: Path, nixoci: Run, web: str) -> None:
    shown = nixoci("show", "web", "--json").json
    assert shown.pop("name") == "web"
    assert len(shown.pop("warnings")) == 1
    assert shown == unstructure(read_lock(tmp_path / LOCK).images["web"])
    assert shown["digest"] == web


def test_show_warns_of_a_hash_of_another_format(tmp_path: Path, nixoci: Run, web: str) -> None:  # noqa: ARG001 - pins
    value = json.loads((tmp_path / LOCK).read_bytes())
    value["images"]["web"]["platforms"]["linux/amd64"]["narHash"] = {"format": 0, "hash": f"sha256-{'A' * 43}="}
    (tmp_path / LOCK).write_text(json.dumps(value), encoding="utf-8")
    says = "warning: linux/amd64: narHash is of extraction format 0, this nixoci writes 1; run `nixoci prefetch web`"
    assert nixoci("show", "web").err.splitlines()[0] == says
    result = nixoci("verify", "--offline")
    assert result.code == 1
    assert result.out.startswith("image web, linux/amd64: narHash is of extraction format 0")
    assert result.err == f"error: {LOCK}: 1 problem found\n"
    assert len(nixoci("verify", "--offline", "--json").json) == 1


def test_verify_says_what_it_verified(tmp_path: Path, nixoci: Run, web: str) -> None:
    image = f"oci:web:1.0 {web} (linux/amd64)"
    assert nixoci("verify") == (0, f"web: the lock is consistent and agrees with the source: {image}\n", "")
    assert nixoci("verify", "--offline") == (0, f"web: the lock is consistent: {image}\n", "")
    assert nixoci("verify", "--json").json == []
    write_layout(tmp_path / "web", [], tag="1.0")
    result = nixoci("verify", "web")
    assert result.code == 1
    assert "now, the lock has sha256:" in result.out


def test_a_lock_without_images_is_named(tmp_path: Path, nixoci: Run) -> None:
    write_lock(tmp_path / LOCK, EMPTY_LOCK)
    for verb in (["list"], ["outdated"], ["verify"], ["verify", "--offline"], ["update"]):
        assert nixoci(*verb) == (0, "", f"{LOCK}: no images; add one with `nixoci add REF`\n"), verb
        assert nixoci(*verb, "--json") == (0, "[]\n", ""), verb
    assert nixoci("show", "web") == (1, "", "error: image web: not in the lock; add one with `nixoci add REF`\n")
    for each in ("remove", "show", "update"):
        assert nixoci(each, "") == (1, "", "error: image '': not in the lock; add one with `nixoci add REF`\n")


def test_outdated(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for tag in ("1.0", "1.10"):
        write_layout(tmp_path / "layout", [], tag=tag)
    skopeo = install_skopeo(monkeypatch, tmp_path, tmp_path / "layout", tags=["1.0", "1.9", "1.10"])
    (tmp_path / "auth.json").write_text("{}", encoding="utf-8")
    access = ["--authfile", "auth.json", "--no-tls-verify"]
    nixoci("add", "registry.example/app:1.0", "--platform", "linux/amd64", *access)
    nixoci("add", "registry.example/app:1.10", "--name", "fresh", "--platform", "linux/amd64")
    assert nixoci("outdated").out.splitlines() == [
        "NAME  REFERENCE                 TAG  NEWEST",
        "app   registry.example/app:1.0       1.10",
    ]
    assert nixoci("outdated", "--json").json == [
        {"name": "app", "reference": "registry.example/app:1.0", "moved": False, "newer": ["1.9", "1.10"]}
    ]
    none = "no image has a newer tag, and no tag has moved\n"
    assert nixoci("outdated", "fresh", "--exit-code") == (0, "", none)
    assert nixoci("outdated", "fresh", "--json") == (0, "[]\n", "")
    result = nixoci("outdated", "--exit-code")
    assert (result.code, result.err) == (1, f"error: {LOCK}: outdated: app; run `nixoci update`\n")
    assert result.out.startswith("NAME")
    assert {"--authfile=auth.json", "--tls-verify=false"} <= set(skopeo.calls()[0])


@pytest.fixture
def two_of_three_gone(tmp_path: Path, nixoci: Run) -> None:
    """Pin three images, of which one can still be read, as another one."""
    for name in ("first", "second", "third"):
        write_layout(tmp_path / name, [], tag="1")
        nixoci("add", f"oci:{name}:1", "--platform", "linux/amd64")
    write_layout(tmp_path / "second", [tar_stream({"new": b""})], tag="1")
    for name in ("first", "third"):
        (tmp_path / name / "index.json").unlink()


@pytest.mark.usefixtures("two_of_three_gone")
def test_a_source_that_fails_keeps_no_other_image_from_its_look(nixoci: Run) -> None:
    code, out, error = nixoci("outdated")
    assert code == 1
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "REFERENCE", "TAG", "NEWEST"],
        ["second", "oci:second:1", "moved"],
    ]
    first, third, last = error.splitlines()
    assert first.startswith("warning: image first: ")
    assert third.startswith("warning: image third: ")
    assert last == f"error: {LOCK}: not compared with their sources: first, third; see the warnings, then run again"
    found = {each["name"]: "error" in each for each in nixoci("outdated", "--json").json}
    assert found == {"first": True, "second": False, "third": True}


@pytest.mark.usefixtures("two_of_three_gone")
def test_an_update_names_each_image_that_fails_and_changes_nothing(tmp_path: Path, nixoci: Run) -> None:
    before = (tmp_path / LOCK).read_bytes()
    code, out, error = nixoci("update")
    assert (code, out, len(error.splitlines())) == (1, "", 1)
    assert error.startswith("error: images first, third: cannot be updated, so nothing was; name the others: image fir")
    assert "; image third: " in error
    assert (tmp_path / LOCK).read_bytes() == before
    assert nixoci("update", "second").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list"], f"{LOCK}: there is no such lock file; change to the directory that has it, or make one here with"),
        (["add", "oci:nowhere"], "there is no directory"),
        (["prefetch", "--authfile", "nowhere"], "--authfile nowhere: no such file"),
        (["receive", "nowhere"], "nowhere: No such file or directory"),
        (["units", "nowhere", "out"], "nowhere: No such file or directory"),
        (["module", "nowhere"], "nowhere: No such file or directory"),
        (["generate", "--lock", "nowhere"], "nowhere: there is no such lock file"),
        (["generate", "--containers", "nowhere"], "nowhere: No such file or directory"),
        (["add", "Nginx"], "reference 'Nginx': 'Nginx' is not a repository name; names are lower case"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(tmp_path: Path, nixoci: Run, arguments: list[str], says: str) -> None:
    result = nixoci(*arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert says in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add"], "Missing argument 'REF'"),
        (["add", "nginx", "--platform", "linux"], "platform 'linux': expected os/architecture[/variant]"),
        (["remove"], "Missing argument 'NAME...'"),
        (["update", "--tag", "1"], "--tag needs exactly one NAME"),
        (["show"], "Missing argument 'NAME'"),
    ],
)
def test_wrong_usage(nixoci: Run, arguments: list[str], says: str) -> None:
    result = nixoci(*arguments)
    assert result.code == 2
    assert says in result.err


@pytest.mark.usefixtures("web")
def test_a_terminal_gets_a_table(nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    out = nixoci("list").out
    assert "\x1b[1m" in out
    assert "oci:web:1.0" in out
