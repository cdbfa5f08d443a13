package kinesis

import "net/http"

// idleConnections is how many connections to one endpoint stay open between calls. A worker reads all its shards, and renews all its
// leases, at nearly the same time; a connection that was not kept is a TLS handshake at the next one. Go keeps two for each
// host, the SDK ten.
const idleConnections = 256

// Transport sets up the HTTP transport of a worker's AWS clients. Pass it to the WithTransportOptions of the SDK's HTTP client.
func Transport(t *http.Transport) {
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idleConnections
}
