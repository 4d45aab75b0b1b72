#!/usr/bin/env bash
# Looks for new inputs with libFuzzer.
#
#   tests/fuzz/campaign.sh SECONDS [ENTRY...]     entries as in fuzz_ENTRY.c; all when none is named
#
# Each entry point is built with lib/*.c under ASan and UBSan into $BUILD/fuzz (build/fuzz), and runs for
# SECONDS from a copy of its corpus: what it finds interesting stays in $BUILD/fuzz/corpus, and tests/ as
# it is. Two run at a time. A finding (a crash, a leak, a slow input) is kept in $BUILD/fuzz/findings;
# then the exit code is 1. To see it again: $BUILD/fuzz/ENTRY FILE.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tests/fuzz/campaign.sh SECONDS [ENTRY...]" >&2
    exit 64
fi
seconds=$1
shift
entries=("$@")
if [ $# = 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        source=${source##*/fuzz_}
        entries+=("${source%.c}")
    done
fi

out=${BUILD:-build}/fuzz
sanitize=address,undefined
flags="-g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all"
mkdir -p "$out/findings"

build() {
    local objects=()
    for entry in "${entries[@]}"; do
        objects+=("$out/tests/fuzz/fuzz_$entry.o")
    done
    make -s -j2 BUILD="$out" CC=clang OPT="$flags -fsanitize=fuzzer-no-link,$sanitize" \
        "$out/libtailrace.a" "${objects[@]}"
    for entry in "${entries[@]}"; do
        # shellcheck disable=SC2046  # several words are meant
        clang -fsanitize="fuzzer,$sanitize" -o "$out/$entry" "$out/tests/fuzz/fuzz_$entry.o" \
            "$out/libtailrace.a" $(pkg-config --libs libcrypto jansson yaml-0.1 libpcre2-8)
    done
}

run() {
    local entry=$1 corpus=$out/corpus/$1 findings=$out/findings/$1-
    rm -rf "$corpus"
    mkdir -p "$corpus"
    if [ -d "tests/fuzz/corpus/$entry" ]; then
        cp "tests/fuzz/corpus/$entry"/* "$corpus"
    fi
    "$out/$entry" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$findings" "$corpus" >"$out/$entry.log" 2>&1
}

# What libFuzzer says at its end; 0 when it did not come to that.
statistic() {
    sed -n "s/^stat::$2: *//p" "$out/$1.log" | tail -n 1 | grep . || echo 0
}

report() {
    local findings failed=0
    printf '%-16s %14s %8s %9s\n' entry executions seconds findings
    for entry in "${entries[@]}"; do
        findings=$(find "$out/findings" -name "$entry-*" -newer "$out/begun" | wc -l)
        if [ "$findings" = 0 ] && [ "$(<"$out/$entry.code")" != 0 ]; then
            findings=1 # it ended badly without an input to show for it
        fi
        printf '%-16s %14s %8s %9s\n' "$entry" "$(statistic "$entry" number_of_executed_units)" \
            "$(<"$out/$entry.seconds")" "$findings"
        if [ "$findings" != 0 ]; then
            failed=1
            grep -E '^(SUMMARY|==[0-9]+== ERROR|Base64)' "$out/$entry.log" | sed 's/^/    /' || true
        fi
    done
    return $failed
}

timed_run() {
    local begun=$SECONDS code=0
    run "$1" || code=$?
    echo "$code" >"$out/$1.code"
    echo $((SECONDS - begun)) >"$out/$1.seconds"
}

build
touch -d '1 second ago' "$out/begun"
for entry in "${entries[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
        wait -n
    done
    timed_run "$entry" &
done
wait
report
