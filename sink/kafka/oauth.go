package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// tokenTimeout bounds one question for a token.
	tokenTimeout = 10 * time.Second
	// maxTokenAnswer bounds what a token endpoint may answer.
	maxTokenAnswer = 1 << 20
	// tokenMargin is how long before its end a token is replaced.
	tokenMargin = 30 * time.Second
)

// tokenSource returns a token that is good now.
type tokenSource func(context.Context) (string, error)

// source makes the token source of c, and reads its file once.
func (c OAuthConfig) source(transport http.RoundTripper) (tokenSource, error) {
	if c.TokenFile != "" {
		read := func(context.Context) (string, error) { return secretFile("sasl.oauth.token_file", c.TokenFile) }
		_, err := read(context.Background())
		return read, err
	}
	if _, err := secretFile("sasl.oauth.client_secret_file", c.ClientSecretFile); err != nil {
		return nil, err
	}
	e := &tokenEndpoint{cfg: c, client: &http.Client{Transport: transport, Timeout: tokenTimeout}}
	return e.token, nil
}

// tokenEndpoint asks an identity provider for tokens by the client credentials grant (RFC 6749, section 4.4) and keeps each
// until shortly before its end: every connection to every broker needs one. It is safe for concurrent use.
type tokenEndpoint struct {
	cfg    OAuthConfig
	client *http.Client

	mu    sync.Mutex
	last  string
	until time.Time
}

func (e *tokenEndpoint) token(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last != "" && time.Now().Before(e.until) {
		return e.last, nil
	}
	token, lifetime, err := e.ask(ctx)
	if err != nil {
		return "", fmt.Errorf("sasl.oauth.token_url: asking %s for a token: %w", e.cfg.TokenURL, err)
	}
	e.last, e.until = token, time.Now().Add(max(lifetime-tokenMargin, lifetime/2))
	return token, nil
}

func (e *tokenEndpoint) ask(ctx context.Context) (token string, lifetime time.Duration, err error) {
	secret, err := secretFile("sasl.oauth.client_secret_file", e.cfg.ClientSecretFile)
	if err != nil {
		return "", 0, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if e.cfg.Scope != "" {
		form.Set("scope", e.cfg.Scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(e.cfg.ClientID), url.QueryEscape(secret))
	resp, err := e.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
	if err != nil {
		return "", 0, err
	}
	return parseToken(resp.StatusCode, body)
}

// parseToken reads the answer of a token endpoint.
func parseToken(status int, body []byte) (token string, lifetime time.Duration, err error) {
	var answer struct {
		Token     string  `json:"access_token"`
		ExpiresIn float64 `json:"expires_in"` // seconds; recommended, not required
		Error     string  `json:"error"`
		Detail    string  `json:"error_description"`
	}
	const words = 200
	err = json.Unmarshal(body, &answer)
	switch {
	case status != http.StatusOK && answer.Error != "":
		return "", 0, fmt.Errorf("answered %d: %.*s: %.*s; check client_id, client_secret_file and scope", status, words, answer.Error, words, answer.Detail)
	case status != http.StatusOK:
		return "", 0, fmt.Errorf("answered %d; check token_url", status)
	case err != nil:
		return "", 0, fmt.Errorf("the answer is no JSON object: %w", err)
	case answer.Token == "":
		return "", 0, errors.New("the answer has no access_token")
	}
	const day = 24 * 60 * 60
	return answer.Token, time.Duration(min(max(answer.ExpiresIn, 0), day) * float64(time.Second)), nil
}

// isLoopback says whether a URL leads to this machine.
func isLoopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}
