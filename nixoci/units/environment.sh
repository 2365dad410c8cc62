#!/bin/sh
# Prints a bundle's config.json with the variables of files, in podman's format (pkg/env/env.go of podman).
#
# A bundle has a copy of this file with the values of its variables below this comment (`nixoci.units.start`).
#
#   head tail                    the two parts of config.json between which the variables belong
#   option files                 the option that names the files, the files, one a line
#   sh cat                       programs
#
# shellcheck disable=SC2154

set -eu
exported="
$(export -p)"
cr=$(printf '\r')
blanks=$(printf ' \t')

fail() {
    printf 'error: %s[%s]: %s\n' "$option" "$index" "$1" >&2
    exit 1
}

# Prints text as the inside of a JSON string.
quote() {
    rest=$1
    while :; do
        plain=${rest%%[\"\\[:cntrl:]]*}
        printf '%s' "$plain"
        rest=${rest#"$plain"}
        [ -n "$rest" ] || return 0
        tail_of=${rest#?}
        char=${rest%"$tail_of"}
        rest=$tail_of
        case $char in
            \" | \\) printf '\\%s' "$char" ;;
            *) printf '\\u%04x' "'$char" ;;
        esac
    done
}

# Prints a variable as one more element of a JSON list.
add() {
    printf ',\n      "'
    quote "$1"
    printf '"'
}

# Succeeds if the unit has a variable; shells have more of their own.
is_set() {
    case "$exported" in
        *"
export $1="* | *"
declare -x $1="*) return 0 ;;
    esac
    return 1
}

# A line is NAME=VALUE, both taken as they are, or NAME alone for a variable of the unit. Blanks before it, empty lines
# and comments are skipped.
read_file() {
    number=0
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line=${line%"$cr"}
        line=${line#"${line%%[!"$blanks"]*}"}
        case $line in
            '' | '#'*) ;;
            =*) fail "line $number of $1 has a value without a name; write NAME=VALUE" ;;
            *=*) add "$line" ;;
            *'*') fail "line $number of $1: variables of the unit cannot be chosen by a pattern; name each" ;;
            [0-9]* | *[!A-Za-z0-9_]*) ;; # a shell has no variable of such a name
            *)
                # in a process of its own, without the variables of this script
                if is_set "$line"; then
                    value=$("$sh" -c "printf '%s=' \"\$$line\"")
                    add "$line=${value%=}"
                fi
                ;;
        esac
    done < "$1"
}

"$cat" "$head"
index=0
set -f
IFS='
'
for file in $files; do
    if ! [ -r "$file" ] || [ -d "$file" ]; then fail "$file cannot be read; make it, or drop it"; fi
    IFS=' '
    read_file "$file"
    index=$((index + 1))
done
"$cat" "$tail"
