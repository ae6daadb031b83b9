#!/bin/sh
# The laws of the engine and the costs of a switch, on what this machine has: benchmarks/gpu.sh [FOLDER OF WHEELS] [OUT]
# Needs JAX or torch; what else is needed (Keras, msgspec, hypothesis, …) is installed from the folder, without network.
set -u
cd "$(dirname "$0")/.."
wheels=${1:-} out=${2:-gpu-out}
mkdir -p "$out"
[ -z "$wheels" ] || python -m pip install --no-index --find-links "$wheels" keras msgspec typer rich pyyaml hypothesis
export PYTHONPATH="$PWD/reference" XLA_PYTHON_CLIENT_PREALLOCATE=false TF_CPP_MIN_LOG_LEVEL=2
failed=0
for backend in jax torch tensorflow; do
    python -c "import $backend" 2>/dev/null || continue
    export KERAS_BACKEND=$backend
    timeout 90 python benchmarks/backends.py "$out/$backend-small.json" small >> "$out/table.md" || failed=1
    timeout 120 python benchmarks/backends.py "$out/$backend-mobilenet.json" mobilenet >> "$out/table.md" || failed=1
    timeout 120 python -m refreeze.cli verify refreeze.conformance.reference:execution --level execution \
        --report "$out/$backend-laws.json" > "$out/$backend-laws.txt" 2>&1 || failed=1
done
cat "$out/table.md"
exit $failed
