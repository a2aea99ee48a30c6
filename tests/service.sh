#!/usr/bin/env bash
# The service as people and programs meet it: the built command, curl lines of real clients, and a browser.
# Fails when what it needs can't be installed: Debian's curl, nodejs, npm and chromium, and two packages of npm.
# EFFACE_SHOTS names a folder for pictures of every page.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target="${CARGO_TARGET_DIR:-target}"
# The profile of `cargo test`.
cargo build --quiet --profile test -p efface-cli --features serve
efface="$target/debug/efface"

missing=()
for tool in curl node npm chromium; do
    command -v "$tool" >/dev/null || missing+=("${tool/%node/nodejs}")
done
if ((${#missing[@]})); then
    apt-get update -q >/dev/null
    apt-get install -qy "${missing[@]}" >/dev/null
fi
tools="$target/service-tools"
if [[ ! -d "$tools/node_modules/playwright-core" || ! -d "$tools/node_modules/axe-core" ]]; then
    mkdir -p "$tools"
    npm install --silent --no-audit --no-fund --prefix "$tools" playwright-core@1.65.1 axe-core@4.14.1
fi

work="$(mktemp -d)"
pid=
trap '[[ -z "$pid" ]] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
say() { printf 'service.sh: %s\n' "$*"; }

cp -R data-samples/events data-samples/aliases.csv "$work"
"$efface" init "$work/events" --aliases ../aliases.csv >/dev/null
port="${EFFACE_PORT:-18480}"
url="http://127.0.0.1:$port"
project=0123456789abcdef
cat >"$work/serve.toml" <<TOML
listen = "127.0.0.1:$port"
private_listen = "127.0.0.1:$((port + 1))"
data = "data"
public_url = "$url"
[[project]]
id = 1978118
name = "Shop"
token = "$project"
dataset = "events"
TOML
"$efface" serve --config "$work/serve.toml" 2>"$work/serve.log" &
pid=$!
for _ in $(seq 100); do
    curl -fsS "http://127.0.0.1:$((port + 1))/readyz" >/dev/null 2>&1 && break
    sleep 0.1
done
curl -fsS "http://127.0.0.1:$((port + 1))/readyz" >/dev/null
# While it serves.
"$efface" serve init --config "$work/serve.toml" --owner ada@example.com >"$work/link" 2>"$work/init.log"

# Two people of the samples, whose ids go to the browser by a file.
sed -n 1,3p data-samples/ids.csv >"$work/two.csv"
NODE_PATH="$PWD/$tools/node_modules" node tests/service.js \
    "$(tail -n 1 "$work/link")" "$work/two.csv" "${EFFACE_SHOTS:-$work/shots}" >"$work/token"
token="$(tail -n 1 "$work/token")"
say "a person filed, saw and searched; axe-core found nothing"

# As curl lines stand in public code: a body without a type, paths with and without a slash at the end.
base="$url/api/app/data-deletions/v3.0"
bearer="Authorization: Bearer $token"
read_json() { node -p "JSON.parse(process.argv[1]).results.$2" "$1"; }
made="$(curl -fsS -X POST "$base/?token=$project" -H "$bearer" \
    -d '{"distinct_ids":["no-such-person-zq7"],"compliance_type":"GDPR"}')"
task="$(read_json "$made" task_id)"
asked="$(curl -fsS "$base/$task?token=$project" -H "$bearer")"
[[ "$(read_json "$asked" tracking_id)" == "$task" ]]
status() { curl -sS -o /dev/null -w '%{http_code}' "$@"; }
[[ "$(status "$base/$task/?token=$project")" == 401 ]]
[[ "$(status -u "$token:" "$base/$task/?token=$project")" == 401 ]]
[[ "$(status -X POST "$base?token=nope" -H "$bearer")" == 403 ]]
[[ "$(status -X POST "$base?token=$project" -H "$bearer" -d '{}')" == 400 ]]
say "curl lines went as they should"

# The command sees the same.
"$efface" status "$work/events" "$task" --json >"$work/status"
grep -q "$task" "$work/status"

kill "$pid"
wait "$pid"
pid=
grep -q '"route":"/requests/new"' "$work/serve.log"
two="$(sed -n 2p "$work/two.csv" | tr -d '"\r')"
for id in zq7 "$two"; do
    if grep -rlF -- "$id" "$work/data" "$work/serve.log" "$work/init.log"; then
        say "an id was stored or logged" >&2
        exit 1
    fi
done
say "no id was stored or logged; it ended gracefully"
