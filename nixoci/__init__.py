"""OCI container images as Nix store paths that podman, Docker, containerd and systemd run in place.

The library behind the command `nixoci`. Pin an image and write the Nix expression that builds it:

    from pathlib import Path
    import nixoci

    context = nixoci.LockContext.of("nixoci.lock.json")
    lock, name = nixoci.add_image(nixoci.EMPTY_LOCK, "docker.io/library/nginx:1.27", context=context)
    nixoci.write_lock("nixoci.lock.json", lock)
    Path("default.nix").write_text(nixoci.render_default_nix(lock))

Describe a container, and write the module that declares it in NixOS or home-manager:

    web = nixoci.Container(image=name, ports=["8080:80"])
    Path("module.nix").write_text(nixoci.render_module(nixoci.Deployment(containers={"web": web}), lock=lock))

`docs/python.md` has a whole build script and all names. Every error is a `NixociError`; its text is one line that names
the thing and the way out.
"""

from functools import cache
from typing import Any


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command imports this package too, but needs few of the names."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - likewise

        value: Any = version(__name__)
    elif name == "__all__":
        value = sorted(_homes())
    elif name.startswith("_") or name not in _homes():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        from importlib import import_module  # noqa: PLC0415 - likewise

        module, name_there = _homes()[name]
        value = getattr(import_module(module), name_there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes(), "__all__", "__version__"})


@cache
def _homes() -> dict[str, tuple[str, str]]:
    """Return the module of each public name, and the name there: the imports of `__init__.pyi`."""
    import ast  # noqa: PLC0415 - likewise
    from importlib.resources import files  # noqa: PLC0415 - likewise

    stub = ast.parse((files(__name__) / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: (node.module or "", alias.name) for node in imports for alias in node.names}
