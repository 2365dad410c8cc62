"""Rules of compose-spec: 13-merge.md, 14-include.md, 15-profiles.md, and extends of 05-services.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.compose.load import ComposeFile, load_project
from nixoci.errors import ComposeError
from tests.compose.samples import document, project

if TYPE_CHECKING:
    from pathlib import Path

BASE = """
services:
  web:
    image: nginx
    command: [a]
    environment: {A: "1", B: "1"}
    ports: ["80:80", "81:81"]
    volumes: ["/x:/data", "/y:/y"]
    dns: 1.1.1.1
    cap_add: [NET_ADMIN]
    healthcheck: {test: [CMD, a], retries: 3}
    depends_on: [db]
  db: {image: redis}
"""


def test_a_later_file_merges_mappings_appends_lists_and_replaces_commands() -> None:
    other = """
    services:
      web:
        command: [b]
        environment: [B=2, C=3]
        ports: ["80:80", "82:82"]
        volumes: ["/z:/data"]
        cap_add: [NET_ADMIN, SYS_TIME]
        healthcheck: {test: [CMD, b]}
        depends_on: {cache: {condition: service_healthy}}
      cache: {image: redis}
    """
    web = document(BASE, other)["containers"]["app-web"]
    assert web["cmd"] == ["b"]
    assert web["environment"] == {"A": "1", "B": "2", "C": "3"}
    assert web["ports"] == ["80:80", "81:81", "82:82"]
    assert web["volumes"] == ["/z:/data", "/y:/y"]
    assert web["capabilities"] == {"NET_ADMIN": True, "SYS_TIME": True}
    assert web["healthcheck"] == {"test": ["CMD", "b"], "retries": 3}
    assert web["dependsOn"] == ["app-db", "app-cache"]


def test_reset_takes_out_and_override_replaces() -> None:
    other = """
    services:
      web:
        ports: !override ["90:90"]
        volumes: !reset []
        environment: {A: !reset null}
        cap_add: !reset null
    """
    web = document(BASE, other)["containers"]["app-web"]
    assert web["ports"] == ["90:90"]
    assert web.keys().isdisjoint({"volumes", "capabilities"})


def test_a_service_may_have_the_name_of_a_key() -> None:
    text = "services: {command: {image: nginx, labels: {a: b}}}"
    other = "services: {command: {working_dir: /x}}"
    found = document(text, other)["containers"]["app-command"]
    assert (found["image"], found["workdir"]) == ("nginx", "/x")


def test_a_service_extends_another_of_its_file() -> None:
    text = """
    services:
      base: {image: nginx, environment: {A: "1"}, profiles: [never]}
      web: {extends: base, environment: {B: "2"}, profiles: !override []}
    """
    assert document(text)["containers"]["app-web"]["environment"] == {"A": "1", "B": "2"}


def test_a_service_extends_one_of_another_file_whose_paths_begin_there(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.yaml").write_text(
        "services:\n  base: {extends: {service: first}, volumes: ['./data:/data']}\n  first: {image: nginx}\n"
    )
    text = "services: {web: {extends: {file: sub/base.yaml, service: base}, volumes: ['./own:/own']}}"
    web = document(text, directory=tmp_path)["containers"]["app-web"]
    assert web["volumes"] == [f"{tmp_path}/sub/data:/data", f"{tmp_path}/own:/own"]


def test_services_that_extend_one_another_are_an_error() -> None:
    with pytest.raises(ComposeError, match=r"^compose\.yaml:\d: services\..\.extends: a circle of services"):
        project("services:\n  a: {extends: b}\n  b: {extends: a}\n")


def test_included_files_are_part_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db/compose.yaml").write_text(
        "services: {db: {image: redis, volumes: ['data:/data', './x:/x']}}\nvolumes: {data: }\n"
    )
    text = "include: [db/compose.yaml]\nservices: {web: {image: nginx, depends_on: [db]}}"
    found = document(text, directory=tmp_path)
    assert found["containers"]["app-db"]["volumes"] == ["app_data:/data", f"{tmp_path}/db/x:/x"]
    assert found["containers"]["app-web"]["dependsOn"] == ["app-db"]


def test_a_file_that_includes_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: [a.yaml]\n")
    with pytest.raises(ComposeError, match="includes itself"):
        project("include: [a.yaml]\nservices: {web: {image: nginx}}", directory=tmp_path)


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ('services:\n  web:\n    image: "\\ud800"\n', {}),
        ("services:\n  web:\n    image: x$BYTES\n", {"BYTES": "\udcff"}),
        ("services:\n  web: {environment: [BYTES], image: x}\n\n", {"BYTES": "\udcff"}),
    ],
)
def test_what_is_not_text_is_refused(text: str, environment: dict[str, str]) -> None:
    with pytest.raises(ComposeError, match=r"^compose\.yaml:[23]: .* is not UTF-8"):
        document(text, environment=environment)


PROFILES = "services: {web: {image: nginx}, debug: {image: redis, profiles: [debug, all]}}"


@pytest.mark.parametrize(
    ("profiles", "environment", "expected"),
    [
        ([], {}, {"web"}),
        (["debug"], {}, {"web", "debug"}),
        (["*"], {}, {"web", "debug"}),
        (["other"], {}, {"web"}),
        ([], {"COMPOSE_PROFILES": "x,all"}, {"web", "debug"}),
    ],
)
def test_services_of_profiles_are_chosen(profiles: list[str], environment: dict[str, str], expected: set[str]) -> None:
    assert project(PROFILES, profiles=profiles, environment=environment).services.keys() == expected


def test_a_dependency_of_a_profile_that_is_not_chosen_is_an_error() -> None:
    with pytest.raises(ComposeError, match="debug is of a profile that is not chosen"):
        document("services: {web: {image: nginx, depends_on: [debug]}, debug: {image: redis, profiles: [d]}}")


def test_variables_come_from_the_environment_before_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TAG=1\nNAME=redis\n")
    (tmp_path / "other.env").write_text("TAG=3\n")
    text = 'services: {web: {image: "${NAME:-nginx}:$TAG"}}'
    file = ComposeFile(name="compose.yaml", text=text.encode(), directory=tmp_path)

    def image(**options: object) -> object:
        loaded = load_project([file], name="app", **{"environment": {}, **options})  # type: ignore[arg-type]
        return loaded.services["web"].items("web")["image"].value

    assert image() == "redis:1"
    assert image(environment={"TAG": "2"}) == "redis:2"
    assert image(env_files=[tmp_path / "other.env"]) == "nginx:3"


@pytest.mark.parametrize(
    ("directory", "text", "environment", "expected"),
    [
        ("My.App", "", {}, "myapp"),
        ("x", "name: own-name\n", {}, "own-name"),
        ("x", "name: own-name\n", {"COMPOSE_PROJECT_NAME": "given"}, "given"),
    ],
)
def test_a_project_has_a_name(
    tmp_path: Path, directory: str, text: str, environment: dict[str, str], expected: str
) -> None:
    (tmp_path / directory).mkdir()
    body = f"{text}services: {{web: {{image: nginx}}}}".encode()
    file = ComposeFile(name="compose.yaml", text=body, directory=tmp_path / directory)
    assert load_project([file], environment=environment).name == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "compose.yaml:1: services: there are none"),
        ("- a\n", "compose.yaml:1: file: expected a mapping, got a list"),
        ("services: [web]\n", "compose.yaml:1: services: expected a mapping, got a list"),
        ("services:\n  web: 5\n", "compose.yaml:2: services.web: expected a mapping, got 5"),
        ("services:\n  a/b: {image: x}\n", "compose.yaml:2: services: 'a/b' cannot be a name"),
        ("services: {web: {image: x, profiles: [p]}}\n", "compose.yaml:1: services: all are of profiles"),
        ("services:\n  web: {extends: no}\n", "compose.yaml:2: services.web.extends: compose.yaml has no service 'no'"),
        ("services:\n  web:\n    image: ${NO:?say}\n", "compose.yaml:3: the variable NO is not set: say"),
        ("services:\n  web:\n    image: x\n    ports: [a]\n", "compose.yaml:4: services.web.ports: "),
        ("services:\n  web:\n    image: UPPER\n", "compose.yaml:3: services.web.image: "),
        ("services:\n  web:\n    image: x\n    restart: soon\n", "compose.yaml:4: services.web.restart: 'soon' is no"),
        ("services:\n  web:\n    image: x\n    depends_on: [no]\n", "compose.yaml:4: services.web.depends_on: no serv"),
        ("services:\n  web:\n    image: x\n    networks: [no]\n", "compose.yaml:4: services.web.networks: no network"),
        ("services:\n  web:\n    image: x\n    volumes: ['no:/x']\n", "compose.yaml:4: services.web.volumes: no vol"),
        (
            "services:\n  web:\n    image: x\n    pids_limit: many\n",
            "compose.yaml:4: services.web.pids_limit: expected",
        ),
        ("services:\n  web:\n    image: x\n    platform: a\n", "compose.yaml:4: services.web.platform: "),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        document(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
