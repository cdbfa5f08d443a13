package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/internal/httpd"
)

// localRequest is how a command asks the dredge that runs on this machine.
type localRequest struct {
	path, url string
	timeout   time.Duration
}

func (a *localRequest) flags(cmd *cobra.Command, timeout time.Duration) {
	addConfigFlag(cmd, &a.path)
	cmd.Flags().StringVar(&a.url, "url", "", "address of the running dredge (default: http.listen of the config; loopback where that is every address)")
	cmd.Flags().DurationVar(&a.timeout, "timeout", timeout, "how long to wait")
}

// maxReply bounds what is read of an answer.
const maxReply = 16 << 20

// ask sends one request with the logins and the certificate of the configuration, and returns the body of a good answer.
func (a *localRequest) ask(ctx context.Context, method, path string) ([]byte, error) {
	c := config.Default()
	if a.url == "" || a.path != "" {
		var err error
		if c, err = config.Load(a.path, os.Environ()); err != nil {
			return nil, err
		}
	}
	base := a.url
	if base == "" {
		var err error
		if base, err = localURL(c.HTTP.Listen); err != nil {
			return nil, err
		}
		if c.HTTP.TLS.Enabled() {
			base = "https" + strings.TrimPrefix(base, "http")
		}
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--url: %q is no address of a server; write it as http://127.0.0.1:9090", base)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	if login, ok := c.HTTP.Admin(); ok {
		if err := login.Authorize(req); err != nil {
			return nil, err
		}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if c.HTTP.TLS.Enabled() && a.url == "" {
		if transport.TLSClientConfig, err = pinned(c.HTTP.TLS); err != nil {
			return nil, err
		}
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		return nil, fmt.Errorf("%w; does dredge run on this machine with that http.listen?", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var said struct{ Error string }
		if json.Unmarshal(body, &said) == nil && said.Error != "" {
			return nil, fmt.Errorf("%s: %s", resp.Status, said.Error)
		}
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// localURL is where this machine reaches a server that listens on listen: by loopback where that is every address.
func localURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return "", fmt.Errorf("http.listen: %q does not tell a port to ask; write --url http://127.0.0.1:PORT", listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// pinned trusts exactly the certificate that the configuration gives to the server: it is asked by an address of this machine,
// which its certificate need not name.
func pinned(c httpd.TLSConfig) (*tls.Config, error) {
	text, err := os.ReadFile(c.CertFile)
	if err != nil {
		return nil, fmt.Errorf("http.tls.cert_file: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("http.tls.cert_file %q: holds no PEM", c.CertFile)
	}
	want, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("http.tls.cert_file %q: %w", c.CertFile, err)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // names and chains say nothing here; the check below is narrower
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !s.PeerCertificates[0].Equal(want) {
				return errors.New("the server's certificate is not that of http.tls.cert_file")
			}
			return nil
		},
	}, nil
}
