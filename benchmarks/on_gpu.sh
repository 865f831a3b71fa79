#!/usr/bin/env bash
# What a machine with a GPU is asked to show in at most 8 minutes, the most important first:
#
#     bash benchmarks/on_gpu.sh
#
# Each part leaves what it has found in benchmarks/results/<date>-gpu/, or in the folder $OUT, whatever becomes of the
# others. README.md there says how each ended (0: well; 124: it was cut), the exit status whether all ended well.
set -u
cd "$(dirname "$0")/.." || exit 2

record=${OUT:-benchmarks/results/$(date +%F)-gpu}
mkdir -p "$record" || exit 2
if [ -e "$record/README.md" ]; then
    echo "error: $record holds a record already; move it away, or set OUT" >&2
    exit 2
fi
all_well=0

part() { # name, most seconds, the rest of a command of python
    local name=$1 limit=$2 began=$SECONDS status=0
    shift 2
    timeout --kill-after=5 "$limit" python "$@" >"$record/$name.txt" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then all_well=1; fi
    printf '| %s | %s | %s | python %s |\n' \
        "$name" "$status" "$((SECONDS - began))" "${*//"$record"/FOLDER}" | tee -a "$record/README.md"
}

speed() { # name, most seconds, options
    part "$1" "$2" -m benchmarks.timing.speed --device cuda --repetitions 2 "${@:3}" --output "$record/$1"
}

{
    echo "# On a GPU, $(date +%F)"
    echo
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || echo "no NVIDIA GPU"
    git log -1 --format="commit %h" || echo "commit unknown"
    echo
    echo "| part | exit status | seconds | command |"
    echo "|---|---|---|---|"
} 2>/dev/null | tee "$record/README.md"

# In one process, and without what the options of pyproject.toml need installed to run in several.
part tests 140 -m pytest -o "addopts=--import-mode=importlib" -m gpu --continue-on-collection-errors
speed speed-resnet50 110 --case resnet50@224 --steps 40
speed speed-resnet50-bfloat16 80 --case resnet50@224 --steps 40 --precision bfloat16
speed speed-mobilenet 60 --case mobilenet_v2_035@96 --steps 20
part probes 80 -m benchmarks.timing.probes --device cuda --repetitions 2 --n-loop 4 --n-exact 2 --output "$record/probes"
exit "$all_well"
