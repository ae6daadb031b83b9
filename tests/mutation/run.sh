#!/bin/sh
# Mutation testing with mutmut, whose results are in build/mutation afterwards: `tests/mutation/run.sh core` is an hour on
# two cores; `tests/mutation/run.sh core 'refreeze.policy*'` is some of it. Beside this file is what each part is.
set -eu
cd "$(dirname "$0")/../.."
part=${1:-core}
[ $# -eq 0 ] || shift
marks="not engine and not slow and not peers"
# A mutant runs in a fork: TensorFlow hangs there, and torch does with more than one thread.
export OMP_NUM_THREADS=1 KERAS_BACKEND=torch
[ "$part" != keras ] || marks="not slow and not peers"
rm -rf build/mutation && mkdir -p build/mutation
cp -r tests LICENSE README.md CONTRIBUTING.md docs examples benchmarks build/mutation
cp -r reference build/mutation/src  # mutmut finds sources in src alone
cat pyproject.toml tests/mutation/common.toml "tests/mutation/$part.toml" > build/mutation/pyproject.toml
cd build/mutation
export HYPOTHESIS_PROFILE=mutants PYTEST_ADDOPTS="-q --no-header -p no:cacheprovider -m '$marks'"
mutmut run --max-children "${MUTMUT_CHILDREN:-2}" "$@"
mutmut results
