#!/usr/bin/env bash
# Amazon's DynamoDB Local. It has no option for the address and listens on all interfaces; tables are in memory and any
# credentials are accepted, so do not leave it running on a machine that others can reach.
name=dynamodb-local
. "$(dirname "$0")/lib.sh"
signature=software.amazon.dynamodb.services.local.main.ServerRunner
lock=$here/dynamodb-local.sha256
home=$cache/dynamodb-local-$(sha256sum "$lock" | cut -c1-12)

install() {
  need java default-jre-headless
  [ -f "$home/verified" ] && return
  need mvn maven
  echo "$name: fetching with Maven into $home"
  rm -rf "$home" && mkdir -p "$home"
  cp "$here/dynamodb-local.pom.xml" "$home/pom.xml"
  (cd "$home" && mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory=lib >mvn.log 2>&1) || {
    cat "$home/mvn.log" >&2
    die "Maven could not fetch it"
  }
  (cd "$home" && sha256sum --quiet -c "$lock") || die "a file in $home/lib is not the one that $lock names"
  touch "$home/verified"
}

launch() {
  cd "$home"
  # Without -disableTelemetry it calls home. -sharedDb: one set of tables whatever region and key a client signs with.
  exec java -Xmx256m -Djava.library.path=lib -cp 'lib/*' "$signature" -inMemory -sharedDb -disableTelemetry -port "$1"
}

serve "$@"
