from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from nixoci.cli import cli
from nixoci.container.model import Backend, Container, Deployment, Network, Settings, Volume
from nixoci.document import dump
from nixoci.errors import ContainerError
from nixoci.nix_language.module import render_module
from tests.nix_language.locks import image, lock, platform

if TYPE_CHECKING:
    from pathlib import Path

LOCK = lock(web=image("docker.io/library/nginx:1.27", amd64=platform("web", "base", "nginx")))
STORE_PATH = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-web-1"
WEB = Deployment(
    containers={
        "web": Container(
            image="web", backend=Backend.ROOTFS, settings=Settings(unit={"Service": {"Nice": -5, "X": ['${"y"}']}})
        )
    },
    volumes={"data": Volume(labels={"if": "\n"})},
    networks={"back": Network()},
)


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, ["module", *arguments])
    return done.exit_code, done.output, str(done.exception) if done.exception and done.exit_code == 1 else ""


def test_what_is_declared_is_options_and_defaults_are_left_out() -> None:
    assert render_module(WEB, lock=LOCK) == (
        "# Made by `nixoci module` from a deployment; it is overwritten when made again.\n"
        "# Import it in NixOS or home-manager, beside the module of nixoci.\n"
        "{\n"
        "  virtualisation.nixoci = {\n"
        "    enable = true;\n"
        "    lock = ./nixoci.lock.json;\n"
        "    containers = {\n"
        "      web = {\n"
        '        backend = "rootfs";\n'
        '        image = "web";\n'
        "        settings = {\n"
        "          unit = {\n"
        "            Service = {\n"
        "              Nice = -5;\n"
        "              X = [\n"
        '                "\\${\\"y\\"}"\n'
        "              ];\n"
        "            };\n"
        "          };\n"
        "        };\n"
        "      };\n"
        "    };\n"
        "    networks = {\n"
        "      back = { };\n"
        "    };\n"
        "    volumes = {\n"
        "      data = {\n"
        "        labels = {\n"
        '          "if" = "\\n";\n'
        "        };\n"
        "      };\n"
        "    };\n"
        "  };\n"
        "}\n"
    )


def test_image_paths_are_store_paths_that_are_kept() -> None:
    text = render_module(Deployment(images={"web": STORE_PATH}, containers={"web": Container(image="web")}))
    assert f'web = storePath "{STORE_PATH}";\n' in text
    assert "lock =" not in text


@pytest.mark.parametrize("deployment", [WEB, Deployment(images={"web": STORE_PATH})])
def test_the_shape_is_rfc_166(deployment: Deployment) -> None:
    text = render_module(deployment, lock=LOCK)
    lines = text.splitlines()
    assert text.endswith("}\n")
    assert all(line == line.rstrip() for line in lines)
    assert all((len(line) - len(line.lstrip(" "))) % 2 == 0 for line in lines)
    assert not any(one == two == "" for one, two in pairwise(lines))


@pytest.mark.parametrize(
    ("place", "written"),
    [
        ("nixoci.lock.json", "./nixoci.lock.json"),
        ("../a/b.json", "../a/b.json"),
        ("a b.json", '(./. + "/a b.json")'),
        ("../${x}", '(./. + "/../\\${x}")'),
        ("~/x", '(./. + "/~/x")'),
    ],
)
def test_the_lock_is_where_it_is_from_the_module(place: str, written: str) -> None:
    text = render_module(Deployment(), lock=LOCK, lock_file=PurePosixPath(place))
    assert f"    lock = {written};\n" in text


@pytest.mark.parametrize(
    ("deployment", "says"),
    [
        (Deployment(containers={"a": Container(image="x")}), "containers.a.image: no image 'x'; this document has web"),
        (Deployment(images={"x": "/srv/x"}), "images.x: '/srv/x' is not a store path; pin the image with"),
        (Deployment(image_store="/nix/store/x"), "imageStore: it is built from the images; take it out"),
    ],
)
def test_what_cannot_be_is_refused(deployment: Deployment, says: str) -> None:
    with pytest.raises(ContainerError) as caught:
        render_module(deployment, lock=LOCK)
    assert str(caught.value).startswith(says)


def test_the_command_names_the_lock_from_the_modules_place(tmp_path: Path) -> None:
    lock_file, containers, out = (tmp_path / name for name in ("nixoci.lock.json", "web.json", "host/web.nix"))
    lock_file.write_text(dump(LOCK), encoding="utf-8")
    containers.write_text(dump(WEB), encoding="utf-8")
    out.parent.mkdir()
    arguments = [str(containers), "--lock", str(lock_file)]
    assert run(*arguments, "--output", str(out)) == (0, "", "")
    assert out.read_text("utf-8") == render_module(WEB, lock=LOCK, lock_file=PurePosixPath("../nixoci.lock.json"))
    assert run(*arguments, "--output", str(out), "--check")[0] == 0
    out.write_text("{ }\n", encoding="utf-8")
    code, _, error = run(*arguments, "--output", str(out), "--check")
    assert code == 1
    assert error.startswith(f"{out}: ")
    assert error.endswith(f"run `nixoci module {containers} --lock {lock_file} --output {out}`")
    assert run(*arguments, "--check")[0] == 2


def test_the_command_needs_no_lock_for_images_that_are_built(tmp_path: Path) -> None:
    file = tmp_path / "web.json"
    deployment = Deployment(images={"web": STORE_PATH}, containers={"web": Container(image="web")})
    file.write_text(dump(deployment), encoding="utf-8")
    assert run(str(file), "--lock", str(tmp_path / "none.json")) == (0, render_module(deployment), "")
