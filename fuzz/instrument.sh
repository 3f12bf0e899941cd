#!/bin/sh
# Compiles the crates of the workspace for fuzzing: coverage counters that libFuzzer reads, optimised, with every check on. Cargo calls it in place
# of rustc (RUSTC_WORKSPACE_WRAPPER), so dependencies are those of the debug build. Works on stable Rust: the pass is LLVM's own.
rustc=$1
shift
exec "$rustc" "$@" \
  -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares \
  -Copt-level=2 -Cdebug-assertions=on -Coverflow-checks=on
