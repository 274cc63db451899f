# syntax=docker/dockerfile:1
# A Go program: one static binary on an image that has neither a shell nor a
# package manager. The program listens on port 8080, ends on SIGTERM and, called
# as "app healthcheck", asks itself whether it works and exits with 0 if it does.
ARG GO_IMAGE=golang:1.26-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETOS
ARG TARGETARCH
ENV CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    GOOS="$TARGETOS" GOARCH="$TARGETARCH" go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o /out/app .

FROM ${RUNTIME_IMAGE} AS app
COPY --from=build --chmod=0555 /out/app /usr/bin/app
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/bin/app", "healthcheck"]
ENTRYPOINT ["/usr/bin/app"]
