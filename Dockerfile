# One image for every service and for the `postroad` command; what it runs is its command.
#
#   docker build -t postroad .
#   docker run postroad python -m catalog_worker

ARG PYTHON_IMAGE=python:3.11-slim

# --- dependencies: locked, checked by hash, wheels only, so nothing is compiled -------------------
FROM ${PYTHON_IMAGE} AS dependencies

COPY requirements.txt /tmp/
RUN python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python --disable-pip-version-check --no-input install \
        --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.txt \
 && find /venv -type d \( -name test -o -name tests -o -name testing \) -prune -exec rm -r {} +

# --- the image ------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}

# A volume that is mounted on one of these folders for the first time takes over its owner and mode:
# each service's secrets are for our user only; what is under broker/ and database/ is read by
# RabbitMQ's and PostgreSQL's users too, in whose containers nothing else is mounted.
RUN groupadd --gid 10001 postroad \
 && useradd --uid 10001 --gid postroad --no-create-home --home-dir /var/lib/postroad \
        --shell /usr/sbin/nologin postroad \
 && install -d -o postroad -g postroad -m 700 /var/lib/postroad /var/lib/postroad/trust \
        /var/lib/postroad/authority /var/lib/postroad/services /var/lib/postroad/services/auth \
        /var/lib/postroad/services/catalog /var/lib/postroad/services/bridge \
        /var/lib/postroad/services/scaler \
 && install -d -o postroad -g postroad -m 755 /var/lib/postroad/broker /var/lib/postroad/database \
 && printf '#!/bin/sh\nexec python -P -m ops.cli "$@"\n' >/usr/local/bin/postroad \
 && chmod 755 /usr/local/bin/postroad

COPY --from=dependencies /venv /venv

ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app:/app/shared \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    POSTROAD_STATE=/var/lib/postroad \
    BRIDGE_HOST=0.0.0.0
WORKDIR /app

# What changes most often comes last. The root may be read-only, so it is compiled here; and the
# checkout may be its owner's alone, but we run as somebody else.
COPY . .
RUN chmod -R a+rX . && python -m compileall -q --invalidation-mode unchecked-hash .

USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-m", "ops.health.container"]
CMD ["python", "-m", "http_bridge"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Postroad" \
      org.opencontainers.image.description="Event microservices that talk through RabbitMQ instead of HTTP" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
