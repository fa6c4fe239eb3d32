#!/bin/sh
# Everything to do on a first GPU, in one command: what it has, how fast it trains, a real sweep, its
# table. About half an hour on an H200 (estimate). Started again, it skips the runs that have ended.
#
#   sh examples/gpu_check.sh [FOLDER]         (default runs/gpu; PYTHON=... for another interpreter)
set -eu
cd "$(dirname "$0")/.."
out="${1:-runs/gpu}"
python="${PYTHON:-.venv/bin/python}"
mkdir -p "$out"

"$python" -m training doctor || echo "doctor has something to say; going on." >&2
# 1: some losses differ from eager ones, or a size did not run; it says which, and the sweep can go on
"$python" -m training bench --device cuda --out "$out/bench.json" >"$out/bench.txt" || [ $? -eq 1 ]
cat "$out/bench.txt"
"$python" -m training sweep examples/gpu_sweep.toml --device cuda --bench "$out/bench.json" --dry-run
"$python" -m training sweep examples/gpu_sweep.toml --device cuda --bench "$out/bench.json" \
    --cuda-graph --out "$out"
"$python" -m training collect "$out" --out "$out/runs.nc"
