# Shared by the scripts that start real servers. Sourced, not run. A script sets `name` and calls `serve`.
#
#   DREDGE_CACHE        where packages are kept (default ~/.cache/dredge); safe to delete when nothing runs
#   DREDGE_STACK_STATE  where pid, port and log of what runs are kept (default $DREDGE_CACHE/run); test runs use one of their own
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DREDGE_CACHE:-$HOME/.cache/dredge}
state=${DREDGE_STACK_STATE:-$cache/run}

die() {
  echo "$name: $*" >&2
  exit 1
}

# need COMMAND PACKAGE: installs a Debian package if the command is missing and we are root, else says what to install. Tries a
# second time because the package lists of a fresh image are empty or old.
need() {
  command -v "$1" >/dev/null 2>&1 && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    die "the command $1 is missing: install the package $2"
  fi
  echo "$name: installing $2"
  # RUNLEVEL=1 keeps a package from starting its own service.
  install=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$2")
  "${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; } || die "installing $2 did not work"
}

# free_port prints a port on which nobody listens. It lies below the range of outgoing connections, so that none of those takes it
# before our server does.
free_port() {
  local port
  for _ in $(seq 50); do
    port=$((20000 + RANDOM % 10000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  die "found no free port"
}

# running succeeds if our server runs; a pid that now belongs to another program does not count.
running() {
  [ -f "$state/$name.pid" ] || return 1
  local pid
  pid=$(cat "$state/$name.pid")
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$signature"
}

url() { echo "http://127.0.0.1:$(cat "$state/$name.port")"; }

# start installs, runs the server and returns when it answers. It calls two functions of the script: `install`, and `launch
# PORT`, which replaces itself with the server.
start() {
  if running; then
    url
    return
  fi
  mkdir -p "$cache" "$state"
  install >&2
  local port pid
  for _ in 1 2 3; do # another program may take the port between the look and the bind
    port=$(free_port)
    (launch "$port") >"$state/$name.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$state/$name.pid"
    echo "$port" >"$state/$name.port"
    if answers "$port" "$pid"; then
      url
      return
    fi
  done
  tail -n 20 "$state/$name.log" >&2
  stop
  die "did not come up; its log is $state/$name.log"
}

# answers waits, at most a minute, until the port speaks HTTP; it fails at once if the server has ended.
answers() {
  local deadline=$((SECONDS + 60))
  until curl -s -o /dev/null --max-time 2 "http://127.0.0.1:$1/"; do
    kill -0 "$2" 2>/dev/null || return 1
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# stop ends the server that start started, and no other.
stop() {
  if running; then
    local pid deadline=$((SECONDS + 10))
    pid=$(cat "$state/$name.pid")
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do
      [ "$SECONDS" -lt "$deadline" ] || kill -9 "$pid" 2>/dev/null || true
      sleep 0.1
    done
  fi
  rm -f "$state/$name.pid" "$state/$name.port"
}

status() {
  if running; then
    echo "$name runs at $(url), pid $(cat "$state/$name.pid"), log $state/$name.log"
  else
    echo "$name does not run"
    return 1
  fi
}

serve() {
  case "${1:-}" in
  install) mkdir -p "$cache" && install ;;
  start | stop | status) "$1" ;;
  *)
    echo "usage: $0 start|stop|status|install    (start prints the endpoint)" >&2
    exit 2
    ;;
  esac
}
