"""nixoci's virtual environment inside the test host: its dependencies are cached, the checkout is copied in.

The wheels are chosen for the machine's Python but fetched by this one's pip, which knows its index and its network. The
machine's Python compiles them and the checkout once, as an installation does: builders and users could not write there.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.host.cache import cached, cached_of_newest, key
from tests.host.leftovers import discard
from tests.host.process import LONG, run

CHECKOUT = Path(__file__).parents[2]
VENV = Path("opt/nixoci")
"""Where the environment lies, from the machine's root."""

KEPT = 8
"""Number of compiled checkouts to keep, those used last."""

COVERAGE = f"/{VENV}/coverage"
"""Where a machine writes its coverage data: the sandbox of Nix has it too, as it has all of `VENV`."""

# Units and the sandbox clear the environment, so the interpreter itself starts the measurement.
MEASURE = f"""\
import os, coverage; os.environ["COVERAGE_PROCESS_START"] = "/{VENV}/coverage.ini"; coverage.process_startup(); \
del os.environ["COVERAGE_PROCESS_START"]
"""
MEASURE_INI = f"""\
[run]
branch = true
source_pkgs = nixoci
parallel = true
data_file = {COVERAGE}/data
disable_warnings = no-data-collected, module-not-imported, module-not-measured
"""

LAUNCHER = """\
#!/opt/nixoci/bin/python3
import sys
from nixoci.__main__ import run
sys.exit(run())
"""


def dependencies(root: Path) -> Path:
    """Return a cached tree that holds only `VENV`, with what nixoci needs, for the Python of `root`."""
    version = _python_version(root)
    wanted = [
        f"{need.name}{need.specifier}"
        for need in map(Requirement, _project()["dependencies"])
        if not need.marker or need.marker.evaluate({"python_version": version, "python_full_version": f"{version}.0"})
    ]
    if coverage_data():
        wanted.append(f"coverage=={metadata.version('coverage')}")  # one version reads what all have written

    def build(folder: Path) -> None:
        site = folder / VENV / f"lib/python{version}/site-packages"
        site.mkdir(parents=True)
        tags = [f"--python-version={version}", "--only-binary=:all:", "--no-compile"]
        run([sys.executable, "-m", "pip", "install", "--quiet", *tags, f"--target={site}", *wanted], timeout=LONG)
        shutil.rmtree(site / "bin", ignore_errors=True)
        # the smallest virtual environment: Python finds pyvenv.cfg beside bin/ and site-packages from there
        (folder / VENV / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n", encoding="utf-8")
        (folder / VENV / "bin").mkdir()
        (folder / VENV / "bin/python3").symlink_to("/usr/bin/python3")
        _compile(root, site, folder)

    return cached(f"python-{key(version, *wanted, Path(__file__))}", build)


def install_checkout(root: Path, upper: Path) -> None:
    """Copy the checkout's package and its command into a machine's writable layer."""
    place = VENV / f"lib/python{_python_version(root)}/site-packages"
    site = upper / place

    def build(folder: Path) -> None:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / "nixoci", folder / place / "nixoci", ignore=unwanted)
        _compile(root, folder / place, folder)

    name = f"checkout-{key(_python_version(root), CHECKOUT / 'nixoci', Path(__file__))}"
    compiled = cached_of_newest(name, build, KEPT, discard)
    shutil.copytree(compiled / place, site)
    # what importlib.metadata and `nixoci --version` read
    project = _project()
    described = site / f"nixoci-{project['version']}.dist-info/METADATA"
    described.parent.mkdir()
    described.write_text(f"Metadata-Version: 2.1\nName: nixoci\nVersion: {project['version']}\n", encoding="utf-8")
    command = upper / VENV / "bin/nixoci"
    command.parent.mkdir()
    command.write_text(LAUNCHER, encoding="utf-8")
    command.chmod(0o755)
    if coverage_data():
        (site / "measure.pth").write_text(MEASURE, encoding="utf-8")
        (upper / VENV / "coverage.ini").write_text(MEASURE_INI, encoding="utf-8")


def _compile(root: Path, site: Path, above: Path) -> None:
    """Compile the packages of a folder by the Python of `root`; `above` is what the machine has as its root."""
    loader = next(loader for folder in ("usr/lib64", "usr/lib") for loader in (root / folder).glob("ld-linux-*"))
    libraries = next((root / "usr/lib").glob("*-linux-gnu"))
    python = [loader, "--library-path", libraries, root / f"usr/bin/python{_python_version(root)}"]
    work = ["-m", "compileall", "-q", "-s", above, "-p", "/", site]
    run(list(map(str, [*python, *work])), env=os.environ | {"PYTHONHOME": str(root / "usr")}, timeout=LONG)


def coverage_data() -> Path | None:
    """Return the folder for coverage data, writable by everyone, if this run measures coverage."""
    named = os.environ.get("NIXOCI_COVERAGE")
    return Path(named) if named else None


def _python_version(root: Path) -> str:
    return (root / "usr/bin/python3").readlink().name.removeprefix("python")


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project
