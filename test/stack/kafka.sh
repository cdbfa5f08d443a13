#!/usr/bin/env bash
# Apache Kafka 4.3.1, one KRaft node, from its Maven artifacts. `start` prints the bootstrap address.
name=kafka
. "$(dirname "$0")/lib.sh"
signature=kafka.Kafka
lock=$here/kafka.sha256
home=$cache/kafka-$(sha256sum "$lock" | cut -c1-12)
data=$state/kafka-data

install() {
  need java default-jre-headless
  [ -f "$home/verified" ] && return
  need mvn maven
  echo "$name: fetching with Maven into $home"
  rm -rf "$home" && mkdir -p "$home"
  cp "$here/kafka.pom.xml" "$home/pom.xml"
  (cd "$home" && mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory=lib >mvn.log 2>&1) || {
    cat "$home/mvn.log" >&2
    die "Maven could not fetch it"
  }
  (cd "$home" && sha256sum --quiet -c "$lock") || die "a file in $home/lib is not the one that $lock names"
  touch "$home/verified"
}

launch() {
  rm -rf "$data" && mkdir -p "$data"
  sed -e "s#@PORT@#$1#g; s#@CONTROLLER@#$(free_port)#g; s#@DATA@#$data#g" "$here/kafka.properties" >"$data/server.properties"
  jvm=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j.configurationFile="$here/log4j2.xml" -cp "$home/lib/*")
  java "${jvm[@]}" kafka.tools.StorageTool format --cluster-id MkU3OEVBNTcwNTJENDM2Qk --config "$data/server.properties"
  exec java -Xms384m -Xmx384m "${jvm[@]}" kafka.Kafka "$data/server.properties"
}

# Kafka does not speak HTTP: an open port is its sign of life.
answers() {
  local deadline=$((SECONDS + 90))
  until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
    kill -0 "$2" 2>/dev/null || return 1
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

url() { echo "127.0.0.1:$(cat "$state/$name.port")"; }

serve "$@"
