#!/bin/bash -eu
# Build the targets in tests/fuzz and their seed corpora, as ClusterFuzzLite expects.
pip3 install '.[fuzz,hdf5,pretrain]'
python3 tests/fuzz/seeds.py "$WORK/seeds"
for target in tests/fuzz/fuzz_*.py; do
    name=$(basename "$target" .py)
    compile_python_fuzzer "$target" --paths tests --paths tests/fuzz
    (cd "$WORK/seeds/${name#fuzz_}" && zip -q "$OUT/${name}_seed_corpus.zip" ./*)
    printf '[libfuzzer]\nrss_limit_mb = 2048\ntimeout = 10\n' >"$OUT/$name.options"
done
