"""Templates of Nix text. A value that was not escaped is an error, not an injection."""

from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nixoci.nix_language.escape import NixExpr


def render(template: str, /, **values: Any) -> str:
    """Return the text of a template in `templates/`.

    Raises:
        TypeError: The template outputs a value that no function of `nixoci.nix_language.escape` made.
        jinja2.UndefinedError: The template names a value that is not given.
    """
    return environment().get_template(template).render(values)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the jinja2 environment of all Nix templates."""
    return Environment(
        loader=PackageLoader("nixoci.nix_language", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - HTML's rules are not Nix's; finalize is stricter
        finalize=_only_nix,
    )


def _only_nix(value: Any) -> Any:
    if isinstance(value, NixExpr | StrictUndefined):  # an undefined value raises its own error
        return value
    raise TypeError(
        f"a template outputs {type(value).__name__} {value!r:.80}, which nixoci.nix_language.escape did not make"
    )
