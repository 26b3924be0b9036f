#!/bin/sh
# What both containers are made of: run as root in a bare Debian 12, with this checkout at the folder given.
#
#   containers/install.sh CHECKOUT [cpu|cuda]
#
# Afterwards /opt/ipv-bench holds a Python environment that needs neither root nor the checkout. `cpu` takes torch's CPU
# build from its own index (TORCH_INDEX names another; empty: wherever pip finds it); `cuda` takes the build with CUDA
# libraries, some gigabytes, which needs only the host's driver.
set -eu
checkout=$1 torch=${2:-cpu}
case $torch in cpu | cuda) ;; *) echo "error: '$torch'; expected: cpu or cuda" >&2; exit 2 ;; esac

export DEBIAN_FRONTEND=noninteractive
apt-get update
# The GL libraries are those of `ipv_bench/system_libraries.py`; libglvnd finds a GPU's driver beside Mesa's.
apt-get install -y --no-install-recommends \
  python3 python3-venv ca-certificates libegl1 libgl1 libopengl0 libgl1-mesa-dri libgomp1
rm -rf /var/lib/apt/lists/*

python3 -m venv /opt/ipv-bench
pip="/opt/ipv-bench/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint $checkout/constraints.txt"
if [ "$torch" = cpu ]; then
  index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
  $pip ${index:+--index-url "$index"} torch
fi
$pip "$checkout[all]"
ln -sf /opt/ipv-bench/bin/ipv-bench /usr/local/bin/ipv-bench

# Where a user without a name or a home can write: caches and the current folder.
mkdir -p /work
chmod 1777 /work
