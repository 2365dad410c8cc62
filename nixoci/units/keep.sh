# Nix does not see mounts. A root is a file with the name of a store path, which costs no process.
# shellcheck shell=sh disable=SC2154
if [ -n "$gc_roots" ] && [ -d "${gc_roots%/*/*}" ]; then
    [ -d "$gc_roots" ] || "$mkdir" -p "$gc_roots"
    for path in $kept; do printf '' > "$gc_roots/${path##*/}"; done
    # the stop of a unit that changed meanwhile did not know these
    for root in "$gc_roots"/*; do
        case " $kept" in
            *[\ /]"${root##*/}" | *[\ /]"${root##*/} "*) ;;
            *) "$rm" --force "$root" ;;
        esac
    done
fi
