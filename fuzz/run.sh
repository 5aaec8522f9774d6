#!/usr/bin/env bash
# `make fuzz`: every target under libFuzzer, SECONDS each, JOBS side by side; starts from fuzz/corpus and goes on from what
# earlier runs found. usage: [KEEP=1] fuzz/run.sh PROGRAM FOLDER SECONDS JOBS [TARGET…]. An input that fells its target is left in
# FOLDER/TARGET.fell-…: it goes into fuzz/corpus with the fix. KEEP=1 puts what reaches further than fuzz/corpus there at the end.
set -euo pipefail
program=$1 folder=$2 seconds=$3 jobs=$4
shift 4
corpus="$(cd "$(dirname "$0")" && pwd)/corpus"
[ $# -gt 0 ] || set -- $(ls "$corpus")
mkdir -p "$folder"

one() {
  local target=$1 log="$folder/$1.log" said=ok
  mkdir -p "$folder/$target"
  FUZZ_TARGET=$target "$program" "$folder/$target" "$corpus/$target" -max_total_time="$seconds" -max_len=65536 \
    -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$folder/$target.fell-" >"$log" 2>&1 || said=FELL
  local runs covered
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(grep -o 'cov: [0-9]* ft: [0-9]* corp: [0-9]*' "$log" | tail -n 1)
  if [ $said = ok ] && [ -n "${KEEP:-}" ]; then
    FUZZ_TARGET=$target "$program" -set_cover_merge=1 -max_len=65536 "$corpus/$target" "$folder/$target" >>"$log" 2>&1
  fi
  echo "$target: $said, ${runs:-?} inputs in $seconds s, ${covered:-no coverage}"
  [ $said = ok ] || { tail -n 30 "$log"; return 1; }
}
export -f one
export program folder seconds corpus
printf '%s\n' "$@" | xargs -P "$jobs" -I '{}' bash -euo pipefail -c 'one {}'
