#!/usr/bin/env bash
# Builds the image and runs it as a cluster would: user 65532, read-only root, no privileges.
#
#   deploy/image/check.sh             a base is made with debootstrap (kept in build/image-base)
#   PYTHON_IMAGE=… deploy/image/check.sh
#
# Needs root, and buildah and debootstrap of Debian; no container engine, no registry. Where they are
# missing it says so and ends with status 3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf 'image: %s\n' "$*"; }
give_up() {
  printf '\n***** THE IMAGE WAS NOT CHECKED: %s *****\n\n' "$*" >&2
  exit 3
}
fail() {
  printf 'image: FAILED: %s\n' "$*" >&2
  [[ -f ${work:-}/serve.log ]] && cat "$work/serve.log" >&2
  exit 1
}

((EUID == 0)) || give_up 'it needs root'
command -v buildah >/dev/null || give_up 'buildah is not installed (Debian: buildah)'
unshare --mount true 2>/dev/null || give_up 'this machine forbids mounts of its own'

work=$(mktemp -d)
pids=()
cleanup() {
  ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
  wait
  buildah_ rm --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
buildah_() {
  buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}
trap cleanup EXIT

# -- build -----------------------------------------------------------------------------------------
python_image=${PYTHON_IMAGE:-}
if [[ -z $python_image ]]; then
  base=build/image-base
  if [[ ! -e $base/.complete ]]; then
    command -v debootstrap >/dev/null || give_up 'debootstrap is not installed (Debian: debootstrap)'
    say 'making a base with debootstrap'
    rm -rf "$base"
    mkdir -p "$base"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates stable "$base" \
      ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" 2>&1 ||
      give_up "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
    touch "$base/.complete"
  fi
  python_image=localhost/python-base
  container=$(buildah_ from scratch)
  buildah_ add -q "$container" "$base" / >/dev/null
  buildah_ commit -q "$container" "$python_image" >/dev/null
fi

say 'building'
# This machine's certificate authorities are mounted, not copied: it may sit behind a proxy of its own.
buildah_ bud --format docker --isolation chroot --network host \
  --volume /etc/ssl/certs:/etc/ssl/certs:ro --build-arg "PYTHON_IMAGE=$python_image" \
  --build-arg "PIP_INDEX_URL=${PIP_INDEX_URL:-}" --tag localhost/wxproxy:check . \
  >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; fail 'the build'; }

# -- what the image says of itself -----------------------------------------------------------------
inspect() { buildah_ inspect --type image --format "{{$1}}" localhost/wxproxy:check; }
user=$(inspect .Docker.Config.User)
[[ $user == 65532:65532 ]] || fail "its user is $user"
read -ra command <<<"$(inspect 'range .Docker.Config.Entrypoint}}{{.}} {{end')"
read -ra serve <<<"$(inspect 'range .Docker.Config.Cmd}}{{.}} {{end')"
# The first word is CMD: the rest runs without a shell.
read -ra health <<<"$(inspect 'range .Docker.Config.Healthcheck.Test}}{{.}} {{end')"
path=$(inspect 'range .Docker.Config.Env}}{{println .}}{{end' | sed -n 's/^PATH=//p')

# -- run -------------------------------------------------------------------------------------------
container=$(buildah_ from localhost/wxproxy:check)
root=$(buildah_ mount "$container")
for tool in pip gcc cc; do
  ! chroot "$root" /usr/bin/env PATH="$path" sh -c "command -v $tool" >/dev/null ||
    fail "$tool is in the image"
done

free_port() {
  python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
wechat=$(free_port) proxy=$(free_port) ops=$(free_port)

# Runs a command of the image with its user, on its root made read-only, /tmp apart.
in_image() {
  # The inner shell expands these.
  # shellcheck disable=SC2016
  exec unshare --mount --propagation private bash -c '
    set -e
    root=$1 user=$2; shift 2
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    exec setpriv --no-new-privs \
      chroot --userspec="$user" --groups= "$root" "$@"
  ' in_image "$root" "$user" /usr/bin/env -i PATH="$path" PYTHONDONTWRITEBYTECODE=1 \
    WXPROXY_APPID=wxsandbox0000000001 WXPROXY_SECRET=sandbox-secret-1 \
    WXPROXY_UPSTREAM="http://127.0.0.1:$wechat" WXPROXY_LISTEN="127.0.0.1:$proxy" \
    WXPROXY_OPS_LISTEN="127.0.0.1:$ops" "$@"
}
get() { # path and what its body must hold
  python3 - "$1" "$2" <<'EOF'
import sys, urllib.request
url, wanted = sys.argv[1:]
with urllib.request.urlopen(url, timeout=10) as reply:
    sys.exit(wanted not in reply.read().decode())
EOF
}

say 'running'
(in_image "${command[@]}" sandbox --quiet --listen "127.0.0.1:$wechat" >/dev/null 2>&1) &
pids+=($!)
(in_image "${command[@]}" "${serve[@]}" >"$work/serve.log" 2>&1) &
pids+=($!)
sidecar=$!

(in_image "${command[@]}" wait --timeout 20) || fail 'it did not start'
(in_image "${health[@]:1}") || fail 'its health check'
grep -q '^Uid:.65532.65532' "/proc/$sidecar/status" || fail 'it does not run as 65532'
grep -q '^CapEff:.0*$' "/proc/$sidecar/status" || fail 'it has privileges'
if (in_image touch /opt/wxproxy/written 2>/dev/null); then fail 'its root can be written to'; fi
for probe in startupz:started livez:alive readyz:ready metrics:wxproxy_build_info; do
  get "http://127.0.0.1:$ops/${probe%%:*}" "${probe##*:}" || fail "/${probe%%:*}"
done
get "http://127.0.0.1:$proxy/cgi-bin/user/get" openid || fail 'a call through it'
# Larger than what is kept in memory, so that it needs /tmp.
head -c 3000000 /dev/zero >"$work/upload"
python3 - "http://127.0.0.1:$proxy/sandbox/sink" "$work/upload" <<'EOF' || fail 'an upload of 3 MB'
import pathlib, sys, urllib.request
url, file = sys.argv[1:]
with urllib.request.urlopen(url, pathlib.Path(file).read_bytes(), timeout=30) as reply:
    sys.exit(b"3000000" not in reply.read())
EOF

kill -TERM "$sidecar"
SECONDS=0
status=0
wait "$sidecar" || status=$?
((status == 0 && SECONDS <= 2)) || fail "after SIGTERM: status $status after $SECONDS s"
say 'built; runs as 65532 on a read-only root; probes, health check, calls and SIGTERM are fine'
