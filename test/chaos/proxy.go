package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// proxy stands between the workers and one broker, and passes everything on but what commitFaults takes away.
type proxy struct {
	faults   *commitFaults
	listener net.Listener
	// backend is the file that holds the broker's port.
	backend string
	conns   errgroup.Group
	ctx     context.Context //nolint:containedctx // that of the experiment; connections come and go
}

// commitFaults loses requests to commit a transaction, or their answers, and goes on to lose those of the same transaction, so
// that the client gives up without knowing what became of it.
type commitFaults struct {
	mu    sync.Mutex
	armed []lost
	// gone are the transactions of which nothing is heard any more.
	gone map[transactionKey]bool
	// struck are the faults that met a commit.
	requests, answers int
}

type lost int

const (
	loseNothing lost = iota
	loseRequest
	loseAnswer
)

type transactionKey struct {
	id    string
	pid   int64
	epoch int16
}

// arm makes the next commit of anybody meet what.
func (f *commitFaults) arm(what lost) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = append(f.armed, what)
}

// meet says what becomes of a commit.
func (f *commitFaults) meet(k transactionKey) lost {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone[k] {
		return loseRequest
	}
	if len(f.armed) == 0 || k == (transactionKey{}) {
		return loseNothing
	}
	what := f.armed[0]
	f.armed = f.armed[1:]
	f.gone[k] = true
	if what == loseAnswer {
		f.answers++
	} else {
		f.requests++
	}
	return what
}

// newProxy listens. Its port is what the broker tells its clients.
func newProxy(ctx context.Context, faults *commitFaults, backend string) (*proxy, int, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, 0, errors.Join(fmt.Errorf("listening at %s, which is no port", l.Addr()), l.Close())
	}
	return &proxy{faults: faults, listener: l, backend: backend, ctx: ctx}, addr.Port, nil
}

// run accepts connections until close.
func (p *proxy) run() error {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return p.conns.Wait()
		}
		p.conns.Go(func() error {
			p.serve(client)
			return nil
		})
	}
}

// serve passes one connection on. A broker that is down looks to the client like one that closes at once.
func (p *proxy) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // nothing is left to say on it
	port, err := os.ReadFile(p.backend)
	if err != nil {
		return
	}
	dial := net.Dialer{Timeout: 5 * time.Second}
	broker, err := dial.DialContext(p.ctx, "tcp", net.JoinHostPort("127.0.0.1", strings.TrimSpace(string(port))))
	if err != nil {
		return
	}
	defer broker.Close() //nolint:errcheck // as above
	// answerless is the correlation id of the request whose answer is lost.
	answerless := make(chan int32, 1)
	var both errgroup.Group
	both.Go(func() error {
		defer client.Close() //nolint:errcheck // ends the other direction
		defer broker.Close() //nolint:errcheck // ends the other direction
		return p.requests(broker, client, answerless)
	})
	both.Go(func() error {
		defer client.Close() //nolint:errcheck // ends the other direction
		defer broker.Close() //nolint:errcheck // ends the other direction
		return answers(client, broker, answerless)
	})
	_ = both.Wait() // connections end all the time
}

// header is the size of a message and, of a request, its key, version and correlation id.
const header = 4 + 2 + 2 + 4

var errLost = errors.New("lost on purpose")

// requests passes requests on, frame by frame.
func (p *proxy) requests(to io.Writer, from io.Reader, answerless chan<- int32) error {
	head := make([]byte, header)
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		rest := int64(binary.BigEndian.Uint32(head)) - (header - 4)
		if kmsg.Key(binary.BigEndian.Uint16(head[4:])) != kmsg.EndTxn {
			if _, err := to.Write(head); err != nil {
				return err
			}
			if _, err := io.CopyN(to, from, rest); err != nil {
				return err
			}
			continue
		}
		body := make([]byte, rest)
		if _, err := io.ReadFull(from, body); err != nil {
			return err
		}
		switch p.faults.meet(commitOf(head, body)) {
		case loseRequest:
			return errLost
		case loseAnswer:
			answerless <- int32(binary.BigEndian.Uint32(head[8:]))
		case loseNothing:
		}
		if _, err := to.Write(append(head[:header:header], body...)); err != nil {
			return err
		}
	}
}

// commitOf reads an EndTxn request. An abort is nobody's commit: its key is empty.
func commitOf(head, body []byte) transactionKey {
	req := kmsg.NewEndTxnRequest()
	req.SetVersion(int16(binary.BigEndian.Uint16(head[6:])))
	client := 2 + max(int(int16(binary.BigEndian.Uint16(body))), 0) // client id
	body = body[client:]
	if req.IsFlexible() {
		body = body[1:] // no tags
	}
	if err := req.ReadFrom(body); err != nil || !req.Commit {
		return transactionKey{}
	}
	return transactionKey{req.TransactionalID, req.ProducerID, req.ProducerEpoch}
}

// answers passes answers on until the one that is lost.
func answers(to io.Writer, from io.Reader, answerless <-chan int32) error {
	head := make([]byte, 8)
	lose, armed := int32(0), false
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		select {
		case lose = <-answerless:
			armed = true
		default:
		}
		if armed && int32(binary.BigEndian.Uint32(head[4:])) == lose {
			return errLost
		}
		if _, err := to.Write(head); err != nil {
			return err
		}
		if _, err := io.CopyN(to, from, int64(binary.BigEndian.Uint32(head))-4); err != nil {
			return err
		}
	}
}
