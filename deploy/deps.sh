#!/bin/sh
# Installs what is missing of the named package groups (build, test, lint, bench) with apt. Debian 12; root, or a user with sudo.
set -eu
build="gcc g++ make libzmq3-dev libczmq-dev libmsgpack-dev libhiredis-dev redis-server libyaml-dev libsqlite3-dev
	libsimdjson-dev libwslay-dev libxxhash-dev libzstd-dev zlib1g-dev libcurl4-openssl-dev libssl-dev libargon2-dev libjansson-dev libmosquitto-dev mosquitto-clients"
test="check clang clang-format cppcheck redis-tools sqlite3 curl zstd python3 python3-paho-mqtt python3-influxdb testssl.sh haproxy mosquitto libcoap3-bin openssl spin strace git libfaketime"
lint="clang-tidy"
# Peers that make bench measures beside Roost; it says so if one is missing.
bench="python3 git mosquitto nats-server rabbitmq-server victoria-metrics influxdb"
want=""
for group in "$@"; do
	case $group in
	build) want="$want $build" ;;
	test) want="$want $test" ;;
	lint) want="$want $lint" ;;
	bench) want="$want $bench" ;;
	*) echo "usage: $0 build|test|lint|bench ..." >&2; exit 64 ;;
	esac
done
missing=""
for p in $want; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
sudo=""
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "missing:$missing; run as root: apt-get install$missing" >&2; exit 75; }
	sudo=sudo
fi
echo "installing:$missing"
$sudo apt-get update -qq
# A package's own service must not start: Roost runs redis-server itself.
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
