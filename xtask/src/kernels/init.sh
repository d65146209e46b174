#!/bin/busybox sh
# The guest's first process: mounts what a system has, runs the tests of /guest/tests one by one, each
# between two marks on the second serial line, and powers off.
/bin/busybox mkdir -p /usr/local/busybox
/bin/busybox --install -s /usr/local/busybox
export PATH=/usr/sbin:/usr/bin:/bin:/usr/local/busybox HOME=/tmp TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /var
ln -s /run /var/run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracing /sys/kernel/tracing
mount -t securityfs security /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec > /dev/ttyS1 2>&1 < /dev/null

up() { cut -d' ' -f1 /proc/uptime; }
# What a test that was ended leaves behind would disturb the next one.
between() {
    echo "@@ begin $1 $(up)"
    shift
    "$@"
    code=$?
    [ $code -ge 124 ] && kill -9 -1
    echo "@@ end $code $(up)"
}

export REMORA_BIN=/guest/remora REMORA_E2E=required REMORA_SPECIMENS=/guest/specimens
cd /guest
. ./settings
echo "@@ boot $(uname -r) $(up)"
between doctor ./remora doctor --json
sleep 600 &
between capture ./remora --pid $! --duration 1 --out /tmp/capture --json
kill $!
while read -r suite name; do
    attempt() {
        between "$suite::$name" timeout -s KILL "$LIMIT" "target/deps/$suite" --exact "$name" --test-threads=1
        [ "$code" = 0 ]
    }
    # The emulated CPUs share those of a machine that has other work: what failed once is tried again.
    attempt || attempt
done < tests
echo "@@ done $(up)"
sync
poweroff -f
