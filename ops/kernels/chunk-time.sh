#!/bin/sh
# Prints what chunk_time.py calculates, with the tools of PYTHON's packages (ops/host/requirements.txt): chunk-time.sh PYTHON
# [ARGUMENTS].
set -e
packages=$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
ptxas=$packages/nvidia/cuda_nvcc/bin/ptxas
nvdisasm=$packages/nvidia/cu13/bin/nvdisasm
chmod +x "$ptxas" "$nvdisasm"
python=$1
shift
exec "$python" -B "$(dirname "$0")/chunk_time.py" --ptxas "$ptxas" --nvdisasm "$nvdisasm" "$@"
