# Run by mmdebstrap with the new root directory as $1, after the essential packages and before the kernel:
# what the kernel's own post-installation step (depmod, initramfs) should find.
set -eu
root=$1

# Debian's default (MODULES=most) copies and compresses several hundred drivers, which takes seven minutes
# under emulation, twice. This machine has a fixed, short list of devices.
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
cat >"$root/etc/initramfs-tools/conf.d/lockstep" <<'EOF'
MODULES=list
COMPRESS=gzip
COMPRESSLEVEL=1
FSTYPE=ext4
RESUME=none
EOF
cat >"$root/usr/share/initramfs-tools/modules.d/lockstep" <<'EOF'
virtio_mmio
virtio_blk
virtio_net
virtio-rng
ext4
crc32c_generic
EOF
