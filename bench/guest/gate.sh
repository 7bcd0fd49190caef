#!/bin/sh
# The benches' work inside the guest, one piece at a time: waits on the console for a line "NAME NUMBER", says
# when that entry begins and ends, and waits again, idle, while the other machines have their turn.
#
# QEMU's recorder loses typed characters, all that are more than the serial port holds (16). So lines are
# short, and the host repeats one until its entry begins. The numbers count up by one: a line that comes
# twice, or is not whole, is no line.

entries=" sha256 gzip awk shell compile redis poweroff "
entries="${entries}core sieve sort chase stream hash compress bodies calls forks execs pingpong "
floats=" bodies32 mandelbrot matmul matmul32 fft samples functions branches "
# Of bench/clone.py: goes on in the background.
entries="$entries$floats dirty "

entry() {
    case $1 in
        sha256) for i in 1 2 3 4 5 6 7 8; do sha256sum /bin/busybox; done ;;
        gzip) gzip -c /bin/busybox | gunzip -c ;;
        awk) awk 'BEGIN { for (i = 1; i < 300000; i++) s += i / 3 * (i % 7); print s }' ;;
        shell) i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done ;;
        # In Debian. Programs and headers come from the disk, every time.
        compile)
            sync
            echo 3 >/proc/sys/vm/drop_caches
            gcc -O1 -o /tmp/work /bench/work.c -lm
            ;;
        # Not measured themselves: what the entries on the network need.
        redis)
            [ "$redis" ] && return
            /etc/lockstep/services/redis &
            redis=$!
            ;;
        dirty) /bench/work dirty & ;;
        poweroff) poweroff ;;
        *) case $floats in *" $1 "*) /bench/float "$1" ;; *) /bench/work "$1" ;; esac ;;
    esac
}

# The appliance's own reader of the console would take every other line.
for input in /proc/[0-9]*/fd/0; do
    reader=${input#/proc/}
    [ "$(readlink "$input")" = /dev/ttyS0 ] && [ "${reader%%/*}" != $$ ] && kill "${reader%%/*}"
done

exec </dev/ttyS0 >/dev/ttyS0
stty -echo
last=0 redis=
echo "bench: ready"
while read -r name number; do
    case $entries in *" $name "*) ;; *) continue ;; esac
    [ "$number" = $((last + 1)) ] || continue
    last=$number
    echo "bench: begin $number"
    entry "$name" </dev/null >/dev/null
    echo "bench: end $number $?"
done
