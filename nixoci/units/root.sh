# The layer of the container is mounted over the image, which the host has mounted. systemd-tmpfiles makes secrets, and
# the directories that mount cannot make.
# shellcheck shell=sh disable=SC2154
if [ -n "$image" ] && ! [ -d "$image" ]; then
    printf 'error: %s: it is not mounted; run: systemctl restart %s\n' "$image_option" "$image_unit" >&2
    exit 1
fi
# RuntimeDirectory= would cost systemd a fork
[ -d "${work:-/dev/null}" ] || "$mkdir" -p -m 0700 "$run" ${work:+"$work"}
if [ -n "$tmpfiles" ]; then "$systemd_tmpfiles" --create "$tmpfiles"; fi
if [ -n "$fstab" ]; then
    "$mount" --all --fstab "$fstab" || {
        status=$?
        if [ -n "${mount_hint-}" ]; then printf '%s\n' "$mount_hint" >&2; fi
        exit "$status"
    }
fi
