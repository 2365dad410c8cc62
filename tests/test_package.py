from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nixoci
from nixoci import errors

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.mark.parametrize("name", nixoci.__all__)
def test_everything_that_is_public_is_there_and_documented(name: str) -> None:
    value = getattr(nixoci, name)
    assert name in dir(nixoci)
    if callable(value):
        assert value.__doc__
        assert not value.__doc__.startswith(f"{value.__name__}("), "a dataclass without a docstring"


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'nixoci' has no attribute 'nothing'"):
        nixoci.nothing  # type: ignore[attr-defined] # noqa: B018


def test_every_error_is_public() -> None:
    public = [getattr(nixoci, name) for name in nixoci.__all__]
    assert [value for value in vars(errors).values() if isinstance(value, type) and value not in public] == []


def test_a_star_imports_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from nixoci import *", names)  # noqa: S102 - allowed at the top of a module only
    assert set(names) - {"__builtins__"} == set(nixoci.__all__)


def test_the_version_is_the_project_s() -> None:
    assert nixoci.__version__ == tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]


def test_importing_the_package_imports_nothing_of_it() -> None:
    program = (
        "import sys, nixoci; print([name for name in sys.modules if name.startswith('nixoci.')]);"
        " nixoci.Digest; print('nixoci.oci.digest' in sys.modules, 'nixoci.lock' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue False\n"
