"""Garbage collector roots that units of podman's containers make when they start and remove when they stop.

A file below Nix's directory of roots, with the name of a store path, keeps that path, and costs no program of Nix. A
user has an own directory there, which the user makes where Nix lets every user do so. Elsewhere the root is a link in
the user's home directory that Nix's daemon registers. A user's container starts even if no root can be made.
"""

from nixoci.container.places import GC_ROOTS, USER_LINKS, gc_root_directory, user_link, user_roots
from nixoci.container.resolve import ResolvedContainer
from nixoci.nix_store.path import is_store_path
from nixoci.units.escape import UnitFile, command
from nixoci.units.tools import Tools

_KEEP = (
    'if [ -d "$0" ]; then [ -d "$2" ] || "$1" -p "$2"; : > "$3";'
    ' for root in "$2"/*; do [ "$root" = "$3" ] || "$4" --force "$root"; done; fi'
)
"""Makes the root `$3` in the directory `$2`, with mkdir `$1`, if `$0` exists. It removes others with rm `$4`: the stop
of a unit that changed meanwhile did not know them."""

_STATE = 'state=${XDG_STATE_HOME:-"$HOME/.local/state"}; '

_KEEP_OF_USER = (
    '[ -d "$0" ] || exit 0; '
    f'own="$0/{user_roots("$USER")}/$2"; [ -d "$own" ] || "$1" -p "$own" 2> /dev/null; '
    "{ printf '' > \"$own/${3##*/}\"; } 2> /dev/null || { "
    + _STATE
    + 'PATH="$PATH:/nix/var/nix/profiles/default/bin"; '
    f'nix-store --realise "$3" --add-root "$state/{USER_LINKS}/$4" --indirect > /dev/null; '
    '} || echo "warning: Nix may remove $3 while the container runs; run: nixoci gc-roots" >&2'
)
"""Makes a root of the unit `$2` for the store path `$3`: in Nix's directory `$0`, with mkdir `$1`, or as `$4`."""

_DROP_OF_USER = _STATE + f'"$1" -f "$0/{user_roots("$USER")}/$2/${{3##*/}}" "$state/{USER_LINKS}/$4"'


def add_gc_root(unit: UnitFile, container: ResolvedContainer, tools: Tools, *, user: bool) -> None:
    """Keep the image in the Nix store while the unit runs; nothing where there is no Nix, or the image is elsewhere."""
    image, name = container.tree.image.path, container.parsed.service
    if not is_store_path(image):
        return
    if user:
        words = [name, str(image), user_link(name)]
        make = [tools.sh, "-c", _KEEP_OF_USER, GC_ROOTS, tools.mkdir, *words]
        remove = [tools.sh, "-c", _DROP_OF_USER, GC_ROOTS, tools.rm, *words]
    else:
        directory = gc_root_directory(name)
        file = f"{directory}/{image.name}"
        make = [tools.sh, "-c", _KEEP, GC_ROOTS, tools.mkdir, directory, file, tools.rm]
        remove = [tools.rm, "--force", file]
    unit.add("Service", "ExecStartPre", command(make))
    unit.add("Service", "ExecStopPost", command(remove))
