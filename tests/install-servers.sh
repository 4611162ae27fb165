#!/bin/sh
# Fetches the servers that tests run, from Debian, into build/servers: nothing is installed, no service
# is started. Quick where they are there already. What cannot be had is said; its tests then say so.
set -u
cd "$(dirname "$0")/.." || exit 1

for pair in prometheus:prometheus promtool:prometheus; do
    program=${pair%%:*}
    package=${pair##*:}
    if command -v "$program" >/dev/null || [ -x "build/servers/usr/bin/$program" ]; then
        continue
    fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        echo "tests: $program is missing; the tests that need it are skipped" >&2
        continue
    fi
    mkdir -p build/servers && cd build/servers || exit 1
    apt-get download -qq "$package" >/dev/null 2>&1 ||
        { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq "$package"; } >/dev/null 2>&1
    dpkg -x "$package"_*.deb . 2>/dev/null ||
        echo "tests: $program could not be had; the tests that need it are skipped" >&2
    rm -f "$package"_*.deb
    cd ../.. || exit 1
done
exit 0
