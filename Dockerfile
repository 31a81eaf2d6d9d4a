# One image for all services: what they need, in the versions of constraints.txt, and nothing that builds them.
# Any Debian or Ubuntu with Python 3.11 or newer will do as the base: docker build --build-arg BASE=... .
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
ENV PIP_CONSTRAINT=/source/constraints.txt PIP_BUILD_CONSTRAINT=/source/constraints.txt PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY constraints.txt pyproject.toml hatch_build.py package.json package-lock.json .npmrc README.md LICENSE schema.sql ./
COPY backfiller backfiller
COPY common common
COPY cutter cutter
COPY downloader downloader
COPY editor editor
COPY librarian librarian
COPY respool respool
COPY restreamer restreamer
RUN python3 -m venv /opt/respool && /opt/respool/bin/pip install --quiet '.[yt-dlp]'

FROM ${BASE}
# Whoever mounts a folder at /data gives it to this user: chown 1000.
RUN useradd --uid 1000 --create-home respool && install --directory --owner respool /data
COPY --from=build /opt/respool /opt/respool
ENV PATH=/opt/respool/bin:$PATH PYTHONUNBUFFERED=1 \
    RESPOOL_BASE_DIR=/data/segments RESPOOL_SPOOL=/data/spool RESPOOL_HOST=0.0.0.0
USER respool
WORKDIR /data
VOLUME /data
ENTRYPOINT ["respool"]
