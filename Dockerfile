# The image: one executable on a base without a shell. docs/image.md has the arguments and what to carry to a site without a registry.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg REVISION="$(git rev-parse HEAD)" -t transporter .
#
# EXECUTABLE=prebuilt takes dist/transporter-linux-amd64 or -arm64, as `just build-all` makes them, instead of building inside.
ARG EXECUTABLE=build
ARG BUN_IMAGE=docker.io/oven/bun:1.4.5
# Pin it in a release: gcr.io/distroless/base-debian12:nonroot@sha256:…
ARG BASE_IMAGE=gcr.io/distroless/base-debian12:nonroot

# Runs on the builder's own machine: Bun compiles for others, and nothing of the target is run.
FROM --platform=$BUILDPLATFORM ${BUN_IMAGE} AS build
ARG TARGETARCH
ARG REVISION=unknown
WORKDIR /src
COPY package.json bun.lock bunfig.toml ./
RUN bun install --frozen-lockfile --production --ignore-scripts
COPY bin bin
COPY src src
COPY scripts scripts
RUN TRANSPORTER_BUILD_COMMIT="${REVISION}" bun scripts/build-all.ts "linux-${TARGETARCH}" && mv "dist/transporter-linux-${TARGETARCH}" /transporter

FROM scratch AS prebuilt
ARG TARGETARCH
COPY dist/transporter-linux-${TARGETARCH} /transporter

FROM ${EXECUTABLE} AS executable

FROM ${BASE_IMAGE}
ARG VERSION=0.2.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="transporter" \
      org.opencontainers.image.description="Manage Kubernetes clusters that nobody can reach from outside" \
      org.opencontainers.image.source="https://github.com/transporter-dev/transporter" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --chmod=0644 LICENSE /app/LICENSE
COPY --from=executable --chmod=0755 /transporter /app/transporter
# In numbers: a kubelet that checks runAsNonRoot cannot read names.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/app/transporter"]
