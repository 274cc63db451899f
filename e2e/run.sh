#!/usr/bin/env bash
# The main job as a new user does it, with the built programs:
#
#	e2e/run.sh DIRECTORY-WITH-caddy-AND-soc2-verify
set -euo pipefail
bin=$(cd "${1:?the directory with caddy and soc2-verify}" && pwd)
cd "$(dirname "$0")/.."

work=$(mktemp -d)
server=
cleanup() {
	if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
	rm -rf "$work"
}
trap cleanup EXIT
export HOME=$work XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work
log=$work/caddy/soc2/log

ok() { printf 'ok: %s\n' "$*"; }
fail() {
	printf 'FAILED: %s\n' "$*" >&2
	[ -f "$work/out" ] && cat "$work/out" >&2
	exit 1
}

# serve ARGUMENTS: starts caddy and waits until it says that it is ready.
serve() {
	"$bin/caddy" "$@" >"$work/out" 2>&1 &
	server=$!
	for _ in $(seq 300); do
		if grep -q 'ready after\|serving initial configuration' "$work/out"; then return; fi
		kill -0 "$server" 2>/dev/null || fail "caddy $* ended"
		sleep 0.1
	done
	fail "caddy $* is not ready"
}

# stop SIGNAL: ends caddy, which must exit with 0.
stop() {
	kill -"$1" "$server"
	wait "$server" || fail "exit status $? after SIG$1"
	server=
	ok "stopped by SIG$1 in order"
}

https=18443
http=18080
site=https://localhost:$https

serve soc2 proxy --demo --from localhost:$https --http-port $http
cat "$work/out"

for version in --http1.1 --http2; do
	curl -sk $version -D "$work/head" -o /dev/null "$site/" || fail "curl $version"
	grep -qi '^x-content-type-options: nosniff' "$work/head" || fail "no security headers over $version"
	if grep -qi '^\(server\|x-powered-by\):' "$work/head"; then fail "leaks over $version"; fi
done
ok "pages over HTTP/1.1 and HTTP/2, with security headers"

status=$(curl -s -o /dev/null -w '%{http_code} %{redirect_url}' "http://localhost:$http/x")
[ "$status" = "308 $site/x" ] || fail "redirect: $status"
ok "plain HTTP is redirected"

id=$(curl -sk -D - -o /dev/null "$site/api/time?token=secret" | tr -d '\r' | sed -n 's/^x-request-id: //ip')
record=$("$bin/caddy" soc2 show "$id")
case $record in
*'"path":"/api/time","query":"token=*"'*'"status":200'*) ok "record of request $id" ;;
*) fail "record of request $id: $record" ;;
esac

curl -skf -o "$work/page" "$site/.soc2/" || fail "status page"
grep -q "$id" "$work/page" || fail "the status page does not show the request"
key=$(curl -skf "$site/.soc2/v1/log/key")
[ "$key" = "$("$bin/caddy" soc2 key show)" ] || fail "the key that is served is another"
ok "status page and key at $site/.soc2/"

"$bin/caddy" soc2 verify >"$work/verify" || fail "verify while serving: $(cat "$work/verify")"
"$bin/caddy" soc2 healthcheck --url "$site/.soc2/v1/healthz" >/dev/null || fail "healthcheck"
ok "verified while serving, and healthy"

stop INT
"$bin/soc2-verify" "$log" --key "$key" || fail "soc2-verify"
[[ $("$bin/caddy" soc2 tail -n 1) == *'"kind":"log.close"'* ]] || fail "the last record is not log.close"
ok "soc2-verify accepts the log"

cp -r "$log" "$work/copy"
printf X | dd of="$work/copy/segments/00000000000000000000.log" bs=1 seek=200 conv=notrunc status=none
code=0
"$bin/soc2-verify" "$work/copy" --key "$key" >"$work/verify" || code=$?
[ "$code" = 1 ] && grep -q '^FAILED     record 0 ' "$work/verify" || fail "a changed byte: exit $code: $(cat "$work/verify")"
ok "soc2-verify finds a changed byte: $(head -n 1 "$work/verify")"

for file in examples/Caddyfile deploy/Caddyfile; do
	"$bin/caddy" adapt --config "$file" --adapter caddyfile >/dev/null 2>"$work/out" || fail "$file"
	"$bin/caddy" fmt --diff "$file" >/dev/null || fail "$file is not formatted"
done
ok "the Caddyfiles in examples and deploy are accepted"

# The container's configuration, through the admin API.
serve run --config deploy/Caddyfile --adapter caddyfile
"$bin/caddy" soc2 healthcheck || fail "healthcheck through the admin API"
curl -sf -H 'Origin: http://localhost:2019' -o "$work/status" localhost:2019/soc2/v1/status || fail "status on the admin API"
grep -q '"origin"' "$work/status" || fail "status on the admin API: $(cat "$work/status")"
"$bin/caddy" reload --config deploy/Caddyfile --adapter caddyfile --force 2>"$work/reload" || fail "reload: $(cat "$work/reload")"
stop TERM
"$bin/soc2-verify" "$log" --key "$key" >/dev/null || fail "soc2-verify after the reload"
ok "configuration for containers, reload and admin API"
