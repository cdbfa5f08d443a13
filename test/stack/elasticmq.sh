#!/usr/bin/env bash
# ElasticMQ 1.6.12, an independent SQS, from its Maven artifacts. Everything is in memory, any credentials are accepted.
name=elasticmq
. "$(dirname "$0")/lib.sh"
signature=org.elasticmq.server.Main
lock=$here/elasticmq.sha256
home=$cache/elasticmq-$(sha256sum "$lock" | cut -c1-12)

install() {
  need java default-jre-headless
  [ -f "$home/verified" ] && return
  need mvn maven
  echo "$name: fetching with Maven into $home"
  rm -rf "$home" && mkdir -p "$home"
  cp "$here/elasticmq.pom.xml" "$home/pom.xml"
  (cd "$home" && mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory=lib >mvn.log 2>&1) || {
    cat "$home/mvn.log" >&2
    die "Maven could not fetch it"
  }
  (cd "$home" && sha256sum --quiet -c "$lock") || die "a file in $home/lib is not the one that $lock names"
  touch "$home/verified"
}

launch() {
  exec java -Xms128m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Drest-sqs.bind-hostname=127.0.0.1 -Drest-sqs.bind-port="$1" \
    -Dnode-address.host=127.0.0.1 -Dnode-address.port="$1" -Drest-stats.enabled=false -cp "$home/lib/*" org.elasticmq.server.Main
}

serve "$@"
