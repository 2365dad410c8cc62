"""The Nix expressions that come with nixoci, in `expressions/`: `nix/` imports them, generated files embed them."""

from importlib.resources import files

from nixoci.nix_language.escape import NixExpr, trusted


def shipped(name: str) -> NixExpr:
    """Return the expression in the file `expressions/NAME`."""
    text = (files("nixoci.nix_language") / "expressions" / name).read_text(encoding="utf-8")
    return trusted(text.strip())
