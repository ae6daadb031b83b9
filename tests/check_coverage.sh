#!/bin/sh
# Every branch of the core and of vl3d is taken by their own tests; prints the lines that are not and exits 2 if any.
set -eu
cd "$(dirname "$0")/.."
of="errors policy schedule windows selectors wire"
tests=$(for name in $of vl3d; do echo "tests/test_$name.py"; done)
sources=$(for name in $of dialects/vl3d; do printf '*/refreeze/%s.py,' "$name"; done)
COVERAGE_FILE=$(mktemp)
export COVERAGE_FILE HYPOTHESIS_PROFILE=coverage
trap 'rm -f "$COVERAGE_FILE"' EXIT
# shellcheck disable=SC2086  # one word a file
python -m coverage run --branch -m pytest -q -p no:cacheprovider $tests
python -m coverage report --include "$sources" --show-missing --skip-covered --fail-under 100
