#!/bin/sh
# What both containers are made of: run as root in a bare Debian 12, with this checkout at the folder given.
#
#   containers/install.sh CHECKOUT
#
# Afterwards /opt/ipv-bench holds a Python environment that needs neither root nor the checkout. Which build
# of torch it gets (CPU, or CUDA, which needs only the host's driver) is pip's own setting: PIP_EXTRA_INDEX_URL.
set -eu
checkout=$1

export DEBIAN_FRONTEND=noninteractive
apt-get update
# The GL libraries are those of `ipv_bench/system_libraries.py`; libglvnd finds a GPU's driver beside Mesa's.
apt-get install -y --no-install-recommends \
  python3 python3-venv ca-certificates libegl1 libgl1 libopengl0 libgl1-mesa-dri libgomp1
rm -rf /var/lib/apt/lists/*

python3 -m venv /opt/ipv-bench
/opt/ipv-bench/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
  --constraint "$checkout/constraints.txt" "$checkout[all]"
ln -sf /opt/ipv-bench/bin/ipv-bench /usr/local/bin/ipv-bench

# Where a user without a name or a home can write: caches and the current folder.
mkdir -p /work
chmod 1777 /work
