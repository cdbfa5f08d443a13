package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// unknownTopicRetries is how often the client asks for a missing topic before rows fail: some 25 s, longer than a broker that
// has just started takes to learn what exists.
const unknownTopicRetries = 10

func codec(name string) (kgo.CompressionCodec, bool) {
	switch name {
	case "none":
		return kgo.NoCompression(), true
	case "snappy":
		return kgo.SnappyCompression(), true
	case "lz4":
		return kgo.Lz4Compression(), true
	case "zstd":
		// On rows the fastest level is both faster and smaller than the default one, whose window the client cuts to 64 KiB.
		return kgo.ZstdCompression().WithLevel(int(zstd.SpeedFastest)), true
	}
	return kgo.CompressionCodec{}, false
}

// options is the producer's client.
func (c *Config) options(log zerolog.Logger, keys AWSCredentials, m *metrics) ([]kgo.Opt, error) {
	opts, err := c.connection(log, keys)
	if err != nil {
		return nil, err
	}
	return append(c.producing(opts, m),
		// Above what the pool can hold: Write waits for a slab, where it can end with its context, never inside the client.
		kgo.MaxBufferedRecords(int(c.BufferBytes/slabBytes)*slabRecords+1),
	), nil
}

// transactional is the client of one shard in mode exactly-once.
func (c *Config) transactional(log zerolog.Logger, keys AWSCredentials, m *metrics, id string) ([]kgo.Opt, error) {
	opts, err := c.connection(log, keys)
	if err != nil {
		return nil, err
	}
	return append(c.producing(opts, m),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(c.ExactlyOnce.TransactionTimeout),
		kgo.MaxBufferedRecords(math.MaxInt32), // the pool is the bound
	), nil
}

// producing adds what producers of rows have in common.
func (c *Config) producing(opts []kgo.Opt, m *metrics) []kgo.Opt {
	compression, _ := codec(c.Compression)
	return append(opts,
		kgo.WithHooks(m),
		kgo.ProducerBatchCompression(compression, kgo.NoCompression()),
		kgo.ProducerLinger(c.Linger),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
			if topic == c.ExactlyOnce.CheckpointsTopic {
				return func(r *kgo.Record, n int) int { return int(checkpointPartition(string(r.Key))) % n }
			}
			// The client does not read Offset before it has its answer; until then the hash is there.
			return func(r *kgo.Record, n int) int { return int(uint64(r.Offset) % uint64(n)) }
		})),
	)
}

// connection is what every client of ours needs. Acks from all replicas and idempotence are the client's defaults; retries
// without end too.
func (c *Config) connection(log zerolog.Logger, keys AWSCredentials) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.DialTimeout(c.DialTimeout),
		kgo.ProducerBatchMaxBytes(int32(c.BatchMaxBytes)),
		kgo.UnknownTopicRetries(unknownTopicRetries),
		// A broker that goes down closes connections it has just accepted. Check, which asks once, still names the usual causes.
		kgo.AlwaysRetryEOF(),
		kgo.DisableClientMetrics(),
		kgo.WithLogger(clientLog{log.With().Str("client", "kafka").Logger().Sample(&zerolog.BurstSampler{Burst: 20, Period: time.Minute})}),
	}
	if c.TLS.Enabled {
		conf, err := c.TLS.load()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	if c.SASL.Mechanism != "" {
		mechanism, err := c.SASL.mechanism(keys)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

func (c TLSConfig) load() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %q holds no PEM certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		if _, err := c.certificate(); err != nil {
			return nil, err
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate() }
	}
	return conf, nil
}

// certificate reads the client certificate. It is read for each connection, so a renewed one needs no restart.
func (c TLSConfig) certificate() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file: %w", err)
	}
	if end := cert.Leaf.NotAfter; time.Now().After(end) {
		return nil, fmt.Errorf("tls.cert_file: the certificate in %q ended at %s; put a new one there", c.CertFile, end.UTC().Format(time.RFC3339))
	}
	return &cert, nil
}

// clientLog hands the client's warnings and errors to the log, at most 20 a minute: they come per connection and per batch.
type clientLog struct{ log zerolog.Logger }

func (clientLog) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	as := zerolog.WarnLevel
	if level == kgo.LogLevelError {
		as = zerolog.ErrorLevel
	}
	fields := make(map[string]any, len(keyvals)/2)
	for i := 0; i+1 < len(keyvals); i += 2 {
		key, _ := keyvals[i].(string)
		fields[key] = fmt.Sprint(keyvals[i+1])
		// The client tries such a connection again and again, and rows wait: an operator has to act, as Check would tell.
		if err, ok := keyvals[i+1].(error); ok && connectionRefused(err) {
			fields["hint"] = strings.TrimPrefix(pingHint(err), "; ")
		}
	}
	l.log.WithLevel(as).Str("detail", msg).Fields(fields).Msg("kafka client")
}
