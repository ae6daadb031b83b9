#!/bin/sh
# Branches are taken by the tests of what they are in; prints the lines that are not and exits 2 if they are too many:
# `tests/check_coverage.sh` for the core and the dialects, all branches; `kit`, all, too; `keras` and `torch`, 95 % of each.
# `keras` is the engine on TensorFlow: what JAX and torch alone run is run by `tox -e jax` and `tox -e keras-torch`.
set -eu
cd "$(dirname "$0")/.."
least=100 omit='' marks="not slow and not peers and not torch"
case "${1:-core}" in
core)
  of="errors limits policy schedule windows selectors segments_json"
  tests="$(for name in $of; do echo "tests/test_$name.py"; done) tests/dialects"
  sources=$(for name in $of rates convert 'dialects/*'; do printf '*/refreeze/%s.py,' "$name"; done) ;;
kit)
  tests="tests/conformance tests/test_cli.py tests/test_loading.py tests/pytorch/test_torch_executors.py"
  sources='*/refreeze/conformance/*' marks="not slow and not peers" ;;
keras)
  tests="tests/keras tests/conformance/test_kit_executors.py"
  sources='*/refreeze/keras/*' omit='*/backends/jax*,*/backends/torch.py' least=95 ;;
torch) tests="tests/pytorch" sources='*/refreeze/torch/*' least=95 marks="torch and not slow and not peers" ;;
esac
folder=$(mktemp -d)
export COVERAGE_FILE="$folder/data" HYPOTHESIS_PROFILE=coverage
trap 'rm -rf "$folder"' EXIT
# shellcheck disable=SC2086  # one word a file
python -m coverage run -m pytest -q -n 2 --dist loadfile -p no:cacheprovider -m "$marks" $tests
python -m coverage combine -q
python -m coverage report --include "$sources" --omit "$omit" --show-missing --skip-covered --fail-under "$least"
