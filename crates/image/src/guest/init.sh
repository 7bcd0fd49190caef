#!/bin/busybox sh
# Process 1 of a Lockstep appliance, run by busybox ash. Everything lives in the initramfs; there is no
# other init. The kernel parameters it obeys are listed in the module documentation of appliance.rs.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# What a service of Debian finds, too: a home, names, and text in UTF-8 with the order of C.
export HOME=/root USER=root LOGNAME=root SHELL=/bin/sh LANG=C.UTF-8
cd /

say() { echo "lockstep-appliance: $*" >/dev/console; }

# power_off WHY [CODE]: with a code other than 0 the machine's board is told that the guest has failed.
power_off() {
    trap '' TERM USR2
    say "poweroff${1:+ ($1)}"
    if [ "$data_mounted" ]; then
        # First what the service has to write, then the filesystem.
        stop_service
        sync
        umount /data 2>/dev/null || mount -o remount,ro /data
    fi
    # The test device of the board (SiFive's): 0x3333 in the low half and a code in the high half.
    [ "${2:-0}" -eq 0 ] || devmem 0x100000 32 $(($2 << 16 | 0x3333))
    poweroff -f
    # Power-off does not return; should the platform refuse, the machine must not run on half-dead.
    while :; do sleep 3600; done
}

# The value of kernel parameter lockstep.$1, or nothing.
parameter() {
    for word in $cmdline; do
        case "$word" in "lockstep.$1="*) echo "${word#*=}"; return 0 ;; esac
    done
    return 1
}

flag() {
    case " $cmdline " in *" lockstep.$1 "* | *" lockstep.$1=1 "*) return 0 ;; esac
    return 1
}

# Modules are stored uncompressed, in the order in which they can be inserted.
load_modules() {
    while read -r module; do
        insmod "/usr/lib/lockstep/$module.ko" || say "module $module did not load"
    done <"/etc/lockstep/modules.$1"
}

# Tries $1 times, 50 ms apart, until the rest of the arguments succeeds as a command.
retry() {
    tries=$1
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        usleep 50000
    done
}

mount_data() {
    load_modules disk
    if ! retry 100 test -b "$1"; then
        say "no disk $1, running without data"
    elif mount -t ext4 "$1" /data; then
        data_mounted=yes
        say "data on $1"
    else
        say "$1 has no ext4 filesystem, running without data"
    fi
}

start_network() {
    ip link set lo up
    [ -d /sys/class/net/eth0 ] || return
    ip link set eth0 up
    # -A: seconds to the next round when nobody answered, forever. The link may come up late.
    udhcpc -f -i eth0 -t 4 -T 1 -A 1 -s /etc/lockstep/dhcp >/run/dhcp.log 2>&1 &
}

network_is_up() { [ ! -d /sys/class/net/eth0 ] || [ -e /run/dhcp.bound ]; }

service_answers() {
    [ "$service_port" ] || return 0
    # A Redis answers PING; for any other service an accepted connection is the answer.
    if [ "$service_kind" = redis ]; then
        [ "$(printf 'PING\r\n' | nc -w 2 127.0.0.1 "$service_port" 2>/dev/null | head -c 5)" = +PONG ]
    else
        nc -w 2 127.0.0.1 "$service_port" </dev/null >/dev/null 2>&1
    fi
}

# An answer is waited for as long as there is somebody who could give it.
service_has_decided() { service_answers || { [ "$service_pid" ] && service_is_gone; }; }

# Lines typed on the console are commands; a machine without input simply never gets one.
watch_console() {
    while read -r line; do
        line=${line%$(printf '\r')}
        case "$line" in
            poweroff) kill -USR2 1; return ;;
            '') ;;
            *) say "unknown command '$line' (there is only: poweroff)" ;;
        esac
    done </dev/ttyS0
}

uptime_seconds() { cut -d . -f 1 /proc/uptime; }

