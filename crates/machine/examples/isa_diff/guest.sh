#!/usr/bin/busybox sh
# Programs that compute and print, the same on every machine: no time, no random numbers, no addresses.
PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/lib/busybox
b=/usr/bin/busybox
$b mount -t proc proc /proc
$b mount -t tmpfs tmpfs /tmp
echo "=== begin"
# Once for each hart, and there QEMU has one more.
$b grep mmu /proc/cpuinfo | $b head -1
for sum in md5sum sha1sum sha256sum sha512sum; do $b $sum $b; done
$b gzip -c $b | $b sha256sum
$b gzip -c $b | $b gunzip -c | $b sha256sum
$b bzip2 -c /usr/bin/redis-cli 2>/dev/null | $b sha256sum
$b find /usr /etc -type f | $b sort | $b head -300 | $b xargs $b md5sum | $b sha256sum
$b awk 'BEGIN {
  x = 1
  for (i = 1; i < 4000; i++) {
    x = (x + i / x) / 2; s += x * x - i; p = i % 97 / 13; a = a / 2 + p * p * p; n += int(p * 1000) % 7
  }
  printf "%.17g %.17g %.17g %d %.3e\n", x, s, a, n, s * 1e300 * 1e-310
}'
$b awk 'BEGIN { for (i = 0; i < 64; i++) printf "%.17g ", (x = x * 2 + 1.1) - 3 / (i + 1); print "" }'
$b seq 1 5000 | $b awk '{ print ($1 * 7919) % 5003, 1 / $1 }' | $b sort -n | $b sha256sum
echo 'scale=60; a(1)*4; e(1); l(10); sqrt(2)' | $b bc -l 2>&1
echo '99k 2v p 10 3 / p' | $b dc 2>&1
$b printf '%d %x %o %e\n' -123456789012345 255 8 1234567.875
$b seq 1 2000 | $b factor | $b sha256sum
if [ -x /usr/bin/redis-server ]; then
  redis-server --version | $b awk '{ print $1, $2, $3 }'
  redis-server --port 0 --unixsocket /tmp/redis --save '' --daemonize yes \
    --logfile /tmp/log --dir /tmp > /dev/null
  cli="redis-cli -s /tmp/redis"
  n=0; until [ "$($cli ping 2>/dev/null)" = PONG ] || [ $n = 100 ]; do $b sleep 0.1; n=$((n + 1)); done
  $cli eval 'local s = 0; for i = 1, 50000 do
    s = s + math.sin(i) * math.floor(i / 3) % 17 + (i * 1e-3) ^ 2.5 end
    return string.format("%.17g", s)' 0
  $cli eval 'for i = 1, 3000 do
    redis.call("ZADD", "z", (i * 7919) % 10007 / 13, "m" .. i) end
    return redis.sha1hex(table.concat(redis.call("ZRANGE", "z", 0, -1, "WITHSCORES"), ","))' 0
  $cli incrbyfloat f 3.0000000000000001e3
  $cli geoadd g 13.361389 38.115556 a 15.087269 37.502669 b
  $cli geodist g a b km
  $cli shutdown nosave
fi
echo "=== end"
$b poweroff -f
