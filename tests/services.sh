#!/bin/sh
# Bring the real servers that tests run against: Mosquitto from the system's packages, Kafka through Maven, InfluxDB
# built with Go and Cargo (five minutes, once). The last two lie in a cache of the user; what is there is left alone.
set -eu
here=$(dirname "$0")
cache="${XDG_CACHE_HOME:-$HOME/.cache}/gridwarden/services"
kafka="$cache/kafka-4.1.0"
influxdb="$cache/influxdb-2.7.12"
began=$(date +%s)

say() { echo "services: $(($(date +%s) - began)) s: $*"; }

get_kafka() {
    say "getting Kafka 4.1.0 through Maven, 15 s"
    mkdir "$work/kafka"
    cat >"$work/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>gridwarden</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.0</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.1.0</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
XML
    (cd "$work" && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
        -DoutputDirectory="$work/kafka/lib")
    mv "$work/kafka" "$kafka"
}

get_influxdb() {
    for name in go cargo; do
        command -v "$name" >/dev/null || {
            echo "InfluxDB is built with Go 1.23 or newer (go.dev/dl) and Cargo (rustup.rs); $name is not there" >&2
            exit 1
        }
    done
    say "building InfluxDB 2.7.12 with $(go env GOVERSION), five minutes on two cores"
    mkdir "$work/influxdb"
    # The query language Flux pins an old Rust, and its crates fail on the lints of a new one.
    printf '#!/bin/sh\nexec "$@" --cap-lints warn\n' >"$work/rustc" && chmod +x "$work/rustc"
    GOBIN="$work/bin" go install github.com/influxdata/pkg-config@v0.2.7
    source=$(go mod download -json github.com/influxdata/influxdb/v2@v2.7.12 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    say "downloaded, compiling"
    (cd "$source" && RUSTUP_TOOLCHAIN=stable RUSTC_WORKSPACE_WRAPPER="$work/rustc" PKG_CONFIG="$work/bin/pkg-config" \
        GOFLAGS=-buildvcs=false go build -trimpath -tags sqlite_foreign_keys,sqlite_json -ldflags '-s -w' \
        -o "$work/influxdb/influxd" ./cmd/influxd)
    mv "$work/influxdb" "$influxdb"
}

tools="java:openjdk-17-jre-headless"
[ -d "$kafka" ] || tools="$tools mvn:maven"
[ -d "$influxdb" ] || tools="$tools clang:clang pkg-config:pkg-config"
sh "$here/tools.sh" $tools
mkdir -p "$cache"
exec 9>"$cache/lock"
flock -n 9 || { say "another make services is at work, waiting for it"; flock 9; }
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
[ -d "$kafka" ] || get_kafka
[ -d "$influxdb" ] || get_influxdb
say "Mosquitto, Kafka and InfluxDB are there ($cache)"
