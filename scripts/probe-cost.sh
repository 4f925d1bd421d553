#!/usr/bin/env bash
# Prints one table: what a peer costs its host under each load, and how soon a browser sees a container start. Uses the
# release build on hosts made of namespaces; needs root.
#   scripts/probe-cost.sh                       all of them: twenty minutes
#   scripts/probe-cost.sh containers short      these: quiet, containers, connections, short, processes, starts
#   scripts/probe-cost.sh soak                  memory over half an hour in which containers and connections come and go
#   DURATION=60  seconds over which each peer is measured   WARM_UP=30  seconds before that
#   STARTS=100   containers started for the latency         MINUTES=30  length of the soak
set -euo pipefail

cd "$(dirname "$0")/.."
make --no-print-directory setup page
# Runs in containers that have no libraries.
cargo rustc --locked --quiet --release --package scope --example traffic -- -C target-feature=+crt-static -C strip=symbols
make --no-print-directory as-root COMMAND="test --locked --quiet --release --package scope --test probe-cost -- $*"
