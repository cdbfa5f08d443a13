#!/usr/bin/env bash
# Builds the Java KCL workers (JDK 17 or newer and Maven) and runs the interop scenarios against it. Jars are cached outside
# the repository, in ${DREDGE_CACHE:-~/.cache/dredge}. DREDGE_KCL_LOG=info makes the library tell more.
set -euo pipefail
cd "$(dirname "$0")"
cache="${DREDGE_CACHE:-$HOME/.cache/dredge}/kcl-worker"

need() {
  command -v "$1" >/dev/null 2>&1 && return
  if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
    return
  fi
  echo "interop: $1 is needed; install $2" >&2
  exit 1
}
need javac openjdk-17-jdk-headless
need mvn maven

# The worker is built with two versions of the library: the newest, and the last of 2.x.
stamp=$(cat java/pom.xml java/src/main/java/*.java | sha256sum | cut -c1-16)
for version in 3.5.1 2.7.2; do
  if [ ! -f "$cache/$version/$stamp" ]; then
    echo "building the worker with KCL $version in $cache"
    rm -rf "${cache:?}/$version" && mkdir -p "$cache/$version"
    cp -r java/. "$cache/$version/"
    (cd "$cache/$version" && mvn -q -B -Dkcl.version="$version" package)
    touch "$cache/$version/$stamp"
  fi
done
DREDGE_KCL_WORKER="$cache" exec go test -tags interop -count=1 -timeout "${TIMEOUT:-60m}" -v "${@:-.}"
