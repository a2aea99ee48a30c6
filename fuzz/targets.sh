# The fuzz targets, and how they are built and run; sourced by the scripts beside it, from the root of the repository.

TARGETS=(thrift footer pages encodings shard segment ids_csv alias_csv alias_parquet stored receipts operations)
HOST="$(rustc -vV | sed -n 's/^host: //p')"
BINARIES="${BINARIES:-fuzz/target/$HOST/release}"

# Why nothing can be fuzzed here; empty if it can.
missing() {
    if ! cargo +nightly --version >/dev/null 2>&1; then
        echo "there is no nightly toolchain (rustup toolchain install nightly)"
    elif ! command -v c++ >/dev/null; then
        echo "there is no C++ compiler, which libFuzzer needs"
    fi
}

# As cargo-fuzz builds them, but without cargo-fuzz; and only efface and the targets count what they reach, which
# halves the time that the build takes and makes them faster.
build() {
    local coverage='"-Cpasses=sancov-module","-Cllvm-args=-sanitizer-coverage-level=4"'
    coverage+=',"-Cllvm-args=-sanitizer-coverage-inline-8bit-counters","-Cllvm-args=-sanitizer-coverage-pc-table"'
    coverage+=',"-Cllvm-args=-sanitizer-coverage-trace-compares"'
    local counted=()
    for package in efface efface-fuzz; do
        counted+=(--config "profile.release.package.$package.rustflags=[$coverage]")
    done
    RUSTFLAGS="--cfg fuzzing -Zsanitizer=address" \
        cargo +nightly build --quiet --locked --release -Zprofile-rustflags "${counted[@]}" \
        --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --target "$HOST" "$@"
}

# What a target is given besides a time: inputs long enough for it, and the memory that it may take, in MiB.
options_of() {
    case "$1" in
        footer) echo "-max_len=20000" ;;
        shard | alias_parquet) echo "-max_len=40000" ;;
        encodings | canary) echo "-max_len=400 -len_control=0" ;;
        pages) echo "-max_len=2000 -len_control=0" ;;
        operations) echo "-max_len=400 -len_control=0" ;;
        receipts) echo "-max_len=100 -len_control=0" ;;
        segment) echo "-max_len=20000" ;;
        *) echo "-max_len=4000" ;;
    esac
}

# command_of TARGET CORPUS OPTION...: puts into COMMAND what runs one target in one thread.
command_of() {
    local target="$1" corpus="$2"
    shift 2
    mkdir -p "$corpus" fuzz/artifacts
    # shellcheck disable=SC2207 # options are words
    COMMAND=(
        env ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=4:detect_leaks=0 RAYON_NUM_THREADS=1
        "$BINARIES/$target" "$corpus" $(options_of "$target") -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=25
        -print_final_stats=1 "-artifact_prefix=fuzz/artifacts/$target-" "$@"
    )
}