# The service and all that it starts are in this group, wherever they go.
group=/sys/fs/cgroup/service
service_lives() { grep -q '^populated 1' "$group/cgroup.events" 2>/dev/null; }
service_is_gone() { ! service_lives; }

# Gives the service its chance to write.
stop_service() {
    if service_lives; then
        kill $(cat "$group/cgroup.procs") 2>/dev/null
        retry 200 service_is_gone || say "the service does not stop"
    fi
}

# Waits for the end of the service, and of all that it left running; then says what came of it and what to do.
end_with_service() {
    wait "$service_pid"
    status=$?
    service_pid=
    if [ "$status" -eq 0 ] && service_lives; then
        say "service '$run' went into the background; the appliance runs as long as one of its processes"
        while service_lives; do sleep 1; done
        power_off "service $run ended in the background"
    fi
    seconds=$(($(uptime_seconds) - service_begin))
    say "service '$run' ended with status $status after $seconds s; what it said last stands above"
    case "$status" in
        0)
            [ "$seconds" -ge 10 ] ||
                say "an appliance runs as long as its service: start the service in the foreground"
            ;;
        126) say "the command is there but cannot be run" ;;
        127) say "the command is not in this image: name its package with --package" ;;
        *) say "if it misses a user, a file or a database that Debian's installation would make, use" \
            "'lockstep image debian --package NAME'" ;;
    esac
    power_off "service $run ended with status $status" "$status"
}

start_service() {
    if [ -x "/etc/lockstep/services/$1" ]; then
        . "/etc/lockstep/services/$1.settings"
        mkdir -p "$group" 2>/dev/null
        # From either side, as nobody knows which of the two goes first.
        { echo 0 >"$group/cgroup.procs"; exec "/etc/lockstep/services/$1"; } &
        service_pid=$!
        echo "$service_pid" 2>/dev/null >"$group/cgroup.procs"
        service_begin=$(uptime_seconds)
    else
        say "no service '$1' in this image"
        power_off "nothing to run"
    fi
}

/bin/busybox mount -t proc proc /proc
# A file that a package brought stays; an applet only fills a gap.
/bin/busybox --install -s /usr/bin 2>/dev/null
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
chmod 1777 /dev/shm
# Files may take most of the memory: the kernel's half leaves a database too little beside its own programs.
mount -o remount,size=90% /
# devtmpfs has no links; programs open their own streams by these names.
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
exec </dev/null >/dev/console 2>&1
trap 'power_off "asked to"' TERM USR2
hostname "$(cat /etc/hostname)"
# systemd's limit: the kernel's own is lower than what servers ask for.
ulimit -Hn 524288
echo 1 >/proc/sys/vm/overcommit_memory
cmdline=$(cat /proc/cmdline)

load_modules boot
data=$(parameter data) && mount_data "$data"
export LOCKSTEP_DATA="${data_mounted:+/data}"
start_network

run=$(parameter run) || read -r run </etc/lockstep/default-service
script=$(parameter script) && run=none
# Debian starts servers when there is a network, and some look for their address only once.
[ "$run" = redis ] || retry 200 network_is_up || say "no address on eth0 yet, going on"
[ "$run" = poweroff ] || [ "$run" = none ] || start_service "$run"

retry 200 network_is_up || say "no address on eth0 yet, going on"
retry 1200 service_has_decided || say "service '$run' does not answer"
if [ -z "$service_pid" ] || service_lives; then
    say "ready after $(cut -d ' ' -f 1 /proc/uptime) s"
fi

if flag shell; then
    while :; do setsid cttyhack sh -i </dev/ttyS0 >/dev/ttyS0 2>&1; done &
else
    watch_console &
fi

if [ "$script" ]; then
    "/etc/lockstep/scripts/$script"
    say "script $script ended with status $?"
    power_off "script ended"
fi
[ "$run" = poweroff ] && power_off "lockstep.run=poweroff"
[ "$service_pid" ] && end_with_service
while :; do sleep 3600 & wait $!; done
