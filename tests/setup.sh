#!/usr/bin/env bash
# Brings what building, testing and the demo need, on a plain Debian 12.
#
#   tests/setup.sh          everything that `make test` uses
#   tests/setup.sh build    only what the compiler needs
#   tests/setup.sh bench    what `make bench` uses
#   tests/setup.sh fuzz     what `make fuzz` uses
#   tests/setup.sh demo     what `make demo` uses
#   tests/setup.sh pipeline what `make pipeline` uses
#   tests/setup.sh cloud    what tests/cloud uses: Spark, and an AWS on this machine (700 MB)
#
# Safe to run again and again: what is there already is left alone, so the second run takes a blink.
# Debian packages are asked for only when the thing they bring is missing (a node or a python from
# elsewhere counts), Python packages live in tests/.venv and tests/.venv-cloud, node packages in
# tests/node_modules.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Two makes at once must not install into the same directory.
exec 9<setup.sh
flock 9

what=${1:-test}
case $what in
build | bench | fuzz | demo | pipeline | cloud | test) ;;
*)
    echo "usage: tests/setup.sh [build|bench|fuzz|demo|pipeline|cloud|test]" >&2
    exit 64
    ;;
esac

missing=()

# need PACKAGE COMMAND...: the package is missing when the command fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

need_library() {
    pkg-config --exists "$2" 2>/dev/null || missing+=("$1")
}

there() {
    compgen -G "$1"
}

find_missing() {
    missing=()
    if [ "$what" = cloud ]; then
        need python3 command -v python3
        [ -x .venv-cloud/bin/python ] || need python3-venv python3 -c 'import ensurepip, venv'
        need ca-certificates there '/etc/ssl/certs/ca-certificates.crt'
        need openjdk-17-jre-headless command -v java
        return
    fi
    need gcc command -v gcc
    need libc6-dev there '/usr/include/stdlib.h'
    need make command -v make
    need pkg-config command -v pkg-config
    need_library libuv1-dev libuv
    need_library libcurl4-openssl-dev libcurl
    need_library libssl-dev libcrypto
    need_library libjansson-dev jansson
    need_library libyaml-dev yaml-0.1
    need_library libpcre2-dev libpcre2-8
    [ "$what" = build ] && return
    if [ "$what" = fuzz ] || [ "$what" = test ]; then
        need clang command -v clang
        need libclang-rt-14-dev there '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer*.a'
    fi
    [ "$what" = fuzz ] && return
    need python3 command -v python3
    if [ "$what" = bench ]; then
        need openssl command -v openssl
        need rsyslog there '/usr/sbin/rsyslogd'
        need bsdutils command -v logger
        return
    fi
    need ca-certificates there '/etc/ssl/certs/ca-certificates.crt'
    [ -x .venv/bin/python ] || need python3-venv python3 -c 'import ensurepip, venv'
    need nodejs command -v node
    [ -d node_modules ] || need npm command -v npm
    [ "$what" = demo ] && return
    need jq command -v jq
    [ "$what" = pipeline ] && return
    need_library libcmocka-dev cmocka
    need openssl command -v openssl
    need systemd command -v systemd-analyze
    need strace command -v strace
    need logrotate there '/usr/sbin/logrotate'
    need mandoc command -v mandoc
    need socat command -v socat
    need netcat-openbsd there '/bin/nc.openbsd'
    need bsdutils command -v logger
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_debian_packages() {
    find_missing
    [ ${#missing[@]} = 0 ] && return
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing, and there is no apt-get here: ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    as_root "${apt[@]}" update
    as_root "${apt[@]}" install --no-install-recommends "${missing[@]}"
    find_missing
    if [ ${#missing[@]} != 0 ]; then
        echo "setup: still missing after the installation: ${missing[*]}" >&2
        exit 1
    fi
}

# fresh STAMP WANTED: true when the last installation there was finished, and of this list.
fresh() {
    [ -f "$1" ] && [ "$(<"$1")" = "$2" ]
}

# install_python_packages DIRECTORY LIST
install_python_packages() {
    local wanted
    wanted=$(sha256sum <"$2")
    fresh "$1/stamp" "$wanted" && return
    echo "setup: installing Python packages into tests/$1"
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$2"
    echo "$wanted" >"$1/stamp"
}

install_node_packages() {
    local wanted
    wanted=$(sha256sum <package-lock.json)
    fresh node_modules/stamp "$wanted" && return
    echo "setup: installing node packages into tests/node_modules"
    rm -rf node_modules
    # Install scripts are not needed: the one package that has one ships binaries, unused by us.
    npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
    echo "$wanted" >node_modules/stamp
}

install_debian_packages
if [ "$what" = demo ] || [ "$what" = pipeline ] || [ "$what" = test ]; then
    install_python_packages .venv requirements.txt
    install_node_packages
fi
if [ "$what" = cloud ]; then
    install_python_packages .venv-cloud cloud/requirements.txt
fi
