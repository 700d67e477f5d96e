# syntax=docker/dockerfile:1

# One small image per binary: `docker build --target ingest .`, and so on; `docker compose build` makes all of them from
# one build stage. The binaries need glibc, libm and libgcc, which the slim image has, and no CA certificates: MongoDB's
# driver has its own, and connections to the other stores use no TLS. Migrations are inside the binaries.

FROM rust:1.95-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
# Function names stay in backtraces; line tables would make the images seven times as large.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# Dependencies are built once and kept in the cache. Millrace's own files are touched, because cargo compares times: a checkout
# older than the cache would otherwise count as built.
RUN --mount=type=cache,id=millrace-crates,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=millrace-target-${TARGETARCH},target=/src/target,sharing=locked \
    find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin ingest --bin online-consumer --bin offline-consumer \
        --bin feature-server --bin millrace \
    && mkdir /out \
    && cp target/release/ingest target/release/online-consumer target/release/offline-consumer \
        target/release/feature-server target/release/millrace /out/

# The same release of Debian as above, for the same glibc.
FROM debian:12-slim AS runtime
LABEL org.opencontainers.image.vendor="Millrace" org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes can see that it is not root. No process writes files, so the root file system may be read-only.
USER 65532:65532
WORKDIR /

FROM runtime AS ingest
LABEL org.opencontainers.image.title="ingest" org.opencontainers.image.description="HTTP events in, log entries out."
COPY --from=build /out/ingest /usr/local/bin/
ENV MILLRACE_INGEST_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/ingest"]

FROM runtime AS online-consumer
LABEL org.opencontainers.image.title="online-consumer" \
    org.opencontainers.image.description="Folds the log into Redis and MongoDB."
COPY --from=build /out/online-consumer /usr/local/bin/
ENV MILLRACE_ADMIN_LISTEN=0.0.0.0:9101
EXPOSE 9101
ENTRYPOINT ["/usr/local/bin/online-consumer"]

FROM runtime AS offline-consumer
LABEL org.opencontainers.image.title="offline-consumer" \
    org.opencontainers.image.description="Copies the log to ClickHouse, each event once."
COPY --from=build /out/offline-consumer /usr/local/bin/
ENV MILLRACE_ADMIN_LISTEN=0.0.0.0:9102
EXPOSE 9102
ENTRYPOINT ["/usr/local/bin/offline-consumer"]

FROM runtime AS feature-server
LABEL org.opencontainers.image.title="feature-server" \
    org.opencontainers.image.description="Merged feature vectors from Redis, MongoDB and ClickHouse."
COPY --from=build /out/feature-server /usr/local/bin/
ENV MILLRACE_SERVE_GRPC_LISTEN=0.0.0.0:50051
ENV MILLRACE_SERVE_LISTEN=0.0.0.0:8081
EXPOSE 50051
EXPOSE 8081
ENTRYPOINT ["/usr/local/bin/feature-server"]

FROM runtime AS millrace
LABEL org.opencontainers.image.title="millrace" \
    org.opencontainers.image.description="Migrations, definitions, batch jobs, and a look at what runs."
COPY --from=build /out/millrace /usr/local/bin/
# For `run-jobs`; the other commands end by themselves.
EXPOSE 9103
ENTRYPOINT ["/usr/local/bin/millrace"]
