package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// topicACLs are the rights that dredge's documentation asks for.
func topicACLs(name string) []kfake.ACL {
	var acls []kfake.ACL
	for _, op := range []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe} {
		acls = append(acls, kfake.ACL{
			Resource: kmsg.ACLResourceTypeTopic, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true,
		})
	}
	return append(acls, kfake.ACL{
		Resource: kmsg.ACLResourceTypeCluster, Name: "kafka-cluster", Pattern: kmsg.ACLResourcePatternTypeLiteral,
		Operation: kmsg.ACLOperationIdempotentWrite, Allow: true,
	})
}

func TestSASL(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "password")
				if err := os.WriteFile(file, []byte("pw\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				s := newStage(t, func(c *Config) {
					c.SASL = SASLConfig{Mechanism: mechanism, Username: "dredge", PasswordFile: file}
				}, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"),
					kfake.User(mechanism, "dredge", "pw", topicACLs(topic)...))
				defer s.close()
				writeOne(t, s.sink)
			})
		})
	}
}

func TestWrongPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) {
			c.SASL = SASLConfig{Mechanism: "PLAIN", Username: "dredge", Password: "wrong"}
		}, kfake.EnableSASL(), kfake.User("PLAIN", "dredge", "pw"))
		defer s.close()
		err := s.sink.Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), "sasl.username and sasl.password_file to a user") || strings.Contains(err.Error(), "wrong") {
			t.Errorf("Check = %v, want advice about the password, without it", err)
		}
	})
}

// Whatever a broker says of our credentials while the sink runs, the log and a take-over tell what to write.
func TestRefusedConnections(t *testing.T) {
	const want = "set sasl.username and sasl.password_file to a user that the brokers know"
	refused := fmt.Errorf("dial: %w", kerr.SaslAuthenticationFailed)
	log := &said{more: make(chan struct{}, 1)}
	clientLog{zerolog.New(log)}.Log(kgo.LogLevelError, "unable to initialize sasl", "broker", 1, "err", refused)
	if !log.has(want) {
		t.Errorf("the log says %s, want %q", log.text.String(), want)
	}
	err := new(Sink).fenceError("app/shard-0", refused)
	if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !strings.Contains(err.Error(), want) {
		t.Errorf("take-over: %v, want a permanent error with %q", err, want)
	}
}

// A password that the brokers take no longer, while the sink runs: rows wait, and the log says for what. When it is good again they land, once.
// Nothing is reported before it is durable, or skipped.
func TestPasswordRevokedWhileRunning(t *testing.T) {
	const want = "set sasl.username and sasl.password_file to a user that the brokers know"
	for _, mode := range []Mode{AtLeastOnce, ExactlyOnce} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTxStage(t, func(c *Config) {
					c.Mode = mode
					c.SASL = SASLConfig{Mechanism: "PLAIN", Username: "dredge", Password: "pw"}
				}, kfake.EnableSASL(), kfake.User("PLAIN", "dredge", "pw"))
				defer s.cluster.Close()
				log := &said{more: make(chan struct{}, 1)}
				s.log = zerolog.New(log)
				p := s.process("one")
				defer p.Close()
				a := s.open(p, "shard-0", "")
				a.must(a.write())
				a.must(a.Flush(t.Context()))
				revoked := true
				s.cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
					if !revoked {
						s.cluster.DropControl()
						return nil, nil, false
					}
					s.cluster.KeepControl()
					resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse) //nolint:forcetypeassert // the key says so
					resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
					return resp, nil, true
				})
				p.link.cut(false)
				a.must(a.write())
				pass(time.Minute)
				if done, errs := a.reported(); done != 1 || len(errs) > 0 {
					t.Errorf("%d Writes were reported, with %v; want 1", done, errs)
				}
				if !log.has(want) {
					t.Errorf("the log does not say %q: %s", want, log.text.String())
				}
				revoked = false
				a.must(a.Flush(t.Context()))
				if done, errs := a.reported(); done != 2 || len(errs) > 0 {
					t.Errorf("%d Writes were reported, with %v; want 2", done, errs)
				}
				if have := len(s.rows()); have != 2*rowsEach {
					t.Errorf("%d rows in the topic, want %d", have, 2*rowsEach)
				}
				a.must(a.Close(t.Context()))
			})
		})
	}
}

