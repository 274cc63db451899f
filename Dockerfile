# syntax=docker/dockerfile:1
# The proxy, with every module. Builds with BuildKit and with buildah 1.28, so
# without COPY --link, heredocs and RUN --network. README says how to pin the
# bases by digest with these arguments.
ARG GO_IMAGE=golang:1.26-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETOS
ARG TARGETARCH
ENV GOCACHE=/go/cache GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# The same sources give the same bytes, wherever they are built.
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/go/cache \
    GOOS="$TARGETOS" GOARCH="$TARGETARCH" sh scripts/build /out/caddy \
 && install -d -m 0700 -o 65532 -g 65532 /out/data /out/config

FROM ${RUNTIME_IMAGE} AS proxy
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="caddy-soc2" \
      org.opencontainers.image.description="Caddy with a tamper-evident record of every request" \
      org.opencontainers.image.source="https://github.com/caddy-soc2/caddy-soc2" \
      org.opencontainers.image.documentation="https://github.com/caddy-soc2/caddy-soc2/blob/main/docs/containers.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Certificates, the audit log and its key live in /data: mount a volume there.
# Nothing else has to be writable.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/config /config
COPY --from=build --chmod=0555 /out/caddy /usr/bin/caddy
COPY --chmod=0444 deploy/Caddyfile /etc/caddy/Caddyfile
# The default endpoint of the admin API is that of the configuration below, so that
# a configuration that is rejected opens no other.
ENV CADDY_ADMIN=localhost:2019 XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
# No file capability on the binary, which would keep it from starting under
# --cap-drop ALL. Publish 80 as 8080 and 443 as 8443, tcp and udp.
EXPOSE 8080 8443 8443/udp
USER 65532:65532
# Asks the admin API, which the configuration below serves inside the container.
# With another command, such as "soc2 proxy", give --no-healthcheck or a --url.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/bin/caddy", "soc2", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
