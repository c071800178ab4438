#!/bin/sh
# Finds a Python which can make the virtual environment and hands over to scripts/bootstrap.py:
#   sh scripts/bootstrap.sh --extras cpu,lean,report
# PYTHON=/path/to/python chooses the interpreter.
set -eu

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}
has_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

without_venv=""
for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3}; do
    suitable "$candidate" || continue
    if has_venv "$candidate"; then
        exec "$candidate" "$(dirname "$0")/bootstrap.py" "$@"
    fi
    without_venv="${without_venv:-$candidate}"
done

if [ -n "$without_venv" ]; then
    version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "error: $without_venv cannot make virtual environments. Install what it lacks:" >&2
    echo "    sudo apt-get install python$version-venv" >&2
    exit 1
fi
echo "error: no Python 3.10, 3.11 or 3.12 found (looked for: ${PYTHON:-python3.11 python3.12 python3.10 python3})." >&2
for version in 3.11 3.12 3.10; do
    if apt-cache show "python$version-venv" >/dev/null 2>&1; then
        echo "Install one with:    sudo apt-get install python$version python$version-venv" >&2
        exit 1
    fi
done
echo "This system's packages have none. Install one another way (pyenv, uv, conda) and name it:" >&2
echo "    make demo PYTHON=/path/to/python3.11" >&2
exit 1
