# Named volumes that do not exist yet. Empty ones are made by systemd-tmpfiles, which would copy a file without its
# capabilities and its access control list. A copy gets its name when it is whole, so that no start finds half of one.
# shellcheck shell=sh disable=SC2154
for volume in $volumes; do
    if ! [ -e "$volume" ]; then
        "$systemd_tmpfiles" --create "$volume_tmpfiles"
        break
    fi
done
while IFS= read -r copied && [ -n "$copied" ]; do
    volume=${copied%%:*}
    if ! [ -e "$volume" ]; then
        part=${volume%/*}/.${volume##*/}:${run##*/}
        "$rm" --recursive --force "$part"
        "$cp" --archive --no-preserve=context --no-target-directory "${copied#*:}" "$part"
        # a container that starts at the same time may have been first
        if ! "$mv" --no-target-directory "$part" "$volume"; then
            "$rm" --recursive --force "$part"
            [ -e "$volume" ]
        fi
    fi
done << END
$copies
END
