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
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// proxy stands between the workers and one broker, and passes everything on but what commitFaults takes away and strikes hold.
type proxy struct {
	faults   *commitFaults
	strikes  *strikes
	listener net.Listener
	// backend is the file that holds the broker's port.
	backend string
	conns   errgroup.Group
	// open are the workers' connections, most how many there were at once.
	open, most atomic.Int64
	ctx        context.Context //nolint:containedctx // that of the experiment; connections come and go
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

// lose makes k a transaction of which nothing is heard any more.
func (f *commitFaults) lose(k transactionKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[k] = true
}

// newProxy listens. Its port is what the broker tells its clients.
func newProxy(ctx context.Context, faults *commitFaults, strikes *strikes, backend string) (*proxy, int, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, 0, errors.Join(fmt.Errorf("listening at %s, which is no port", l.Addr()), l.Close())
	}
	return &proxy{faults: faults, strikes: strikes, listener: l, backend: backend, ctx: ctx}, addr.Port, nil
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
	if n := p.open.Add(1); n > p.most.Load() {
		p.most.Store(n) // of two at once either may win: they are one apart
	}
	defer p.open.Add(-1)
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
	answerless := make(chan lostAnswer, 1)
	var both errgroup.Group
	both.Go(func() error {
		defer client.Close() //nolint:errcheck // ends the other direction
		defer broker.Close() //nolint:errcheck // ends the other direction
		return p.requests(broker, client, answerless)
	})
	both.Go(func() error {
		defer client.Close() //nolint:errcheck // ends the other direction
		defer broker.Close() //nolint:errcheck // ends the other direction
		return p.answers(client, broker, answerless)
	})
	_ = both.Wait() // connections end all the time
}

// header is the size of a message and, of a request, its key, version and correlation id.
const header = 4 + 2 + 2 + 4

var errLost = errors.New("lost on purpose")

// lostAnswer is the correlation id of the request whose answer is lost, and the strike that falls when it comes, if any.
type lostAnswer struct {
	correlation int32
	strike      *strike
	client      string
}

// requests passes requests on, frame by frame.
func (p *proxy) requests(to io.Writer, from io.Reader, answerless chan<- lostAnswer) error {
	head := make([]byte, header)
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		rest := int64(binary.BigEndian.Uint32(head)) - (header - 4)
		key := kmsg.Key(binary.BigEndian.Uint16(head[4:]))
		if key != kmsg.EndTxn && (key != kmsg.Produce || !p.strikes.lookingForPositions()) {
			if _, err := to.Write(head); err != nil {
				return err
			}
			if _, err := io.CopyN(to, from, rest); err != nil {
				return err
			}
			continue
		}
		frame := make([]byte, rest)
		if _, err := io.ReadFull(from, frame); err != nil {
			return err
		}
		version, client, body := requestOf(head, frame)
		if key == kmsg.Produce {
			if x := p.strikes.atPosition(version, body); x != nil {
				x.hold(p.ctx, client)
			}
		} else {
			k := commitOf(version, body)
			gone := lostAnswer{correlation: int32(binary.BigEndian.Uint32(head[8:])), client: client}
			switch p.faults.meet(k) {
			case loseRequest:
				return errLost
			case loseAnswer:
				answerless <- gone
			case loseNothing:
				if gone.strike = p.strikes.atCommit(k); gone.strike != nil {
					p.faults.lose(k)
					answerless <- gone
				}
			}
		}
		if _, err := to.Write(append(head[:header:header], frame...)); err != nil {
			return err
		}
	}
}

// requestOf takes a request apart: its version, the client id, and what comes after its header.
func requestOf(head, frame []byte) (version int16, client string, body []byte) {
	version = int16(binary.BigEndian.Uint16(head[6:]))
	size := max(int(int16(binary.BigEndian.Uint16(frame))), 0)
	client, body = string(frame[2:2+size]), frame[2+size:]
	if req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(head[4:]))); req != nil {
		req.SetVersion(version)
		if req.IsFlexible() {
			body = body[1:] // no tags
		}
	}
	return version, client, body
}

// commitOf reads an EndTxn request. An abort is nobody's commit: its key is empty.
func commitOf(version int16, body []byte) transactionKey {
	req := kmsg.NewEndTxnRequest()
	req.SetVersion(version)
	if err := req.ReadFrom(body); err != nil || !req.Commit {
		return transactionKey{}
	}
	return transactionKey{req.TransactionalID, req.ProducerID, req.ProducerEpoch}
}

// answers passes answers on until the one that is lost.
func (p *proxy) answers(to io.Writer, from io.Reader, answerless <-chan lostAnswer) error {
	head := make([]byte, 8)
	var lose lostAnswer
	armed := false
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		select {
		case lose = <-answerless:
			armed = true
		default:
		}
		if armed && int32(binary.BigEndian.Uint32(head[4:])) == lose.correlation {
			if lose.strike != nil {
				lose.strike.hold(p.ctx, lose.client)
			}
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
