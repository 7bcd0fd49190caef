#!/bin/sh
# The default service: Redis in memory, or with its append-only file on the data disk when there is one.

set -- --port 6379 --bind 0.0.0.0 --protected-mode no --save '' --daemonize no --loglevel warning
if [ "$LOCKSTEP_DATA" ]; then
    set -- "$@" --dir "$LOCKSTEP_DATA" --appendonly yes
else
    set -- "$@" --dir /tmp --appendonly no
fi
exec /usr/bin/redis-server "$@"
