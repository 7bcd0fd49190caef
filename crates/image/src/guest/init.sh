#!/bin/busybox sh
# Process 1 of a Lockstep appliance, run by busybox ash. Everything lives in the initramfs; there is no
# other init. The kernel parameters it obeys are listed in the module documentation of appliance.rs.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C

say() { echo "lockstep-appliance: $*" >/dev/console; }

power_off() {
    trap '' TERM USR2
    say "poweroff${1:+ ($1)}"
    if [ "$data_mounted" ]; then
        # The service gets its chance to write; then the filesystem is closed properly.
        [ "$service_pid" ] && kill "$service_pid" 2>/dev/null && wait "$service_pid"
        sync
        umount /data 2>/dev/null || mount -o remount,ro /data
    fi
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

start_service() {
    if [ -x "/etc/lockstep/services/$1" ]; then
        . "/etc/lockstep/services/$1.settings"
        "/etc/lockstep/services/$1" &
        service_pid=$!
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
mount -t tmpfs tmpfs /run
chmod 1777 /tmp /dev/shm
exec </dev/null >/dev/console 2>&1
trap 'power_off "asked to"' TERM USR2
hostname lockstep
echo 1 >/proc/sys/vm/overcommit_memory
cmdline=$(cat /proc/cmdline)

load_modules boot
data=$(parameter data) && mount_data "$data"
export LOCKSTEP_DATA="${data_mounted:+/data}"
start_network

run=$(parameter run) || read -r run </etc/lockstep/default-service
script=$(parameter script) && run=none
[ "$run" = poweroff ] || [ "$run" = none ] || start_service "$run"

retry 200 network_is_up || say "no address on eth0 yet, going on"
retry 1200 service_answers || say "service '$run' does not answer"
say "ready after $(cut -d ' ' -f 1 /proc/uptime) s"

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
if [ "$service_pid" ]; then
    wait "$service_pid"
    status=$?
    service_pid=
    power_off "service $run ended with status $status"
fi
while :; do sleep 3600 & wait $!; done
