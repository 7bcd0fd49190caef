#!/bin/sh
# lockstep-fsync-check write N [DIRECTORY] writes N files, each on the disk before its line is printed
# lockstep-fsync-check verify [DIRECTORY] reads back everything that was recorded, status 1 on any difference
#
# The test of what a database relies on: whoever saw the line "written I SUM" may count on file I, whatever
# happened to the machine's host since. Only POSIX sh and what busybox and coreutils share.
set -eu

fail() { echo "lockstep-fsync-check: $*" >&2; exit 2; }

write_files() {
    mkdir -p "$directory"
    number=$(($([ -e "$sums" ] && wc -l <"$sums" || echo 0) + 1))
    last=$((number + count - 1))
    while [ "$number" -le "$last" ]; do
        name=$directory/$number
        dd if=/dev/urandom of="$name" bs=4096 count=$((number % 16 + 1)) conv=fsync 2>/dev/null
        sum=$(sha256sum <"$name")
        sum=${sum%% *}
        # A line of the list is short: one write, and on the disk when dd returns.
        echo "$number $sum" | dd of="$sums" bs=4096 oflag=append conv=notrunc,fsync 2>/dev/null
        # The directory entries of both; sync(1) with a file argument is fsync on it.
        sync "$directory" 2>/dev/null || sync
        echo "written $number $sum"
        number=$((number + 1))
    done
}

verify_files() {
    good=0 bad=0
    [ -e "$sums" ] || fail "nothing was written in $directory"
    while read -r number expected; do
        found=$(sha256sum <"$directory/$number" 2>/dev/null) || found=missing
        if [ "${found%% *}" = "$expected" ]; then
            good=$((good + 1))
        else
            bad=$((bad + 1))
            echo "different $number"
        fi
    done <"$sums"
    echo "verified $good files, $bad different"
    [ "$bad" -eq 0 ]
}

case "${1-}" in
    write)
        count=${2-}
        [ "$count" -gt 0 ] 2>/dev/null || fail "usage: lockstep-fsync-check write N [DIRECTORY]"
        directory=${3-/var/lib/lockstep-fsync-check} sums=$directory/sums
        write_files
        ;;
    verify)
        directory=${2-/var/lib/lockstep-fsync-check} sums=$directory/sums
        verify_files
        ;;
    *) fail "usage: lockstep-fsync-check write N [DIRECTORY] | verify [DIRECTORY]" ;;
esac
