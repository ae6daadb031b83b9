#!/bin/sh
# Every branch of the core and of the dialects is taken by their own tests; prints the lines that are not and exits 2 if any.
set -eu
cd "$(dirname "$0")/.."
of="errors limits policy schedule windows selectors segments_json"
tests=$(for name in $of; do echo "tests/test_$name.py"; done)
sources=$(for name in $of rates convert 'dialects/*'; do printf '*/refreeze/%s.py,' "$name"; done)
folder=$(mktemp -d)
export COVERAGE_FILE="$folder/data" HYPOTHESIS_PROFILE=coverage
trap 'rm -rf "$folder"' EXIT
# shellcheck disable=SC2086  # one word a file
python -m coverage run -m pytest -q -n 2 --dist loadfile -p no:cacheprovider $tests tests/dialects
python -m coverage combine -q
python -m coverage report --include "$sources" --show-missing --skip-covered --fail-under 100
