#!/usr/bin/env bash
# Builds the image and uses docker-compose.yml for real, as a project of its own: a demo stream is recorded and served, an
# event becomes a video, a second node gets all that the first one has, Prometheus reaches every service, and all of them
# end in time. Ends with 0 if all of that is so, and removes what it made.
#
# Needs docker with docker-compose. Without a registry of images, first: deploy/stand-ins.sh, and BASE=respool-base.
set -euo pipefail
cd "$(dirname "$0")/.."

export PORT=18000 PROMETHEUS_PORT=19090 COMPOSE_PROJECT_NAME=respool-proof
export NODE=first POSTGRES_PASSWORD=proof CHANNELS=demo=http://demo:8080/demo.m3u8

# Compose's second version is a plugin of docker, the first one a program.
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose+=(--profile demo --profile second)

say() { echo "$(date +%T) $*"; }

# until_true WHAT COMMAND...: try for three minutes.
until_true() {
    local what=$1
    shift
    for _ in $(seq 180); do
        if "$@" >/dev/null 2>&1; then
            say "$what"
            return
        fi
        sleep 1
    done
    say "not within three minutes: $what"
    "${compose[@]}" ps
    "${compose[@]}" logs --tail 20
    exit 1
}

all_healthy() {
    local states
    states=$(docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' $("${compose[@]}" ps -q))
    ! grep -qvE '^(healthy|running)$' <<<"$states"
}

# The names of the first hour that a restreamer lists, without the newest segments, which are still on their way.
first_names() {
    "${compose[@]}" exec -T "$1" python3 - <<'PY'
import json, urllib.request as r
get = lambda path: json.load(r.urlopen(f"http://127.0.0.1:8000/files/demo{path}", timeout=10))
hour = get("/source")[0]
print(*get(f"/source/{hour}")[:5])
PY
}

same_names() { [ -n "$(first_names restreamer)" ] && [ "$(first_names restreamer)" = "$(first_names second-restreamer)" ]; }

recorded() { [ "$(first_names restreamer | wc -w)" -ge 5 ]; }

all_scraped() {
    curl -fsS "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/targets" | python3 -c '
import json, sys
targets = json.load(sys.stdin)["data"]["activeTargets"]
sys.exit(not targets or any(each["health"] != "up" for each in targets))'
}

log=$(mktemp)
trap '"${compose[@]}" down --volumes --remove-orphans >/dev/null 2>&1; rm -f "$log"' EXIT

docker build --quiet ${BASE:+--build-arg BASE="$BASE"} --tag respool . >/dev/null
say "the image is built"
services=$("${compose[@]}" config --services)
if ! docker image inspect grafana/grafana >/dev/null 2>&1 && ! docker pull --quiet grafana/grafana >/dev/null 2>&1; then
    say "without Grafana: its image cannot be had here"
    services=$(grep -v '^grafana$' <<<"$services")
fi
# shellcheck disable=SC2086 - they are several
"${compose[@]}" up --detach $services >"$log" 2>&1 || { cat "$log"; exit 1; }
until_true "every container is healthy" all_healthy
until_true "the demo stream is recorded" recorded
curl -fsS "http://127.0.0.1:$PORT/playlist/demo/source.m3u8" | grep -q EXTINF
say "its playlist is served"

read -r start end <<<"$("${compose[@]}" exec -T restreamer python3 - <<'PY'
import json, urllib.request as r
get = lambda path: json.load(r.urlopen(f"http://127.0.0.1:8000/files/demo{path}", timeout=10))
hour = get("/source")[0]
names = get(f"/source/{hour}")
print(*(f"{hour}:{name.split('-')[0]}Z" for name in (names[0], names[3])))
PY
)"
event=$("${compose[@]}" exec -T cutter respool event add demo/source --range "$start" "$end" --title Proof --ready | tail -1)
"${compose[@]}" exec -T cutter respool event watch "$event" --until-done
"${compose[@]}" exec -T cutter sh -c 'ls -l /data/videos/*/* /data/videos/* 2>/dev/null | grep -E "mp4|ts"'
say "the event $event is a video"

until_true "the second node has what the first one has" same_names
until_true "Prometheus reaches every service" all_scraped

containers=$("${compose[@]}" ps -q downloader restreamer backfiller cutter librarian second-restreamer second-backfiller)
began=$(date +%s)
"${compose[@]}" stop >/dev/null 2>&1
say "everything is stopped after $(($(date +%s) - began)) s"
codes=$(docker inspect --format '{{.State.ExitCode}}' $containers | sort -u)
[ "$codes" = 0 ] || { say "not all ended by themselves: exit codes $codes"; exit 1; }
say "all of it holds"
