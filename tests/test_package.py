from __future__ import annotations

import subprocess
import sys

import pytest

import nixoci


@pytest.mark.parametrize("name", nixoci.__all__)
def test_everything_that_is_public_is_there(name: str) -> None:
    assert getattr(nixoci, name) is not None
    assert name in dir(nixoci)


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'nixoci' has no attribute 'nothing'"):
        nixoci.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_of_it() -> None:
    program = "import sys, nixoci; print([name for name in sys.modules if name.startswith('nixoci.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
