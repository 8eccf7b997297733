#!/bin/bash
# Boot a systemd in namespaces of its own, over a copy-on-write view of this machine's root.
# boot.sh WORK NETNS SOURCE PACKAGES   (WORK/etc is laid over /etc; ends when that systemd does)
set -euo pipefail
work=$1 netns=$2 source=$3 packages=$4
if [ "${BOOT_STAGE:-}" = inside ]; then
  root=$work/root
  mount --make-rprivate /
  mkdir -p "$root" "$work/overlay"
  mount -t tmpfs tmpfs "$work/overlay"
  mkdir "$work/overlay/upper" "$work/overlay/work"
  cp -a "$work/etc" "$work/overlay/upper/etc"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$work/overlay/upper,workdir=$work/overlay/work" "$root"
  mkdir -p "$root/opt/anycast-agent"/{bin,lib,src}
  mount --bind "$packages" "$root/opt/anycast-agent/lib"
  mount --bind "$source" "$root/opt/anycast-agent/src"
  printf '#!/usr/bin/python3\nimport sys\nfrom anycast_agent.cli.main import main\nsys.exit(main())\n' > "$root/opt/anycast-agent/bin/anycast-agent"
  chmod 755 "$root/opt/anycast-agent/bin/anycast-agent" "$root/opt/anycast-agent"/{,bin,lib,src}
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  umount "$root/sys/fs/cgroup"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
  done
  mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/systemd"
  ln -s pts/ptmx "$root/dev/ptmx"
  mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
  mount -t tmpfs tmpfs "$root/dev/shm"
  echo anycast-test > "$root/run/systemd/container"
  hostname node
  cd "$root"
  mkdir -p run/old
  pivot_root . run/old
  umount -l /run/old
  exec env -i container=anycast-test /lib/systemd/systemd --system --unit=anycast-test.target \
    --show-status=no </dev/null >/dev/null 2>&1
fi
# systemd wants a cgroup of its own, at the top of the tree that it sees.
tree=/sys/fs/cgroup
[ -d "$tree/unified" ] && tree=$tree/unified
group=$tree/aa-test-$$
mkdir "$group"
echo $$ > "$group/cgroup.procs"
export BOOT_STAGE=inside
exec ip netns exec "$netns" unshare --mount --pid --ipc --uts --cgroup --fork --kill-child "$0" "$@"
