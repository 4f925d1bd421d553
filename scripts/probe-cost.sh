#!/usr/bin/env bash
# Prints one table: what a peer costs a host with 4 containers and 110 processes, and how soon a
# browser sees a container start. Uses the release build on a host made of namespaces; needs root.
#   DURATION=300  seconds over which CPU is counted with nobody looking
#   STARTS=100    containers started for the latency
set -euo pipefail

cd "$(dirname "$0")/.."
make --no-print-directory setup page
make --no-print-directory as-root COMMAND="test --quiet --release -p scope --test probe-cost"
