# First process of a test host: makes the machine around it and takes it down again.
# $1 is the host's name, $2 the cgroup its containers live under. Runs in fresh mount, network,
# PID, IPC and UTS namespaces. Standard input is the life line: at its end, also when the test run
# was killed, everything on the host dies and nothing stays behind.
set -eu

hostname "$1"
ip link set lo up

# Sockets, state, container layers: all on a file system that goes with the mount namespace.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/lock /run/log
mkdir -m 1777 /run/tmp

# sysfs shows the network namespace it was mounted in; the cgroups hang below it.
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount --recursive --lazy /run/cgroup
rmdir /run/cgroup

# Nobody answers there: a name that is not in /etc/hosts fails at once and asks no real server.
echo "nameserver 10.77.0.1" >/run/resolv.conf
if [ -f /etc/resolv.conf ]; then
    mount --bind /run/resolv.conf "$(readlink -f /etc/resolv.conf)"
fi

echo ready
read -r _ || true

# Everything in this PID namespace but this shell, which as its init also reaps it.
kill -9 -1 2>/dev/null || true

shopt -s nullglob
for _ in $(seq 100); do
    cgroups=(/sys/fs/cgroup/"$2" /sys/fs/cgroup/*/"$2")
    left=()
    for cgroup in "${cgroups[@]}"; do
        if [ -d "$cgroup" ]; then
            find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
            [ ! -d "$cgroup" ] || left+=("$cgroup")
        fi
    done
    [ ${#left[@]} -gt 0 ] || exit 0
    sleep 0.05
done
echo "cgroups left behind: ${left[*]}" >&2
