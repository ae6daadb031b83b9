#!/bin/sh
# The laws of the engine and the costs of a switch, on what this machine has: benchmarks/gpu.sh [FOLDER OF WHEELS] [OUT]
#
# Needs Python 3.11 with JAX or torch; what else is needed is installed from the folder, without network. Fill it where
# there is one, with the Python and the processor of the machine to be measured:
#     pip download --only-binary :all: -d wheels keras msgspec typer rich pyyaml hypothesis pytest matplotlib
#     pip download --no-deps -d wheels optax
# Ends within 9 minutes: what is not done by then is left out, and named at the end. The report is OUT/report.md.
set -u
cd "$(dirname "$0")/.." || exit 2
wheels=${1:-} out=${2:-gpu-out} python=${PYTHON:-python} end=$(($(date +%s) + 470)) failed=
mkdir -p "$out"
if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --find-links "$wheels" \
        keras msgspec typer rich pyyaml hypothesis pytest matplotlib || exit 2
    "$python" -m pip install --quiet --no-index --find-links "$wheels" --no-deps optax
fi
export PYTHONPATH="$PWD/reference" XLA_PYTHON_CLIENT_PREALLOCATE=false TF_CPP_MIN_LOG_LEVEL=2

part() { # part SECONDS NAME COMMAND...: at most so long, and not past the end
    left=$((end - $(date +%s))) limit=$1 name=$2
    shift 2
    [ "$left" -gt "$limit" ] || limit=$left
    echo "$name ..."
    [ "$limit" -gt 5 ] && timeout "$limit" "$@" > "$out/$name.txt" 2>&1 && return
    failed="$failed $name"
    tail -n 2 "$out/$name.txt" 2> /dev/null
}

has() { "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"; }

for backend in jax torch tensorflow; do
    has "$backend" || continue
    export KERAS_BACKEND=$backend
    part 80 "$backend-small" "$python" benchmarks/backends.py "$out/$backend-small.json" small
    part 120 "$backend-laws" "$python" -m refreeze.cli verify refreeze.conformance.reference:execution \
        --level execution --report "$out/$backend-laws.json"
    part 240 "$backend-mobilenet" "$python" benchmarks/backends.py "$out/$backend-mobilenet.json" mobilenet
done
has torch && part 100 peers-torch "$python" benchmarks/backends_peers.py "$out/peers-torch.json" torch
has optax && part 40 peers-optax "$python" benchmarks/backends_peers.py "$out/peers-optax.json" optax
"$python" benchmarks/backends_report.py "$out" || failed="$failed report"
for laws in "$out"/*-laws.txt; do
    echo "$(basename "$laws" .txt): $(tail -n 1 "$laws")"
done
[ -z "$failed" ] || echo "not done, or failed:$failed (see $out)"
[ -z "$failed" ]
