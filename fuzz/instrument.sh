#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of `make fuzz`: compiles our own crates with the counters that libFuzzer steers by (branches taken,
# operands compared), the dependencies as always. Build scripts are no part of what is fuzzed and are not linked with libFuzzer.
case " $* " in
*" --crate-name build_script_"*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
