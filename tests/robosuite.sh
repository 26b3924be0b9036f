#!/usr/bin/env bash
# Robosuite's tests, in the environment of their own that this makes: .venv-robosuite, with the versions of
# constraints-robosuite.txt. Robosuite 1.5.2 wants numpy below 2, which the other simulators and tests do not.
#
#   tests/robosuite.sh [pytest's arguments]      PYTHON=python3.12 tests/robosuite.sh   for another Python (3.11 or 3.12)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} folder=.venv-robosuite

"$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || {
  echo "error: $("$python" --version) has no builds of numpy 1.26; to do: PYTHON=python3.12 $0" >&2
  exit 2
}
made=$folder/.made
if [ ! -e "$made" ] || [ pyproject.toml -nt "$made" ] || [ constraints-robosuite.txt -nt "$made" ]; then
  [ -e "$folder" ] || "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints-robosuite.txt \
    --editable '.[train,robosuite]' pytest pytest-timeout
  touch "$made"
fi
"$folder/bin/python" -m pip check --disable-pip-version-check
[ $# -gt 0 ] || set -- tests/models/envs/test_robosuite.py
"$folder/bin/python" -m pytest -q "$@"
