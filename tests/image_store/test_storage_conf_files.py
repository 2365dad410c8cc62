"""podman's configuration is merged as containers-config(5) says."""

from __future__ import annotations

from pathlib import Path

from nixoci.image_store.storage_conf_files import closed_to_others, named_stores, read_config


def write(root: Path, name: str, stores: str, table: str = "storage.options") -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[{table}]\nadditionalimagestores = [{stores}]\n", encoding="utf-8")
    return file


def stores(root: Path, *, uid: int = 0, drop_ins: bool = True, env: dict[str, str] | None = None) -> list[str]:
    files = read_config(uid=uid, home=root / "home", env=env or {}, root=root)
    return [str(store) for store, _ in named_stores(files, drop_ins=drop_ins)]


def test_the_first_main_file_hides_the_others(tmp_path: Path) -> None:
    assert stores(tmp_path) == []
    write(tmp_path, "usr/share/containers/storage.conf", '"/vendor"')
    assert stores(tmp_path) == ["/vendor"]
    write(tmp_path, "etc/containers/storage.conf", '"/admin"')
    assert stores(tmp_path) == ["/admin"]
    write(tmp_path, "home/.config/containers/storage.conf", '"/user"')
    assert stores(tmp_path, uid=1000) == ["/user"]
    other = write(tmp_path, "other.conf", '"/other"')
    assert stores(tmp_path, env={"CONTAINERS_STORAGE_CONF": str(other)}) == ["/other"]


def test_drop_ins_follow_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, "etc/containers/storage.conf", '"/main"')
    write(tmp_path, "etc/containers/storage.rootful.conf.d/60-b.conf", '"/b", {append = true}')
    write(tmp_path, "usr/share/containers/storage.conf.d/70-c.conf", '"/c", {append = true}')
    write(tmp_path, "etc/containers/storage.conf.d/notes.txt", '"/ignored"')
    assert stores(tmp_path) == ["/main", "/b", "/c"]
    assert stores(tmp_path, drop_ins=False) == ["/main"]
    write(tmp_path, "usr/share/containers/storage.conf.d/60-b.conf", '"/masked"')
    write(tmp_path, "etc/containers/storage.conf.d/65-r.conf", '"/replaces"')
    assert stores(tmp_path) == ["/replaces", "/c"]


def test_drop_ins_of_root_and_of_users(tmp_path: Path) -> None:
    append = "{append = true}"
    write(tmp_path, "etc/containers/storage.rootful.conf.d/1.conf", f'"/root", {append}')
    write(tmp_path, "etc/containers/storage.rootless.conf.d/2.conf", f'"/users", {append}')
    write(tmp_path, "etc/containers/storage.rootless.conf.d/1000/3.conf", f'"/alice", {append}')
    write(tmp_path, "home/.config/containers/storage.conf.d/4.conf", f'"/own", {append}')
    assert stores(tmp_path, uid=0) == ["/root", "/own"]
    assert stores(tmp_path, uid=1000) == ["/users", "/alice", "/own"]
    assert stores(tmp_path, uid=1001) == ["/users", "/own"]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    file = write(tmp_path, "etc/containers/storage.conf", '"/a"')
    file.write_text("[storage", encoding="utf-8")
    assert "not TOML" in read_config(uid=0, home=tmp_path, env={}, root=tmp_path)[0].error
    file.write_text(f"a = {'[' * 100_000}", encoding="utf-8")
    assert "not TOML" in read_config(uid=0, home=tmp_path, env={}, root=tmp_path)[0].error
    file.unlink()
    # a file that the variable names has to exist
    env = {"CONTAINERS_STORAGE_CONF": str(file)}
    assert read_config(uid=0, home=tmp_path, env=env, root=tmp_path)[0].error == "No such file or directory"
    file.symlink_to("nowhere")
    assert read_config(uid=0, home=tmp_path, env=env, root=tmp_path)[0].error == "No such file or directory"
    assert stores(tmp_path, env=env) == []


def test_the_way_through_links_has_to_be_open_too(tmp_path: Path) -> None:
    private = tmp_path / "root"
    (private / "store").mkdir(parents=True)
    (tmp_path / "open").mkdir()
    real = tmp_path / "open/storage.conf"
    real.write_text("", encoding="utf-8")
    (private / "result").symlink_to("../open")
    link = tmp_path / "storage.conf"
    link.symlink_to(private / "result/storage.conf")
    assert closed_to_others(link, top=tmp_path) is None
    private.chmod(0o700)
    assert closed_to_others(link, top=tmp_path) == private
    assert closed_to_others(real, top=tmp_path) is None
    real.chmod(0o600)
    assert closed_to_others(real, top=tmp_path) == real


def test_a_link_to_nothing_is_ignored_and_the_next_file_counts(tmp_path: Path) -> None:
    """os.Open fails with ErrNotExist, and podman goes on to the next place."""
    write(tmp_path, "usr/share/containers/storage.conf", '"/vendor"')
    link = tmp_path / "etc/containers/storage.conf"
    link.parent.mkdir(parents=True)
    link.symlink_to("/nix/none/storage.conf")
    own = tmp_path / "home/.config/containers/storage.conf"
    own.parent.mkdir(parents=True)
    own.symlink_to(link)
    files = read_config(uid=0, home=tmp_path / "home", env={}, root=tmp_path)
    assert [(file.path, file.dangling) for file in files] == [
        (own, link),
        (link, Path("/nix/none/storage.conf")),
        (tmp_path / "usr/share/containers/storage.conf", None),
    ]
    assert stores(tmp_path) == ["/vendor"]