// A missing ACL stops the Writer; once it is granted a new Writer works.
func TestMissingACL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) {
			c.SASL = SASLConfig{Mechanism: "PLAIN", Username: "dredge", Password: "pw"}
		}, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"),
			kfake.User("PLAIN", "dredge", "pw", topicACLs("another")...))
		defer s.close()
		w, _, err := s.sink.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		var done error
		err = w.Write(t.Context(), sinktest.Batch("shard-0", "1", 0, 1, 200), "1", func(err error) { done = err })
		if err != nil {
			t.Fatal(err)
		}
		err = w.Flush(t.Context())
		if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !strings.Contains(err.Error(), "grant the user Write") {
			t.Errorf("Flush = %v, want a permanent error that says what to grant", err)
		}
		if !errors.Is(done, err) {
			t.Errorf("done = %v, want %v", done, err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(s.letters.all) != 0 {
			t.Errorf("%d rows were dead-lettered for want of a right", len(s.letters.all))
		}
	})
}

// TLS needs real sockets, because certificates are made out to addresses and hosts.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, caFile := selfSigned(t, dir)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	open := func(tlsConfig TLSConfig) *Sink {
		cfg := testConfig(cluster)
		cfg.Partitions, cfg.TLS = 1, tlsConfig
		s, err := New(cfg, Deps{Encoder: sinktest.Encoder{}, DeadLetter: sink.Discard{}, Registry: prometheus.NewRegistry(), Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	trusting := open(TLSConfig{Enabled: true, CAFile: caFile})
	if err := trusting.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	writeOne(t, trusting)

	err = open(TLSConfig{Enabled: true}).Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "set tls.ca_file") {
		t.Errorf("Check of an unknown authority = %v, want advice about tls.ca_file", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = open(TLSConfig{}).Check(ctx)
	if err == nil || !strings.Contains(err.Error(), "set tls.enabled as the listener is") {
		t.Errorf("Check of a TLS listener without TLS = %v, want advice about tls.enabled", err)
	}

	cfg := testConfig(cluster)
	cfg.TLS = TLSConfig{Enabled: true, CAFile: filepath.Join(dir, "none.pem")}
	_, err = New(cfg, Deps{Registry: prometheus.NewRegistry(), Log: zerolog.Nop()})
	if err == nil || !strings.Contains(err.Error(), "tls.ca_file: ") {
		t.Errorf("New with a missing file = %v, want it to name tls.ca_file", err)
	}
}

// A listener that asks for client certificates gets one, which is read for each connection: a renewed one needs no restart, and
// one that has ended is named.
func TestClientCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, caFile := selfSigned(t, dir)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(cluster)
	cfg.Partitions, cfg.TLS = 1, TLSConfig{Enabled: true, CAFile: caFile, CertFile: caFile, KeyFile: keyFile}
	s, err := New(cfg, Deps{Encoder: sinktest.Encoder{}, DeadLetter: sink.Discard{}, Registry: prometheus.NewRegistry(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	writeOne(t, s)

	ended := signed(t, dir, "ended.pem", cert.PrivateKey.(*ecdsa.PrivateKey), time.Now().Add(-time.Minute))
	cfg.TLS.CertFile = ended
	if _, err := New(cfg, Deps{Registry: prometheus.NewRegistry(), Log: zerolog.Nop()}); err == nil || !strings.Contains(err.Error(), "ended.pem\" ended at ") {
		t.Errorf("New with a certificate that has ended = %v", err)
	}
}

// The brokers' certificate has ended: Check and the running sink say so, and that no authority that could be set would mend it.
func TestBrokersCertificateEnded(t *testing.T) {
	dir := t.TempDir()
	good, caFile := selfSigned(t, dir)
	file := signed(t, dir, "ended.pem", good.PrivateKey.(*ecdsa.PrivateKey), time.Now().Add(-time.Minute))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	ended := tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: good.PrivateKey}
	for _, mode := range []Mode{AtLeastOnce, ExactlyOnce} {
		t.Run(string(mode), func(t *testing.T) {
			// The certificate ends while the sink runs: new connections are refused.
			var has atomic.Bool
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic), kfake.SeedTopics(checkpointPartitions, "checkpoints"),
				kfake.TLS(&tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
					if has.Load() {
						return &ended, nil
					}
					return &good, nil
				}}))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			s := openSecured(t, cluster, mode, func(c *Config) { c.TLS = TLSConfig{Enabled: true, CAFile: caFile} })
			writeOne(t, s.Sink)
			has.Store(true)
			late := openSecured(t, cluster, mode, func(c *Config) { c.TLS = TLSConfig{Enabled: true, CAFile: caFile} })
			const want = "the brokers' certificate has ended or is not good yet"
			if err := late.Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "tls.ca_file") {
				t.Errorf("Check = %v, want %q", err, want)
			}
			wantTold(t, late, want)
		})
	}
}

