#!/usr/bin/env bash
# Regenerate env/laptop.txt and env/gpu.txt from pyproject.toml: `make lock`.
# Takes the newest releases that its bounds allow; needs the network, no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
uv=${UV:-.venv/bin/uv}
if ! command -v "$uv" >/dev/null; then
  echo "lock: $uv is missing. Fix: run 'make setup', or name another uv with UV=..." >&2
  exit 1
fi

# Both locks serve Linux on x86_64 and Python 3.11 and 3.12 ([tool.uv] in
# pyproject.toml), so these parts of a marker say nothing and are dropped.
same="platform_machine == 'x86_64'|sys_platform == 'linux'|'linux' in sys_platform"
same="$same|python_full_version < '3.13'|platform_python_implementation != 'PyPy'"
same="$same|implementation_name != 'PyPy'"

lock() { # name, then the options that differ
  local name=$1 new
  shift
  new=$(mktemp)
  "$uv" pip compile pyproject.toml --extra models --extra train --extra unsloth \
    --extra book --extra dev "$@" --overrides env/overrides.txt \
    --universal --python-version 3.11 --no-annotate --no-header --quiet -o "$new"
  {
    echo "# Every package of the $name environment. Made by: bash env/lock.sh  (make lock)"
    echo "# Python 3.11 and 3.12, Linux, x86_64. Install with --no-deps: it is complete."
    sed -E -e "s/($same) and //g" -e "s/ and ($same)//g" -e "s/ ; ($same)\$//" "$new"
  } >"env/$name.txt.new"
  rm "$new"
}

lock laptop --extra serve-cpu --excludes env/excludes-laptop.txt
lock gpu --extra serve-gpu
# The CPU build by name, so that no CUDA build can take its place.
sed -i 's/^torch==\([0-9.]*\)$/torch==\1+cpu/' env/laptop.txt.new

for name in laptop gpu; do
  touch "env/$name.txt"
  diff -U0 "env/$name.txt" "env/$name.txt.new" | grep '^[-+][^-+]' || true
  mv "env/$name.txt.new" "env/$name.txt"
  echo "lock: env/$name.txt, $(grep -c '==' "env/$name.txt") packages"
done
