#!/usr/bin/env bash
# Asks helm itself about the chart: lints it and renders it with its own values and with each file of values/, and expects two faults to be refused.
# Takes the helm that is installed, or else builds one into bin/ (five minutes the first time).
set -euo pipefail
cd "$(dirname "$0")"
helm=$(command -v helm || true)
if [ -z "$helm" ]; then
  helm=$(cd ../.. && pwd)/bin/helm
  [ -x "$helm" ] || GOBIN=$(dirname "$helm") GOFLAGS= go install "helm.sh/helm/v3/cmd/helm@${HELM_VERSION:-v3.22.0}"
fi
"$helm" version --short

rendered=0
for values in "" values/*.yaml; do
  echo "== ${values:-own values}"
  "$helm" lint --strict dredge ${values:+-f "$values"}
  "$helm" template dredge dredge --namespace net --kube-version 1.31.0 ${values:+-f "$values"} | grep -E '^kind:' | sort | uniq -c
  rendered=$((rendered + 1))
done

# refused MESSAGE ARGUMENTS: rendering with the arguments must end with the message.
refused() {
  local want=$1 out
  shift
  if out=$("$helm" template dredge dredge --kube-version 1.31.0 "$@" 2>&1); then
    echo "helm: rendered with $*, which should be refused"
    exit 1
  fi
  grep -qF -- "$want" <<<"$out" || { echo "helm: $* is refused, but not for \"$want\": $out"; exit 1; }
}
refused "write hpa.enabled: false" --set hpa.enabled=true
refused "write the key in the secret" --set keda.token.name=dredge-tokens
echo "helm: rendered with $rendered files of values, 2 faults refused"
