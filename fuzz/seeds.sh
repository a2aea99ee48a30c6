#!/usr/bin/env bash
# Seeds the corpora: from data-samples/, from files that the generator makes in each codec and page version, from what
# the command leaves in _efface/, and from a folder of other writers' Parquet files if one is given:
#   bash fuzz/seeds.sh [FOLDER]
# EFFACE and EVENTS name the command and the generator if they are built already; EVENTS=none leaves those files out.
set -euo pipefail
foreign="${1:+$(realpath "$1")}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
efface() { ${EFFACE:-cargo run --quiet --} "$@" >/dev/null; }
events() { ${EVENTS:-cargo run --quiet --package efface-samples --} "$@" >/dev/null; }
corpus=fuzz/corpus
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$corpus"/{thrift,footer,shard,ids_csv,alias_csv,alias_parquet,segment,stored}

cp data-samples/ids.csv data-samples/aliases.csv "$corpus/ids_csv/"
printf '\xef\xbb\xbfx,$distinct_id\r\n1,"a ""quoted"" id"\r\n\r\n2,"two\nlines"\r\n' >"$corpus/ids_csv/quotes.csv"
# The first byte says how many ids are removed.
{ printf '\x03'; head -c 1500 data-samples/aliases.csv; } >"$corpus/alias_csv/samples"
printf '\x02alias,distinct_id\r\nlaptop,ada\r\n"a ""b""",ada\r\n\r\nphone,bob' >"$corpus/alias_csv/quotes"
printf '\x01x,distinct_id,alias\n1,ada,phone\n2,"two\nlines",phone\n' >"$corpus/alias_csv/columns"

# A few rows of some samples: small files are tried more often.
for number in 0 3; do
    name="part-0000$number.parquet"
    efface rewrite "data-samples/events/$name" "$corpus/shard/$name" --rows 20-3990
done
if [[ "${EVENTS:-}" != none ]]; then
    for codec in none snappy gzip zstd lz4 brotli; do
        for version in 1 2; do
            events "$scratch/$codec-$version" --shards 1 --rows-per-shard 24 --row-groups 2 --users 8 --page-rows 5 \
                --codec "$codec" --page-version "$version" --bloom --seed "$version"
            cp "$scratch/$codec-$version/events/part-00000.parquet" "$corpus/shard/$codec-$version.parquet"
        done
    done
fi
if [[ -n "$foreign" ]]; then
    find "$foreign" -name '*.parquet' -size -40k -exec cp {} "$corpus/shard/" \;
fi

cp "$corpus"/shard/part-*.parquet "$corpus/alias_parquet/"

for file in data-samples/events/*.parquet "$corpus"/shard/*; do
    length="$(tail -c 8 "$file" | od -An -tu4 -N4 | tr -d ' ')"
    if [[ -n "$length" ]] && ((length > 0 && length + 8 < $(stat -c %s "$file"))); then
        tail -c $((length + 8)) "$file" | head -c "$length" >"$corpus/footer/$(basename "$file").thrift"
    fi
done
find "$corpus/footer" -name '*.thrift' -size -8k -exec cp {} "$corpus/thrift/" \;

# Documents without the line of their checksum, behind a byte that says which of them it is.
lake="$scratch/lake"
cp -r data-samples/events "$lake"
efface init "$lake" --subject distinct_id --time time --source lib --json-column properties
printf 'distinct_id\nada@gone\n"bob, the 2nd@gone"\n' >"$scratch/ids.csv"
efface submit "$lake" --ids "$scratch/ids.csv" --unknown report --suppress
efface suppress add "$lake" --id eve@gone --before 2026-01-31
{ printf '\x04'; cat "$lake/_efface/dataset.toml"; } >"$corpus/stored/configuration"
{ printf '\x03'; head -n -1 "$lake/_efface/suppression.json"; } >"$corpus/stored/suppression"
for file in "$lake"/_efface/queue/*.json; do
    { printf '\0'; head -n -1 "$file"; } >"$corpus/stored/request"
done
efface index "$lake"
{ printf '\x05'; head -c -8 "$lake/_efface/index/manifest"; } >"$corpus/stored/manifest"
id=01890a5d-ac96-774b-bcce-b302099a8057
time='"2026-01-31T12:00:00Z"'
printf '\x01{"format":1,"id":"%s","stage":"started","started_at":%s,"requests":["%s"],"planned":[{"refused":null,"left_out":1,"digest":null,"subjects":[{"position":1,"found":true,"merged_into":null}]}]}' \
    "$id" "$time" "$id" >"$corpus/stored/pass"
printf '\x06[{"alias_rows":3},{"alias_rows":4}]' >"$corpus/stored/progress"
printf '\x02{"alias_rows":3}\n{"alias_rows":4}\n' >"$corpus/stored/progress_0_1"

# One hash with one row group; the fuzzer finds the way from there.
{
    printf '\x01\0\0\0\x01\0\0\0\0\0\0\0\0\x08\0\0\0\0'
    printf '\x2a\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0'
    head -c 4072 /dev/zero
    printf '\0\0\0\0\x01\0\0\0'
} >"$corpus/segment/one"
