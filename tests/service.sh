#!/usr/bin/env bash
# The service as people and programs meet it: the built command, curl lines of real clients, and a browser.
# Fails when what it needs can't be installed: Debian's chromium, npm's playwright-core and axe-core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

efface="${EFFACE:-target/debug/efface}"
if [[ -z "${EFFACE:-}" ]]; then
    cargo build -p efface-cli --features serve
fi
command -v chromium >/dev/null || { apt-get update -q && apt-get install -qy chromium; } >/dev/null
tools="${EFFACE_TOOLS:-target/service-tools}"
mkdir -p "$tools"
if [[ ! -d "$tools/node_modules/axe-core" ]]; then
    npm install --silent --no-audit --no-fund --prefix "$tools" playwright-core@1.65.1 axe-core@4.14.1
fi

dir="$(mktemp -d)"
pid=
trap '[[ -z "$pid" ]] || kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
"$efface" init data-samples >/dev/null 2>&1 || true
cp -r data-samples/. "$dir/events"
port=18480
cat >"$dir/serve.toml" <<TOML
listen = "127.0.0.1:$port"
private_listen = "127.0.0.1:$((port + 1))"
data = "data"
public_url = "http://127.0.0.1:$port"
[[project]]
id = 1978118
name = "Shop"
token = "0123456789abcdef"
dataset = "events"
TOML
link="$("$efface" serve init --config "$dir/serve.toml" --owner ada@example.com 2>"$dir/init.log" | tail -n 1)"
"$efface" serve --config "$dir/serve.toml" 2>"$dir/serve.log" &
pid=$!
for _ in $(seq 100); do
    curl -fsS "http://127.0.0.1:$((port + 1))/readyz" >/dev/null 2>&1 && break
    sleep 0.1
done
curl -fsS "http://127.0.0.1:$((port + 1))/readyz" >/dev/null

NODE_PATH="$PWD/$tools/node_modules" node tests/service.js "$link" "${EFFACE_SHOTS:-$dir/shots}" >"$dir/token"
token="$(tail -n 1 "$dir/token")"

# As curl lines stand in public code: a body without a type, paths with and without a slash at the end.
base="http://127.0.0.1:$port/api/app/data-deletions/v3.0"
say() { printf 'service.sh: %s\n' "$*"; }
made="$(curl -fsS -X POST "$base/?token=0123456789abcdef" -H "Authorization: Bearer $token" -d '{"distinct_ids":["no-such-person-zq7"],"compliance_type":"GDPR"}')"
task="$(node -p 'JSON.parse(process.argv[1]).results.task_id' "$made")"
asked="$(curl -fsS "$base/$task?token=0123456789abcdef" -H "Authorization: Bearer $token")"
[[ "$(node -p 'JSON.parse(process.argv[1]).results.tracking_id' "$asked")" == "$task" ]]
status() { curl -sS -o /dev/null -w '%{http_code}' "$@"; }
[[ "$(status "$base/$task/?token=0123456789abcdef")" == 401 ]]
[[ "$(status -u "$token:" "$base/$task/?token=0123456789abcdef")" == 401 ]]
[[ "$(status -X POST "$base?token=nope" -H "Authorization: Bearer $token")" == 403 ]]
[[ "$(status -X POST "$base?token=0123456789abcdef" -H "Authorization: Bearer $token" -d '{}')" == 400 ]]
say "curl lines went as they should"

kill "$pid"
wait "$pid"
pid=
if grep -rlF zq7 "$dir/data" "$dir/serve.log" "$dir/init.log"; then
    say "an id was stored or logged" >&2
    exit 1
fi
say "no id was stored or logged; ended gracefully"
