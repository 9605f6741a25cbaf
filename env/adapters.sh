#!/usr/bin/env bash
# The environments of other people's trainers, and the reward tested in each: make test-adapters.
#
#   env/adapters.sh         make .venv-verl, .venv-verifiers, .venv-ray where missing or old; test
#   env/adapters.sh lock    regenerate env/verl.txt, verifiers.txt, ray.txt; needs the network, no GPU
#
# CPU only. All read this checkout through PYTHONPATH; nothing of theirs enters .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
uv=${UV:-.venv/bin/uv}

# What the library itself needs to grade (pyproject.toml), and pytest.
core=$(sed -n '/^dependencies = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' pyproject.toml)
tests=$'pytest>=8.4\npytest-timeout>=2.4'
same="platform_machine == 'x86_64'|sys_platform == 'linux'|platform_python_implementation != 'PyPy'"
same="$same|python_full_version < '3.13'|implementation_name != 'PyPy'"

compile() { # name, then options; requirements on standard input
  local name=$1 new
  shift
  new=$(mktemp)
  "$uv" pip compile - "$@" --universal --python-version 3.11 \
    --no-annotate --no-header --quiet -o "$new" >/dev/null
  {
    echo "# The environment that tests the reward in $name. Made by: bash env/adapters.sh lock"
    echo "# Python 3.11 and 3.12, Linux, x86_64. Install with --no-deps."
    sed -E -e "s/($same) and //g" -e "s/ and ($same)//g" -e "s/ ; ($same)\$//" "$new"
  } >"env/$name.txt"
  rm "$new"
}

lock() {
  printf '%s\n' 'verl[verl-core]==0.9.1' 'torch==2.13.0' "$core" "$tests" |
    compile verl --excludes env/excludes-laptop.txt
  sed -i 's/^torch==\([0-9.]*\)$/torch==\1+cpu/' env/verl.txt
  # The parts of these two that call a reward run on what verl brings; the rest of their
  # requirements (vLLM, DeepSpeed, a web interface) has no part in it.
  cat >>env/verl.txt <<-END
	dacite==1.9.2
	json-repair==0.64.6
	ms-swift==4.6.0
	modelscope==1.40.2
	modelscope-hub==0.5.1
	openrlhf==0.11.2
	END
  # verifiers asks for openai below 3, this library for 3.50 or newer: the tests show that it
  # grades with either.
  printf '%s\n' 'verifiers==0.4.0' "$(grep -v '^openai' <<<"$core")" "$tests" | compile verifiers
  # Ray Data with what it needs to move rows; the judge's side is asked over HTTP as everywhere.
  printf '%s\n' 'ray[data]==2.60.0' "$core" "$tests" | compile ray
}

ready() { # name: make .venv-<name> unless its stamp is that of the lock
  local name=$1 venv=.venv-$1 torch
  if cmp -s "env/$name.txt" "$venv/lock.txt"; then return; fi
  echo "test-adapters: making $venv from env/$name.txt"
  rm -rf "$venv"
  "$uv" venv --quiet --python .venv/bin/python "$venv"
  torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "env/$name.txt")
  if [ -n "$torch" ]; then # as env/setup.py: the usual index first, else PyTorch's own
    local pip=(.venv/bin/python -m pip --python "$venv/bin/python" install --quiet --no-deps)
    "${pip[@]}" "$torch" 2>/dev/null || "${pip[@]}" "$torch" -r env/torch-cpu.txt
  fi
  "$uv" pip install --quiet --python "$venv/bin/python" --no-deps -r "env/$name.txt"
  cp "env/$name.txt" "$venv/lock.txt"
}

if [ "${1:-}" = lock ]; then
  lock
  exit
fi
failed=0
for name in verl verifiers ray; do
  ready "$name"
  ".venv-$name/bin/python" -m pytest tests/adapters -W ignore -p no:cacheprovider || failed=1
done
exit "$failed"
