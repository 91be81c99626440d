# One image for everything: the command line, the release CronJob, Prefect's worker and its jobs.
#
#   docker build -t foretide .
#   docker build -t foretide --build-arg CPU=neoverse-n1 --platform linux/arm64 .    Graviton
#
# What it installs is in config/image/install.sh, what it must do in config/image/check.sh; both are
# run without a container engine by `make image-test`. Name BASE by digest, or your mirror's copy.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# Which processors the compiled kernels are for: x86-64-v3 is AVX2, every x86 EC2 type since 2014.
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=${CPU} NUMBA_CPU_FEATURES= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
COPY pyproject.toml README.md /src/
COPY config /src/config
COPY features /src/features
COPY models /src/models
COPY pipelines /src/pipelines
RUN sh /src/config/image/install.sh /src

FROM ${BASE}
ARG CPU=x86-64-v3
ARG REVISION=unknown
LABEL org.opencontainers.image.title="foretide" \
      org.opencontainers.image.description="Anomalies, leaks, forecasts and capacity before the peak" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/foretide /opt/foretide
# Runs need only /tmp to be writable; /foretide is where config/foretide.yaml is mounted. The base
# has a pip of its own, which nothing here uses.
RUN mkdir -p /foretide/config && \
    rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/*
ENV PATH=/opt/foretide/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    TMPDIR=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    PREFECT_HOME=/tmp/prefect \
    NUMBA_CACHE_DIR=/tmp/numba \
    NUMBA_CPU_NAME=${CPU} \
    NUMBA_CPU_FEATURES= \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=false \
    FORETIDE_HOME=/foretide
WORKDIR /foretide
USER 65534:65534
# For engines that look; Kubernetes asks the worker itself (config/deploy/prefect).
HEALTHCHECK --interval=60s --timeout=20s --start-period=10s CMD ["foretide", "--version"]
ENTRYPOINT ["foretide"]
CMD ["--help"]
