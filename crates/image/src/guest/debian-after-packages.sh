# Run by mmdebstrap with the new root directory as $1 when all packages are installed: makes the tree the
# Debian that debian.rs documents.
set -eu
root=$1

echo lockstep >"$root/etc/hostname"
chmod 644 "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 lockstep\n' >"$root/etc/hosts"
printf 'LABEL=lockstep / ext4 noatime 0 0\n' >"$root/etc/fstab"
# An empty machine id is filled in at first boot, without the questions of systemd-firstboot.
: >"$root/etc/machine-id"

# root has no password on the console; nothing else offers a login.
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"

cat >"$root/etc/systemd/network/80-lockstep.network" <<'EOF'
[Match]
Type=ether

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
EOF
rm -f "$root/etc/resolv.conf"
# systemd-resolved is not installed; this is where both QEMU's and Lockstep's gateway answer.
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
chroot "$root" systemctl enable systemd-networkd.service

# Work that is useless here and expensive for an interpreter: every unit costs tens of millions of
# instructions. All of it can be unmasked.
chroot "$root" systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-networkd-wait-online.service getty@tty1.service getty-static.service \
    modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service modprobe@configfs.service \
    modprobe@dm_mod.service modprobe@loop.service modprobe@dm_multipath.service kmod-static-nodes.service \
    sys-kernel-tracing.mount sys-kernel-debug.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount run-lock.mount proc-sys-fs-binfmt_misc.automount systemd-pstore.service \
    systemd-hwdb-update.service systemd-journal-catalog-update.service systemd-journal-flush.service \
    systemd-network-generator.service systemd-networkd-persistent-storage.service \
    systemd-udev-load-credentials.service systemd-random-seed.service systemd-creds.socket \
    systemd-sysext.socket systemd-hostnamed.socket
chroot "$root" systemctl set-default multi-user.target

# udev looks at every device of the machine at boot, several hundred; these kinds are what a server's rules
# name.
mkdir -p "$root/etc/systemd/system/systemd-udev-trigger.service.d"
cat >"$root/etc/systemd/system/systemd-udev-trigger.service.d/lockstep.conf" <<EOF
[Service]
ExecStart=
ExecStart=udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net \
--subsystem-match=tty --subsystem-match=rtc --subsystem-match=misc
EOF

mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/lockstep.conf"

# PostgreSQL: open to the guest's own network only, where the gateway's forwards come from.
for cluster in "$root"/etc/postgresql/*/main; do
    version=$(basename "$(dirname "$cluster")")
    mkdir -p "$cluster/conf.d"
    printf "listen_addresses = '0.0.0.0'\nssl = off\n" >"$cluster/conf.d/lockstep.conf"
    # Same lines as Debian's file, plus trust for the gateway's network.
    printf 'host all all 10.0.2.0/24 trust\n' >>"$cluster/pg_hba.conf"
    # The server itself in place of Debian's wrapper in Perl, which takes longer to start than the server.
    unit=$root/etc/systemd/system/postgresql@$version-main.service.d
    mkdir -p "$unit"
    cat >"$unit/lockstep.conf" <<EOF
[Service]
Type=notify
User=postgres
PIDFile=
ExecStart=
ExecStart=/usr/lib/postgresql/$version/bin/postgres -D /var/lib/postgresql/$version/main \
-c config_file=/etc/postgresql/$version/main/postgresql.conf
ExecReload=
ExecReload=/bin/kill -HUP \$MAINPID
ExecStop=
KillMode=mixed
KillSignal=SIGINT
EOF
    # One statement a line: the single-user backend takes each line as a statement.
    printf 'CREATE ROLE bench LOGIN\nCREATE DATABASE bench OWNER bench\n' |
        chroot "$root" setpriv --reuid=postgres --regid=postgres --init-groups \
            "/usr/lib/postgresql/$version/bin/postgres" --single \
            -D "/var/lib/postgresql/$version/main" \
            -c "config_file=/etc/postgresql/$version/main/postgresql.conf" postgres
done

# Once, at the end: the kernel's installation was told INITRD=No.
chroot "$root" update-initramfs -c -k all

# Newer than /usr: systemd then has no "update" work at the first boot.
touch "$root/etc/.updated" "$root/var/.updated"
