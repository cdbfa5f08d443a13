#!/usr/bin/env bash
# The tests of test/integration against real servers and a real browser, and one short scenario of test/interop with Amazon's Java KCL in
# each of its modes (not when arguments are given). Installs what it needs (as root on Debian; elsewhere it
# says what is missing), keeps downloads in ${DREDGE_CACHE:-~/.cache/dredge}, and ends only what it started. Arguments go to
# `go test`, for example -run TestDemo. With DREDGE_SHOTS=folder, pictures of the page are saved there.
name=integration
. "$(dirname "$0")/stack/lib.sh"
cd "$here/../.."

need curl curl
need prometheus prometheus
need promtool prometheus
DREDGE_TEST_CHROMIUM=$(command -v chromium || command -v google-chrome || true)
if [ -z "$DREDGE_TEST_CHROMIUM" ]; then
  need chromium chromium
  DREDGE_TEST_CHROMIUM=$(command -v chromium)
fi

# A state folder of our own, so that servers that somebody started by hand live on.
DREDGE_STACK_STATE=$(mktemp -d)
export DREDGE_STACK_STATE DREDGE_TEST_CHROMIUM
cleanup() {
  test/stack/dynamodb-local.sh stop
  test/stack/kinesis-mock.sh stop
  test/stack/moto.sh stop
  test/stack/elasticmq.sh stop
  test/stack/druid.sh stop
  test/stack/kafka.sh stop
  rm -rf "$DREDGE_STACK_STATE"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

DREDGE_TEST_DYNAMODB=$(test/stack/dynamodb-local.sh start)
DREDGE_TEST_KINESIS=$(test/stack/kinesis-mock.sh start)
DREDGE_TEST_MOTO=$(test/stack/moto.sh start)
DREDGE_TEST_ELASTICMQ=$(test/stack/elasticmq.sh start)
DREDGE_TEST_KAFKA=$(test/stack/kafka.sh start)
DREDGE_TEST_DRUID=$(test/stack/druid.sh start | tr '\n' ' ')
export DREDGE_TEST_DYNAMODB DREDGE_TEST_KINESIS DREDGE_TEST_MOTO DREDGE_TEST_ELASTICMQ DREDGE_TEST_KAFKA DREDGE_TEST_DRUID
echo "$name: DynamoDB Local at $DREDGE_TEST_DYNAMODB, kinesis-mock at $DREDGE_TEST_KINESIS, Kafka at $DREDGE_TEST_KAFKA, Druid at $DREDGE_TEST_DRUID, $("$DREDGE_TEST_CHROMIUM" --version 2>/dev/null)"

log=$DREDGE_STACK_STATE/go-test.log
status=0
go test -tags integration -count=1 -timeout 14m -v "$@" ./test/integration/... 2>&1 | tee "$log" | grep -v '^=== ' || status=$?
if [ $# = 0 ]; then
  echo "$name: Amazon's Java KCL"
  TIMEOUT=8m test/interop/run.sh -run '^TestShort$' 2>&1 | tee -a "$log" | grep -v '^=== ' || status=$?
fi
# A pipe that filters can hide a failure; the counts below come from the log and the exit code from both.
passed=$(grep -c '^ *--- PASS' "$log" || true)
failed=$(grep -c '^ *--- FAIL' "$log" || true)
skipped=$(grep -c '^ *--- SKIP' "$log" || true)
deviations=$(grep -c 'a known deviation of this service' "$log" || true)
echo "$name: $passed passed, $failed failed, $skipped skipped, $deviations known deviations not checked, $SECONDS s"
[ "$status" = 0 ] && [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
