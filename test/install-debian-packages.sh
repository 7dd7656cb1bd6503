#!/bin/sh
# Installs the Debian packages that some tests use; without them those tests are skipped, each with its reason.
packages="apache2-utils wrk nginx-light haproxy nghttp2-client tini procps util-linux iproute2 curl openssl
  python3-django python3-werkzeug python3-uvicorn python3-websockets python3-fastapi python3-starlette
  python3-hypercorn gunicorn uwsgi-core uwsgi-plugin-python3 lighttpd zsh fish mandoc docker-compose openssh-server
  prometheus slowhttptest chromium libnss3-tools redis-server pebble
  postgresql rclone s3cmd awscli python3-boto3"
# Google's packages also contain kubectl, and both cannot be installed together.
command -v kubectl >/dev/null || packages="$packages kubernetes-client"

missing=""
for package in $packages; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
export DEBIAN_FRONTEND=noninteractive
# One by one, so that an unavailable package does not prevent the others.
$as_root apt-get update -q || echo "apt-get update failed; going on with what is there"
for package in $missing; do
  $as_root apt-get install -q -y --no-install-recommends "$package" ||
    echo "not installed: $package (the tests that need it will be skipped)"
done
exit 0
