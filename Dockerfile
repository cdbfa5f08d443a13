# Builds the static binary and puts it alone into an image without a shell.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /dredge ./cmd/dredge

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /dredge /usr/local/bin/dredge
ENTRYPOINT ["dredge"]
