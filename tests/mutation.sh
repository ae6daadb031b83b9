#!/bin/sh
# Mutation testing of the core and of the dialects with mutmut, whose results are in build/mutation afterwards:
# `tests/mutation.sh` for all, about an hour on two cores, or `tests/mutation.sh 'refreeze.policy*'` for some.
set -eu
cd "$(dirname "$0")/.."
rm -rf build/mutation && mkdir -p build/mutation
cp -r tests pyproject.toml README.md LICENSE CONTRIBUTING.md docs examples build/mutation
cp -r reference build/mutation/src  # mutmut finds sources in src alone
cd build/mutation
export HYPOTHESIS_PROFILE=mutants
mutmut run --max-children ${MUTMUT_CHILDREN:-2} "$@"
mutmut results
