package httpd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// writePair makes a certificate for 127.0.0.1 of its own authority, with the name as its common name.
func writePair(t *testing.T, cfg TLSConfig, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"dredge.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cfg.CertFile: {Type: "CERTIFICATE", Bytes: cert}, cfg.KeyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func testPair(t *testing.T) TLSConfig {
	t.Helper()
	dir := t.TempDir()
	cfg := TLSConfig{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writePair(t, cfg, "first")
	return cfg
}

func TestServesTLS(t *testing.T) {
	pair := testPair(t)
	s, err := New(Config{Listen: "127.0.0.1:0", TLS: pair}, Deps{Gatherer: prometheus.NewRegistry(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	roots := x509.NewCertPool()
	pemText, err := os.ReadFile(pair.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(pemText)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "dredge.test", MinVersion: tls.VersionTLS12}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Scheme()+"://"+addr.String()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.TLS == nil {
		t.Errorf("%s, TLS %v", resp.Status, resp.TLS)
	}
	transport.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A renewed certificate is taken without a restart; a broken one is not.
func TestRenewedCertificate(t *testing.T) {
	cfg := testPair(t)
	p, err := newPair(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		t.Helper()
		p.looked = time.Time{} // the next look may be now
		c, err := p.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.Subject.CommonName
	}
	later := time.Now().Add(time.Minute)
	touch := func() {
		t.Helper()
		later = later.Add(time.Minute)
		if err := os.Chtimes(cfg.CertFile, later, later); err != nil {
			t.Fatal(err)
		}
	}
	if got := name(); got != "first" {
		t.Errorf("%q is in use", got)
	}
	writePair(t, cfg, "second")
	touch()
	if got := name(); got != "second" {
		t.Errorf("%q is in use after a renewal", got)
	}
	if err := os.WriteFile(cfg.KeyFile, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch()
	if got := name(); got != "second" {
		t.Errorf("%q is in use after a broken renewal", got)
	}
}

func TestTLSFaults(t *testing.T) {
	if err := (Config{Listen: ":1", TLS: TLSConfig{CertFile: "c"}}).Validate(); err == nil || !strings.Contains(err.Error(), "tls.cert_file") {
		t.Errorf("half a pair: %v", err)
	}
	cfg := testPair(t)
	cfg.KeyFile = cfg.CertFile
	if _, err := New(Config{Listen: ":1", TLS: cfg}, Deps{Gatherer: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "tls.key_file") {
		t.Errorf("a certificate as key: %v", err)
	}
}
