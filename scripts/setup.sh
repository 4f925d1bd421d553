#!/usr/bin/env bash
# Installs the Debian packages that are missing, and says which and why. Silent when nothing is. What the program does
# without is installed if it can be, and no more.
#   scripts/setup.sh run     what `make run` needs
#   scripts/setup.sh test    that, and what the tests need
set -euo pipefail

# Daemons and network tools are not in everybody's path.
PATH=$PATH:/usr/sbin:/sbin

packages=()
wanted=()

# need PACKAGE WHY COMMAND...: queues the package unless the command succeeds.
need() {
    local package=$1 why=$2
    shift 2
    if "$@" >/dev/null 2>&1; then return; fi
    echo "setup: $package is missing ($why)"
    packages+=("$package")
}

# want PACKAGE WHY COMMAND...: the same of a package that can be done without.
want() {
    local package=$1 why=$2
    shift 2
    if "$@" >/dev/null 2>&1; then return; fi
    echo "setup: $package is missing ($why): the rest works without"
    wanted+=("$package")
}

# fail MESSAGE: one line about what only a person can install.
fail() {
    echo "setup: $1" >&2
    exit 1
}

has() {
    local path
    path=$(command -v "$1") && [ -x "$path" ]
}

is_static() { has "$1" && ! ldd "$(command -v "$1")"; }

# Debian 13 moved the client into a package of its own.
docker_client() {
    if [ -n "$(apt-cache search --names-only '^docker-cli$' 2>/dev/null)" ]; then
        echo docker-cli
    else
        echo docker.io
    fi
}

node_is_recent() {
    local version
    version=$(node --version) && printf '20.19\n%s\n' "${version#v}" | sort -CV
}

need_for_both() {
    has cargo || fail "Rust is missing: see https://rustup.rs"
    node_is_recent || fail "Node.js 20.19 or newer is missing: see https://nodejs.org"
    has npm || fail "npm is missing: it comes with Node.js"
    need gcc "links the program" has cc
    need libc6-dev "links the program" test -e /usr/include/stdlib.h
}

need_for_run() {
    need_for_both
    want clang "compiles what runs in the kernel" has clang
}

need_for_test() {
    need_for_both
    need clang "compiles what runs in the kernel" has clang
    cargo fmt --version >/dev/null 2>&1 || fail "rustfmt is missing: rustup component add rustfmt"
    cargo clippy --version >/dev/null 2>&1 || fail "clippy is missing: rustup component add clippy"
    need docker.io "the tests start their own daemon" has dockerd
    need containerd "runs the tests' containers" has containerd
    need "$(docker_client)" "the tests talk to their daemon" has docker
    need iproute2 "the tests' own network" has ip
    need iptables "Docker's networks" has iptables
    need busybox-static "the tests' container image is made of it" is_static busybox
    need util-linux "the tests' hosts are namespaces" has nsenter
    need hostname "the tests' hosts have names" has hostname
    need bind9 "the tests start their own DNS server" has named
    need nftables "the tests cut networks in two" has nft
    need faketime "the tests' hosts with wrong clocks" has faketime
    need bind9-dnsutils "the tests ask that server" has dig
    need g++ "builds the fuzzer" has c++
    need chromium "the page is tested in a browser" has chromium
}

# install PACKAGE...
install() {
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || fail "install as root: apt-get install $*"
        root=(sudo)
    fi
    has apt-get || fail "no apt-get here, install by other means: $*"
    echo "setup: installing $*"
    "${root[@]}" apt-get update --quiet=2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet=2 --no-install-recommends "$@"
}

case ${1:-} in
run) need_for_run ;;
test) need_for_test ;;
*) fail "say what for: run or test" ;;
esac

if [ ${#packages[@]} -gt 0 ]; then install "${packages[@]}"; fi
if [ ${#wanted[@]} -gt 0 ]; then
    (install "${wanted[@]}") || echo "setup: going on without ${wanted[*]}"
fi

if [ "$1" = test ] && ! cargo fuzz --version >/dev/null 2>&1; then
    echo "setup: installing cargo-fuzz"
    cargo install --quiet --locked cargo-fuzz@0.13.2
fi
