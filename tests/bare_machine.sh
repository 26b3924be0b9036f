#!/usr/bin/env bash
# README's two commands on a bare Debian: a root made by debootstrap, this checkout cloned into it, `make demo`, `make test`.
#
#   sudo tests/bare_machine.sh bookworm /var/tmp/bare              as root, which installs the GL libraries by itself
#   sudo tests/bare_machine.sh trixie /var/tmp/bare --as user      as a normal user, after the one apt command that make names
#
# Needs root, debootstrap, git, about 15 GiB and an hour. What is committed is tested. FOLDER keeps the bare root
# (FOLDER/SUITE) for the next time, and the machine that was tried (FOLDER/SUITE-root or -user); neither is used otherwise.
#
#   --targets "demo test"     what to make
#   --env NAME=VALUE          into the environment of the commands, for a proxy or a mirror; may be given again
#   --copy FROM:TO            a file or folder of this machine to copy into the root, as a certificate; may be given again
#   --mirror URL              Debian's packages
set -euo pipefail

usage() { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
suite=$1 folder=$2; shift 2
as=root targets="demo test" mirror=http://deb.debian.org/debian environment=() copies=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case $1 in
    --as) as=$2 ;;
    --targets) targets=$2 ;;
    --env) environment+=("$2") ;;
    --copy) copies+=("$2") ;;
    --mirror) mirror=$2 ;;
    *) usage ;;
  esac
  shift 2
done
case $as in root | user) ;; *) usage ;; esac
[ "$(id -u)" = 0 ] || { echo "error: debootstrap and chroot need root" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "error: no debootstrap; to do: apt-get install debootstrap" >&2; exit 2; }

checkout=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
bare=$folder/$suite machine=$folder/$suite-$as
mkdir -p "$folder"
if [ ! -e "$bare/made" ]; then # only what README asks for
  debootstrap --variant=minbase --include=python3,python3-venv,make,git,ca-certificates "$suite" "$bare" "$mirror"
  touch "$bare/made"
fi
rm -rf "$machine"
cp -a "$bare" "$machine"
cp -L /etc/resolv.conf "$machine/etc/resolv.conf"
[ -s "$machine/etc/hosts" ] || echo "127.0.0.1 localhost" >"$machine/etc/hosts" # an installed Debian has it, debootstrap does not
for pair in "${copies[@]}"; do
  mkdir -p "$machine$(dirname "${pair#*:}")"
  cp -aL "${pair%%:*}" "$machine${pair#*:}"
done
chroot "$machine" useradd --create-home --shell /bin/bash user
git clone --quiet --bare "$checkout" "$machine/srv/ipv-bench.git"
home=/root; [ "$as" = root ] || home=/home/user
chroot "$machine" chown -R "$as" /srv/ipv-bench.git

# inside USER LINE: run a line there in a login of its own; its mounts end with it, and so does whatever it started.
inside() {
  local home=/root; [ "$1" = root ] || home=/home/user
  unshare --mount --pid --fork bash -c '
    machine=$1 user=$2; shift 2
    mount -t proc proc "$machine/proc" && mount --rbind /dev "$machine/dev" && mount -t tmpfs tmpfs "$machine/dev/shm"
    exec chroot --userspec="$user:$user" "$machine" env -i "$@"' \
    bash "$machine" "$1" HOME="$home" USER="$1" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "${environment[@]}" bash -c "cd ~ && $2"
}

inside "$as" "git clone --quiet /srv/ipv-bench.git ipv-bench && cd ipv-bench && git log -1 --format='%h %s' && python3 --version"
if [ "$as" = user ]; then
  echo "== make install, as a user on a machine without GL libraries"
  said=$(inside user "cd ipv-bench && make install 2>&1" || true)
  echo "$said"
  line=$(sed -n "s/.*to do: *sudo sh -c '\(.*\)'$/\1/p" <<<"$said")
  [ -n "$line" ] || { echo "error: make install names no command for root" >&2; exit 1; }
  echo "== as root: $line"
  inside root "DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND; $line >/dev/null"
fi
for target in $targets; do
  echo "== make $target, on $suite as $as; $(uptime | sed 's/.*load/load/')"
  begin=$(date +%s)
  status=0
  inside "$as" "cd ipv-bench && make $target" || status=$?
  echo "== make $target, on $suite as $as: exit status $status, $(($(date +%s) - begin)) s; $(uptime | sed 's/.*load/load/')"
  [ "$status" = 0 ] || exit "$status"
done
