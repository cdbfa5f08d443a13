package kinesis

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// A worker that asks for 200 shards at once, and again, makes 200 connections, not 200 each time.
func TestConnectionsAreKept(t *testing.T) {
	const shards, rounds = 200, 3
	var made atomic.Int64
	var together sync.WaitGroup
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		together.Done()
		together.Wait() // none is answered before all have asked
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			made.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client := awshttp.NewBuildableClient().WithTransportOptions(Transport)
	defer client.GetTransport().CloseIdleConnections()
	for range rounds {
		together.Add(shards)
		var asking sync.WaitGroup
		for range shards {
			asking.Go(func() {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
				if err != nil {
					t.Error(err)
					return
				}
				answer, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				if err := answer.Body.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		asking.Wait()
	}
	if n := made.Load(); n != shards {
		t.Errorf("%d connections for %d shards asked %d times", n, shards, rounds)
	}
}
