#!/bin/sh
# Called by busybox udhcpc when a lease starts, is renewed or ends.

case "$1" in
    deconfig)
        rm -f /run/dhcp.bound
        ip addr flush dev "$interface"
        ;;
    bound | renew)
        ip addr replace "$ip/${mask:-24}" dev "$interface"
        [ "$router" ] && ip route replace default via "${router%% *}" dev "$interface"
        for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
        echo "$ip" >/run/dhcp.bound
        ;;
esac
