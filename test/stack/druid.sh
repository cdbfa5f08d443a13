#!/usr/bin/env bash
# Apache Druid 33.0.0 with its ZooKeeper, from Maven artifacts; data are thrown away at every start. `start` prints one line per role
# that clients talk to: the overlord's address, then the broker's.
#
#   DREDGE_DRUID_LAYOUT=one   (default) ZooKeeper and all roles in one JVM, a class loader each: 1.0 GB
#   DREDGE_DRUID_LAYOUT=many  a JVM per role, the coordinator being the overlord, too: 1.5 GB
#   DREDGE_DRUID_LAYOUT=ha    two overlords beside the coordinator (which has the metadata store), a router before them, and a middle
#                             manager, whose tasks are processes of their own (peons): 3 to 4 GB
#
# Beside the usual commands, with a JVM per role: `kill ROLE` ends it with SIGKILL, `revive ROLE` starts it again on its data. Layout ha
# also has `kill leader`, which prints the overlord that it was, and `kill peon`, which prints the task.
name=druid
. "$(dirname "$0")/lib.sh"
lock=$here/druid.sha256
home=$cache/druid-$(sha256sum "$lock" | cut -c1-12)
data=$state/druid-data
layout=${DREDGE_DRUID_LAYOUT:-one}
front=coordinator # who answers for the overlord
[ "$layout" != ha ] || front=router
roles=(zookeeper coordinator historical indexer broker)
[ "$layout" != ha ] || roles=(zookeeper coordinator overlord overlord2 historical middleManager broker router)
jvm=(-server -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -Duser.timezone=UTC -Dfile.encoding=UTF-8
  -Djava.io.tmpdir="$data/tmp" -Dlog4j.configurationFile="$here/log4j2.xml" -Dlog4j2.configurationFile="$here/log4j2.xml"
  # Druid on Java 17 does not start without these.
  --add-exports=java.base/jdk.internal.misc=ALL-UNNAMED --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED
  --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
  --add-opens=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED
  --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED)

install() {
  need javac default-jdk-headless
  [ -f "$home/verified" ] && return
  need mvn maven
  echo "$name: fetching with Maven into $home (200 MB)"
  rm -rf "$home" && mkdir -p "$home"
  cp -r "$here/druid" "$home/maven"
  (cd "$home/maven" && mvn -q -B -Dstyle.color=never -s settings.xml generate-resources >mvn.log 2>&1) || {
    cat "$home/maven/mvn.log" >&2
    die "Maven could not fetch it"
  }
  mv "$home/maven/jars/lib" "$home/maven/jars/extensions" "$home/"
  (cd "$home" && sha256sum --quiet -c "$lock") || die "a file in $home is not the one that $lock names"
  javac -nowarn -d "$home/one" "$here/druid/StackInOne.java"
  javac -nowarn -d "$home/role" -cp "$home/lib/*" "$here/druid/DruidRole.java"
  touch "$home/verified"
}

port_of() { cat "$state/druid.$1.port"; }

# spawn ROLE COMMAND...: in the background, with log and pid by name.
spawn() {
  local role=$1
  shift
  (cd "$data" && exec "$@") >>"$state/druid.$role.log" 2>&1 </dev/null &
  echo $! >"$state/druid.$role.pid"
}

# alive ROLE: a pid that now belongs to another program does not count.
alive() {
  local pid
  pid=$(cat "$state/druid.$1.pid" 2>/dev/null) || return 1
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$home"
}

# await ROLE SECONDS COMMAND...: until COMMAND succeeds; fails at once if the role's process has ended.
await() {
  local role=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! alive "$role" || [ "$SECONDS" -ge "$deadline" ]; then
      tail -n 20 "$state/druid.$role.log" >&2
      stop
      die "$role is not ready ($*)"
    fi
    sleep 0.2
  done
}

get() { curl -sf -m 5 "http://127.0.0.1:$(port_of "$1")$2"; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$(port_of "$1")"); }
answers() { # ROLE
  local path=/status/health
  case $1 in
  coordinator) [ "$layout" = ha ] || path=/druid/indexer/v1/isLeader ;;
  historical | broker) path=/druid/$1/v1/readiness ;;
  esac
  get "$1" "$path"
}
leads() { get "$1" /druid/indexer/v1/isLeader; } # any other overlord answers 404
led() { leads overlord || leads overlord2; }
workers() { get "$front" /druid/indexer/v1/workers | grep -q '"capacity"'; }
servers() {
  local s
  s=$(curl -sf -m 5 -H 'Content-Type: application/json' -d '{"query":"SELECT server_type FROM sys.servers"}' \
    "http://127.0.0.1:$(port_of broker)/druid/v2/sql")
  [[ $s == *historical* && ($s == *indexer* || $layout == ha) ]] # a middle manager serves no rows itself
}
# peons prints the pids of tasks that are processes.
peons() {
  local f
  for f in /proc/[0-9]*/cmdline; do
    if tr '\0' ' ' 2>/dev/null <"$f" | grep -qF -- "internal peon $data/"; then
      f=${f#/proc/}
      echo "${f%/cmdline}"
    fi
  done
}

render() {
  rm -rf "$data" "$state"/druid.*.log && mkdir -p "$data"/{tmp,zk}
  cp -r "$here/druid/conf" "$data/conf"
  local role edits="s#@HOME@#$home#g; s#@DATA@#$data#g; s#@LOG4J@#$here/log4j2.xml#g"
  if [ "$layout" = ha ]; then
    cp -r "$data/conf/overlord" "$data/conf/overlord2"
    sed -i 's#@OVERLORD@#@OVERLORD2@#' "$data/conf/overlord2/runtime.properties"
    sed -i '/asOverlord/d; /^druid.indexer/d' "$data/conf/coordinator/runtime.properties"
    sed -i 's#^druid.selectors.indexing.serviceName=.*#druid.selectors.indexing.serviceName=druid/overlord#' "$data/conf/_common/common.runtime.properties"
  fi
  for role in zookeeper derby coordinator broker historical indexer overlord overlord2 middleManager peon router; do
    free_port >"$state/druid.$role.port"
    local key=${role^^}
    [ "$role" = zookeeper ] && key=ZK
    edits+="; s#@$key@#$(port_of "$role")#g"
  done
  find "$data/conf" -type f -exec sed -i "$edits" {} +
}

role() { # NAME
  local heap direct=64m
  case $1 in
  coordinator) heap=512m ;;
  overlord | overlord2) heap=384m ;;
  middleManager | router) heap=128m ;;
  broker) heap=384m direct=200m ;;
  historical) heap=320m direct=200m ;;
  indexer) heap=768m direct=300m ;;
  *) die "there is no role $1" ;;
  esac
  spawn "$1" java "${jvm[@]}" -Djava.util.logging.manager=org.apache.logging.log4j.jul.LogManager -Xms"$heap" -Xmx"$heap" \
    -XX:MaxDirectMemorySize="$direct" -cp "$data/conf/_common:$data/conf/$1:$home/lib/*" org.apache.druid.cli.Main server "${1%2}"
}

