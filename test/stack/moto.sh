#!/usr/bin/env bash
# moto, an independent imitation of AWS in Python: it says whether our requests and our reading of answers fit shapes that we did
# not write. Everything is in memory, any credentials are accepted.
name=moto
. "$(dirname "$0")/lib.sh"
signature=moto_server
requirements=$here/moto.requirements.txt
home=$cache/moto-$(sha256sum "$requirements" | cut -c1-12)

install() {
  [ -f "$home/ready" ] && return
  need python3 python3-venv
  echo "$name: installing with pip into $home"
  rm -rf "$home" && mkdir -p "$home"
  python3 -m venv "$home/venv" || die "python3 cannot make a virtual environment: install the package python3-venv"
  "$home/venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >"$home/pip.log" 2>&1 || {
    tail -n 20 "$home/pip.log" >&2
    die "pip could not install it"
  }
  touch "$home/ready"
}

launch() {
  exec "$home/venv/bin/moto_server" -H 127.0.0.1 -p "$1"
}

serve "$@"
