#!/usr/bin/env bash
# Apache Kafka 4.3.1 in KRaft mode, from its Maven artifacts; data are thrown away at every start. `start` prints the bootstrap
# addresses, with commas.
#
#   DREDGE_KAFKA_BROKERS=3           nodes, each a broker and a controller (default 1); from 3 on everything has 3 replicas, of which 2 must be in sync
#   DREDGE_KAFKA_PROXIES="P1 P2 P3"  a further listener for each node, whose clients are told these ports; kafka.N.proxied in the state
#                                    folder holds the node's own port, to which whoever listens at P passes on
#
# Beside the usual commands: `kill N` ends node N with SIGKILL, `revive N` starts it again on its data.
name=kafka
. "$(dirname "$0")/lib.sh"
lock=$here/kafka.sha256
home=$cache/kafka-$(sha256sum "$lock" | cut -c1-12)
data=$state/kafka-data
jvm=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j.configurationFile="$here/log4j2.xml" -cp "$home/lib/*")

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

# nodes lists the numbers of the nodes that were started.
nodes() { seq "$(cat "$state/kafka.nodes" 2>/dev/null || echo 0)"; }

pid_of() { cat "$state/kafka.$1.pid" 2>/dev/null; }

# alive N: a pid that now belongs to another program does not count.
alive() {
  local pid
  pid=$(pid_of "$1") || return 1
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$data/$1.properties"
}

running() {
  local n
  for n in $(nodes); do
    if alive "$n"; then return; fi
  done
  return 1
}

url() {
  local n list=()
  for n in $(nodes); do list+=("127.0.0.1:$(cat "$state/kafka.$n.port")"); done
  (IFS=, && echo "${list[*]}")
}

# render writes the settings of all nodes.
render() {
  local n count=$1 voters=() replicas=1 insync=1 listener advertised
  local -a proxies=(${DREDGE_KAFKA_PROXIES:-})
  local -A controller
  if [ "$count" -ge 3 ]; then replicas=3 insync=2; fi
  rm -rf "$data" && mkdir -p "$data"
  echo "$count" >"$state/kafka.nodes"
  for n in $(seq "$count"); do
    free_port >"$state/kafka.$n.port"
    controller[$n]=$(free_port)
    voters+=("$n@127.0.0.1:${controller[$n]}")
  done
  for n in $(seq "$count"); do
    listener='' advertised=''
    if [ -n "${proxies[n - 1]:-}" ]; then
      free_port >"$state/kafka.$n.proxied"
      listener=",PROXIED://127.0.0.1:$(cat "$state/kafka.$n.proxied")" advertised=",PROXIED://127.0.0.1:${proxies[n - 1]}"
    fi
    sed -e "s#@PROXIED@#$listener#; s#@ADVERTISED@#$advertised#" -e "s#@NODE@#$n#g; s#@PORT@#$(cat "$state/kafka.$n.port")#g; s#@CONTROLLER@#${controller[$n]}#g; s#@DATA@#$data/$n#g" \
      -e "s#@VOTERS@#$(IFS=, && echo "${voters[*]}")#g; s#@REPLICAS@#$replicas#g; s#@INSYNC@#$insync#g" \
      "$here/kafka.properties" >"$data/$n.properties"
    java "${jvm[@]}" kafka.tools.StorageTool format --cluster-id MkU3OEVBNTcwNTJENDM2Qk --config "$data/$n.properties" >"$state/kafka.$n.log" 2>&1
  done
}

launch() { # NODE
  (exec java -Xms384m -Xmx384m "${jvm[@]}" kafka.Kafka "$data/$1.properties") >>"$state/kafka.$1.log" 2>&1 </dev/null &
  echo $! >"$state/kafka.$1.pid"
}

# answers NODE: Kafka does not speak HTTP; an open port is its sign of life.
answers() {
  local deadline=$((SECONDS + 90)) port
  port=$(cat "$state/kafka.$1.port")
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    kill -0 "$(pid_of "$1")" 2>/dev/null || return 1
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

up() {
  local n
  for n in $(nodes); do launch "$n"; done
  for n in $(nodes); do answers "$n" || return 1; done
}

start() {
  if running; then
    url
    return
  fi
  mkdir -p "$cache" "$state"
  install >&2
  for _ in 1 2 3; do # another program may take a port between the look and the bind
    render "${DREDGE_KAFKA_BROKERS:-1}"
    if up; then
      url
      return
    fi
    halt
  done
  tail -n 20 "$state"/kafka.*.log >&2
  stop
  die "did not come up; its logs are $state/kafka.*.log"
}

# halt ends the nodes that start started, and no other process.
halt() {
  local n pid deadline=$((SECONDS + 10))
  for n in $(nodes); do
    if alive "$n"; then kill "$(pid_of "$n")"; fi
  done
  for n in $(nodes); do
    if ! alive "$n"; then continue; fi
    pid=$(pid_of "$n")
    while kill -0 "$pid" 2>/dev/null; do
      [ "$SECONDS" -lt "$deadline" ] || kill -9 "$pid" 2>/dev/null || true
      sleep 0.1
    done
  done
}

stop() {
  halt
  rm -f "$state"/kafka.*.pid "$state"/kafka.*.port "$state"/kafka.*.proxied "$state/kafka.nodes"
}

status() {
  local n some=1
  for n in $(nodes); do
    if alive "$n"; then
      some=0
      echo "$name: node $n, pid $(pid_of "$n"), log $state/kafka.$n.log"
    fi
  done
  if [ "$some" = 0 ]; then
    echo "$name runs at $(url)"
  else
    echo "$name does not run"
  fi
  return $some
}

case "${1:-}" in
kill)
  alive "$2" || die "node $2 does not run"
  kill -9 "$(pid_of "$2")"
  ;;
revive)
  alive "$2" || launch "$2"
  answers "$2" || die "node $2 did not come up; its log is $state/kafka.$2.log"
  ;;
*) serve "$@" ;;
esac
