#!/usr/bin/env bash
# Runs every fuzz target of the repository for ${FUZZTIME:-30s}, one after the other. Arguments are regular expressions that a
# target's name, as folder.FuzzName, must match. A failing input is kept by Go in the package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=() ran=0
while IFS=: read -r file target; do
  dir=$(dirname "$file")
  for pattern in "$@"; do
    [[ "$dir.$target" =~ $pattern ]] || continue 2
  done
  echo "== ${dir#./} $target"
  ran=$((ran + 1))
  go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "./${dir#./}" || failed+=("${dir#./}.$target")
done < <(grep -rno --include='*_test.go' -E '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's/^([^:]+):[0-9]+:func /\1:/' | sort)

echo "fuzz: $ran targets, ${#failed[@]} failed ${failed[*]-}"
[ "$ran" -gt 0 ] && [ "${#failed[@]}" = 0 ]
