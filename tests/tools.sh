#!/bin/sh
# Bring what pip cannot: Chromium with Chinese glyphs, Mosquitto, a clock that can be stepped, and the COMMAND:PACKAGE pairs that are named.
# As root by apt-get, else say what to run.
set -eu
missing=""
[ -e /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc ] || missing=" fonts-noto-cjk"
for pair in chromium:chromium mosquitto:mosquitto faketime:faketime "$@"; do
    command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The tests need:$missing. Run: sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The package of Mosquitto would start a broker of its own on the default port; the tests start theirs.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get install -y -qq --no-install-recommends $missing >/dev/null
