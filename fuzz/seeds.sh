#!/usr/bin/env bash
# Seeds the corpora from data-samples/, and from a folder of other writers' Parquet files if one is given:
#   bash fuzz/seeds.sh [FOLDER]
#   cargo +nightly fuzz run shard -- -max_total_time=180
# EFFACE names the command, if it is built already.
set -euo pipefail
foreign="${1:+$(realpath "$1")}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p fuzz/corpus/{footer,shard,ids_csv,segment}

cp data-samples/ids.csv data-samples/aliases.csv fuzz/corpus/ids_csv/
printf '\xef\xbb\xbfx,$distinct_id\r\n1,"a ""quoted"" id"\r\n\r\n2,"two\nlines"\r\n' >fuzz/corpus/ids_csv/quotes.csv

# A few rows of some samples: small files are tried more often.
for number in 0 3; do
    name="part-0000$number.parquet"
    ${EFFACE:-cargo run --quiet --} rewrite "data-samples/events/$name" "fuzz/corpus/shard/$name" --rows 20-3990 >/dev/null
done
if [[ -n "$foreign" ]]; then
    find "$foreign" -name '*.parquet' -size -80k -exec cp {} fuzz/corpus/shard/ \;
fi

for file in data-samples/events/*.parquet fuzz/corpus/shard/*; do
    length="$(tail -c 8 "$file" | od -An -tu4 -N4 | tr -d ' ')"
    if [[ -n "$length" ]] && ((length + 8 < $(stat -c %s "$file"))); then
        tail -c $((length + 8)) "$file" | head -c "$length" >"fuzz/corpus/footer/$(basename "$file").thrift"
    fi
done

# One hash with one row group; the fuzzer finds the way from there.
{
    printf '\x01\0\0\0\x01\0\0\0\0\0\0\0\0\x08\0\0\0\0'
    printf '\x2a\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0'
    head -c 4072 /dev/zero
    printf '\0\0\0\0\x01\0\0\0'
} >fuzz/corpus/segment/one
