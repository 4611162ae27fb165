# The sidecar's image.
#
#   docker build -t wxproxy:0.1.0 .
#   docker build -t wxproxy:0.1.0 --build-arg PIP_INDEX_URL=https://mirror.example/simple .
#   buildah bud --format docker --isolation chroot --build-arg PYTHON_IMAGE=localhost/base .
#
# (--format docker: OCI's own format has no HEALTHCHECK.) PYTHON_IMAGE may be any Debian or
# glibc image with Python 3.11 or later and its venv module; both stages use it. A tag moves:
# for builds that repeat, name the digest too, as in python:3.13-slim-trixie@sha256:….
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL=
# Bytecode is then named by hash in place of time: the same sources give the same files.
ARG SOURCE_DATE_EPOCH=1767225600
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
WORKDIR /src

# Wheels first: they change less often than the program.
COPY deploy/image/requirements.lock deploy/image/build.lock ./
RUN python3 -m venv /tools \
 && /tools/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: \
      --requirement build.lock \
 && /tools/bin/python -m pip wheel --no-cache-dir --require-hashes --only-binary :all: --no-deps \
      --wheel-dir /wheels --requirement requirements.lock

COPY pyproject.toml README.md ./
COPY wxproxy ./wxproxy
RUN /tools/bin/python -m pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation \
      --wheel-dir /wheels .

# An environment without pip; it is copied whole, so its path must not change.
RUN python3 -m venv --without-pip /opt/wxproxy \
 && /tools/bin/python -m pip --python /opt/wxproxy/bin/python install --no-cache-dir --no-index \
      --no-deps --compile /wheels/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="wxproxy" \
      org.opencontainers.image.description="Sidecar reverse proxy for WeChat's server API" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/wxproxy /opt/wxproxy
ENV PATH=/opt/wxproxy/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
# By number, so that kubelet can see that it is not root.
USER 65532:65532
WORKDIR /
# Nothing but /tmp is written to, for large request bodies. Health is that of the process: what
# WeChat does plays no part. It asks where WXPROXY_OPS_LISTEN says.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["wxproxy", "wait", "--timeout", "3"]
ENTRYPOINT ["wxproxy"]
CMD ["serve"]
