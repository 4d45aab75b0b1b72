#!/bin/sh
# Holds systemd/ against systemd's own tools: the units without a word of complaint (systemd-analyze
# exits 0 after most), the service's exposure at most what it is now, and the user it runs as is made
# by the sysusers file. The program is not installed where the unit looks for it, so a copy runs /bin/true.
# Run from the root. Without systemd there is nothing to hold it against, and that is said.
set -eu

unit=systemd/tailraced.service
exposure_max=25 # in tenths: 2.5, "OK"

if ! command -v systemd-analyze >/dev/null; then
    echo "check_unit: no systemd-analyze here; the unit is not checked" >&2
    exit 0
fi
grep -q '^ExecStart=/usr/bin/tailraced -c /etc/tailrace/tailrace.yaml$' "$unit"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed 's|^ExecStart=.*|ExecStart=/bin/true|' "$unit" >"$dir/tailraced.service"
cp systemd/tailraced.socket "$dir"
# The directory of the sockets is made alike by both, or systemd changes the owner of all in it.
grep -q '^RuntimeDirectory=tailrace$' "$unit" && grep -q '^RuntimeDirectoryMode=0711$' "$unit"
grep -q '^ExecStartPre=.* -o tailrace -g tailrace -m 0711 /run/tailrace$' systemd/tailraced.socket

# The manual pages are not installed either.
systemd-analyze verify --man=no "$dir/tailraced.socket" "$dir/tailraced.service" >"$dir/said" 2>&1 || echo "exit $?" >>"$dir/said"
if [ -s "$dir/said" ]; then
    cat "$dir/said" >&2
    exit 1
fi
systemd-analyze security --offline=true --no-pager --threshold="$exposure_max" \
    "$dir/tailraced.service" >"$dir/said" 2>&1 || {
    tail -n 3 "$dir/said" >&2
    exit 1
}

user=$(sed -n 's/^User=//p' "$unit")
grep -q "^u $user " systemd/tailrace.sysusers
mkdir -p "$dir/root/etc"
systemd-sysusers --root="$dir/root" "$PWD/systemd/tailrace.sysusers" >"$dir/said" 2>&1 || {
    cat "$dir/said" >&2
    exit 1
}
grep -q "^$user:" "$dir/root/etc/passwd"
