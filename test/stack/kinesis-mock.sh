#!/usr/bin/env bash
# kinesis-mock, in its build for Node.js (package kinesis-local). It would listen on all interfaces; kinesis-mock-loopback.js
# keeps it on loopback.
name=kinesis-mock
. "$(dirname "$0")/lib.sh"
version=0.6.2
signature=kinesis-local-$version/package/main.js
lock=$here/kinesis-mock.sha512
home=$cache/kinesis-local-$version

install() {
  need node nodejs
  [ -f "$home/verified" ] && return
  need npm npm
  echo "$name: fetching with npm into $home"
  rm -rf "$home" && mkdir -p "$home"
  (cd "$home" && npm pack --silent --no-update-notifier "kinesis-local@$version" >/dev/null 2>"$home/npm.log") || {
    cat "$home/npm.log" >&2
    die "npm could not fetch kinesis-local@$version"
  }
  (cd "$home" && sha512sum --quiet -c "$lock") || die "the package is not the one that $lock names"
  tar -xzf "$home/kinesis-local-$version.tgz" -C "$home"
  touch "$home/verified"
}

launch() {
  cd "$home/package" # it opens its certificate by a relative name
  # Port 0 for TLS: nobody uses it. Changes of a stream take 100 ms each, so that the states on the way are seen.
  export KINESIS_MOCK_PLAIN_PORT=$1 KINESIS_MOCK_TLS_PORT=0 LOG_LEVEL=ERROR SHARD_LIMIT=500
  export CREATE_STREAM_DURATION=100ms DELETE_STREAM_DURATION=100ms SPLIT_SHARD_DURATION=100ms MERGE_SHARDS_DURATION=100ms \
    UPDATE_SHARD_COUNT_DURATION=100ms REGISTER_STREAM_CONSUMER_DURATION=100ms DEREGISTER_STREAM_CONSUMER_DURATION=100ms
  exec node --require "$here/kinesis-mock-loopback.js" "$home/package/main.js"
}

serve "$@"
