package httpd

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// TLSConfig is what the server proves itself with.
type TLSConfig struct {
	// CertFile is the certificate with its chain, in PEM; with KeyFile it turns TLS on. Both are read again when they change.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the certificate's private key, in PEM.
	KeyFile string `yaml:"key_file"`
}

// Enabled says whether the server speaks TLS.
func (c TLSConfig) Enabled() bool { return c.CertFile != "" || c.KeyFile != "" }

func (c TLSConfig) validate() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return fmt.Errorf("cert_file: %q and key_file: %q belong together; write both, or neither", c.CertFile, c.KeyFile)
	}
	return nil
}

// lookAgain is how often the files are looked at, at most: certificates are renewed hours before they end.
const lookAgain = 10 * time.Second

// pair is the certificate in use. Safe for concurrent use.
type pair struct {
	cfg TLSConfig
	log zerolog.Logger

	mu     sync.Mutex
	cert   *tls.Certificate
	stamp  [2]time.Time // when the files were changed that cert was read from
	looked time.Time
}

// newPair reads the files, so that wrong ones are known before anything listens.
func newPair(cfg TLSConfig, log zerolog.Logger) (*pair, error) {
	p := &pair{cfg: cfg, log: log}
	return p, p.read()
}

func (p *pair) read() error {
	stamp, err := p.stamps()
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(p.cfg.CertFile, p.cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("tls.cert_file %q and tls.key_file %q: %w", p.cfg.CertFile, p.cfg.KeyFile, err)
	}
	p.cert, p.stamp = &cert, stamp
	return nil
}

func (p *pair) stamps() (out [2]time.Time, err error) {
	for i, name := range []string{p.cfg.CertFile, p.cfg.KeyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return out, fmt.Errorf("tls: %w", err)
		}
		out[i] = info.ModTime()
	}
	return out, nil
}

// get is what a handshake asks for. Files that changed are read; when they cannot be, the old certificate stays in use.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.looked) >= lookAgain {
		p.looked = now
		if stamp, err := p.stamps(); err != nil || stamp != p.stamp {
			if err == nil {
				err = p.read()
			}
			if err != nil {
				p.log.Error().Err(err).Msg("the new certificate cannot be read, the old one stays in use")
			} else {
				p.log.Info().Str("file", p.cfg.CertFile).Msg("certificate read again")
			}
		}
	}
	return p.cert, nil
}

func (p *pair) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get}
}