in_one() { # the argument of StackInOne for a role
  echo "$1|-|DruidRole|$home/role/,$home/lib/*|Cli${1^},$data/conf/_common/common.runtime.properties,$data/conf/$1/runtime.properties"
}

start() {
  if running; then
    url
    return
  fi
  mkdir -p "$cache" "$state"
  install >&2
  render
  if [ "$layout" = one ]; then
    spawn one java "${jvm[@]}" -Xms1g -Xmx1g -XX:MaxDirectMemorySize=600m -cp "$home/one" StackInOne \
      "zookeeper|-|org.apache.zookeeper.server.quorum.QuorumPeerMain|$home/lib/*|$data/conf/zoo.cfg" \
      "$(in_one coordinator)" "$(in_one historical)" "$(in_one indexer)" "$(in_one broker)"
    c=one h=one i=one b=one
  else
    spawn zookeeper java -Xms64m -Xmx64m -cp "$home/lib/*" org.apache.zookeeper.server.quorum.QuorumPeerMain "$data/conf/zoo.cfg"
    await zookeeper 30 listens zookeeper
    for r in "${roles[@]:1}"; do role $r; done
    c=coordinator h=historical i=indexer b=broker
  fi
  await $c 480 answers coordinator
  await $h 480 answers historical
  if [ "$layout" = ha ]; then
    for r in overlord overlord2 middleManager router; do await $r 480 answers $r; done
    await overlord 60 led
  else
    await $i 480 answers indexer
  fi
  await $b 480 answers broker
  await $c 60 workers
  await $b 60 servers
  url
}

url() {
  echo "http://127.0.0.1:$(port_of "$front")"
  echo "http://127.0.0.1:$(port_of broker)"
}

running() { alive one || alive coordinator; }

# stop ends Druid before ZooKeeper, without which it does not end. The one-JVM layout never ends on TERM for that reason.
stop() {
  local role pid deadline
  for role in one router broker historical overlord overlord2 coordinator indexer middleManager zookeeper; do
    [ "$role" != zookeeper ] || for pid in $(peons); do kill -9 "$pid" 2>/dev/null || true; done # they outlive their middle manager for a moment
    if alive "$role"; then
      pid=$(cat "$state/druid.$role.pid")
      if [ "$role" = one ]; then kill -9 "$pid"; else kill "$pid"; fi
      deadline=$((SECONDS + 5))
      while kill -0 "$pid" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || kill -9 "$pid" 2>/dev/null || true
        sleep 0.1
      done
    fi
    rm -f "$state/druid.$role.pid"
  done
  rm -f "$state"/druid.*.port
}

status() {
  local role some=1
  for role in one "${roles[@]}"; do
    if alive "$role"; then
      some=0
      echo "$name: $role, pid $(cat "$state/druid.$role.pid"), log $state/druid.$role.log"
    fi
  done
  if [ "$some" = 0 ]; then
    echo "$name: overlord and broker at $(url | tr '\n' ' ')"
  else
    echo "$name does not run"
  fi
  return $some
}

case "${1:-}" in
kill)
  victim=$2
  if [ "$victim" = peon ]; then
    pid=$(peons | shuf -n 1)
    [ -n "$pid" ] || die "no task runs"
    tr '\0' ' ' <"/proc/$pid/cmdline" | sed -n 's#.*/\(index_[^/]*\)/.*#\1#p'
    kill -9 "$pid"
    exit
  fi
  if [ "$victim" = leader ]; then
    victim=overlord
    leads overlord2 >/dev/null && victim=overlord2
    echo "$victim"
  fi
  alive "$victim" || die "$victim does not run"
  kill -9 "$(cat "$state/druid.$victim.pid")"
  ;;
revive)
  if ! alive "$2"; then
    [ -f "$state/druid.$2.port" ] || die "$2 was never started"
    role "$2"
  fi
  deadline=$((SECONDS + 240))
  until answers "$2" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || die "$2 did not come up; its log is $state/druid.$2.log"
    sleep 0.2
  done
  ;;
*) serve "$@" ;;
esac
