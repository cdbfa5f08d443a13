# Builds the static binary, the same bytes as `make release` makes of the commit, and puts it alone into an image without a shell.
# For another architecture: docker buildx build --platform linux/arm64 .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# With .git: the Go tool writes version and commit into the binary, for `dredge version` and dredge_build_info.
COPY . .
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=true -ldflags='-s -w -buildid=' -o /dredge ./cmd/dredge

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /dredge /usr/local/bin/dredge
COPY --from=build /src/LICENSE /usr/share/doc/dredge/LICENSE
# A number, so that runAsNonRoot of Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["/usr/local/bin/dredge"]
