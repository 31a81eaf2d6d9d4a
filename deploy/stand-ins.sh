#!/usr/bin/env bash
# Where no registry of images answers: makes, of Debian's packages, what docker-compose.yml and the Dockerfile begin from,
# BASE=respool-base among them. Needs root, debootstrap and a network with Debian's packages.
#
# The database is Debian's PostgreSQL in place of postgres:18, with what of that image's ways is used here.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm base http://deb.debian.org/debian >&2
# A network that reads along has a certificate of its own, which the machine trusts.
cp /etc/ssl/certs/ca-certificates.crt base/etc/ssl/certs/ca-certificates.crt
tar -C base -c . | docker import \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' \
    - respool-base >&2
rm -rf base

cat >entrypoint <<'SH'
#!/bin/sh
set -e
mkdir -p /var/lib/postgresql/data /run/postgresql
chown postgres /var/lib/postgresql/data /run/postgresql
cd /var/lib/postgresql
bin=$(echo /usr/lib/postgresql/*/bin)
if [ ! -e data/PG_VERSION ]; then
    echo "$POSTGRES_PASSWORD" >/run/postgresql/password
    setpriv --reuid postgres --clear-groups "$bin/initdb" -D data -U "$POSTGRES_USER" -A scram-sha-256 --pwfile /run/postgresql/password
    rm /run/postgresql/password
    echo "host all all all scram-sha-256" >>data/pg_hba.conf
    echo "CREATE DATABASE $POSTGRES_USER;" | setpriv --reuid postgres --clear-groups "$bin/postgres" --single -D data postgres
fi
exec setpriv --reuid postgres --clear-groups "$bin/postgres" -D data -c listen_addresses='*'
SH
cat >Dockerfile <<'DOCKER'
FROM respool-base
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null
COPY entrypoint /entrypoint
ENTRYPOINT ["/entrypoint"]
DOCKER
chmod +x entrypoint
docker build --quiet --tag postgres:18 . >&2

cat >Dockerfile <<'DOCKER'
FROM respool-base
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null
ENTRYPOINT ["prometheus"]
DOCKER
docker build --quiet --tag prom/prometheus . >&2

