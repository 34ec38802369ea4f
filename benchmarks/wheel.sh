#!/usr/bin/env bash
# Use a wheel that is installed in an empty environment: wheel.sh FOLDER PACKAGES, see the Makefile.
set -euo pipefail
cd "$1"
export PYTHONPATH="$PWD/venv/lib/python3.11/site-packages:$2"
where=$(venv/bin/python -c "import nerfcomp; print(nerfcomp.__file__)")
case "$where" in "$PWD"/venv/*) ;; *) echo "nerfcomp is $where, not that of the wheel"; exit 1 ;; esac

train="venv/bin/nerfcomp-train" compress="venv/bin/nerfcomp-compress"
"$train" --version
"$train" fit --help | grep -q -- "--trainer.max_steps 2000"
"$train" fit --trainer.max_steps 5 --trainer.callbacks "[RunCheckpoint]" --data.reader.image_size 32 \
    --data.reader.n_train 6 --data.reader.n_val 2 --data.reader.supersampling 1
"$compress" encode latest --out scene.nfc
"$compress" info scene.nfc
"$compress" render scene.nfc --out stills --views "[0]"
test -s stills/0000.png
