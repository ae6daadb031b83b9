#!/bin/sh
# Mutation testing with mutmut, whose results are in build/mutation afterwards: `tests/mutation/run.sh core` is an hour on
# two cores; `tests/mutation/run.sh core 'refreeze.policy*'` is some of it. Beside this file is what each part is.
set -eu
cd "$(dirname "$0")/../.."
part=${1:-core}
[ $# -eq 0 ] || shift
rm -rf build/mutation && mkdir -p build/mutation
cp -r tests LICENSE README.md CONTRIBUTING.md docs examples benchmarks build/mutation
cp -r reference build/mutation/src  # mutmut finds sources in src alone
cat pyproject.toml tests/mutation/common.toml "tests/mutation/$part.toml" > build/mutation/pyproject.toml
cd build/mutation
export HYPOTHESIS_PROFILE=mutants
mutmut run --max-children "${MUTMUT_CHILDREN:-2}" "$@"
mutmut results