// secured is a sink against a broker that takes connections only from those who prove something.
type secured struct {
	*Sink
	said *said
}

// said is what a sink has logged.
type said struct {
	mu   sync.Mutex
	text strings.Builder
	// more is told when there is more.
	more chan struct{}
}

func (s *said) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(line)
}

func (s *said) has(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), part)
}

// openSecured makes a sink of that mode, whose shards nobody else wants.
func openSecured(t *testing.T, cluster *kfake.Cluster, mode Mode, change func(*Config)) secured {
	t.Helper()
	cfg := testConfig(cluster)
	cfg.Partitions, cfg.Mode, cfg.ExactlyOnce.CheckpointsTopic = 1, mode, "checkpoints"
	change(&cfg)
	log := &said{more: make(chan struct{}, 1)}
	s, err := New(cfg, Deps{
		Encoder: sinktest.Encoder{}, DeadLetter: sink.Discard{}, Registry: prometheus.NewRegistry(), Log: zerolog.New(log),
		Leases: &worker{table: newTable(), id: "one"}, Application: "app",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return secured{s, log}
}

// wantTold wants the running sink to say what is wrong with its connections: in mode exactly-once a shard is not opened, with a permanent
// error, in the other rows wait, and the log says for what. Nothing is acknowledged or skipped.
func wantTold(t *testing.T, s secured, want string) {
	t.Helper()
	w, _, err := s.Open(t.Context(), "shard-0")
	if s.cfg.Mode == ExactlyOnce {
		if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want a permanent error with %q", err, want)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	done := false
	if err := w.Write(t.Context(), sinktest.Batch("shard-0", "1", 0, 1, 200), "1", func(err error) { done = err == nil }); err != nil {
		t.Fatal(err)
	}
	for !s.said.has(want) {
		select {
		case <-s.said.more:
		case <-t.Context().Done():
			t.Fatalf("the log does not say %q", want)
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if done {
		t.Error("rows were reported as durable")
	}
}

func selfSigned(t *testing.T, dir string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := signed(t, dir, "ca.pem", key, time.Now().Add(time.Hour))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}, file
}

// signed writes a certificate for 127.0.0.1 and key, signed with key, that is good until end.
func signed(t *testing.T, dir, name string, key *ecdsa.PrivateKey, end time.Time) (file string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kafka"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func writeOne(t *testing.T, s *Sink) {
	t.Helper()
	w, _, err := s.Open(t.Context(), "shard-0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), sinktest.Batch("shard-0", "1", 0, 1, 200), "1", func(err error) {
		if err != nil {
			t.Errorf("done = %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
