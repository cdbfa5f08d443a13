package kafka

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A token file is read for each connection, so something else may keep it fresh.
func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	c := SASLConfig{Mechanism: mechanismOAuth, OAuth: OAuthConfig{TokenFile: path}}
	if _, err := c.mechanism(nil); err == nil || !strings.Contains(err.Error(), "sasl.oauth.token_file: ") {
		t.Errorf("a missing file: %v", err)
	}
	for i, token := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := c.mechanism(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, hello, err := m.Authenticate(t.Context(), "broker:9092")
		if err != nil || m.Name() != "OAUTHBEARER" || !bytes.Contains(hello, []byte("auth=Bearer "+token+"\x01")) {
			t.Errorf("connection %d: %s says %q (%v)", i, m.Name(), hello, err)
		}
	}
}

// tokens is an identity provider.
type tokens struct {
	asked  int
	status int
	answer string
	form   string
	user   string
	secret string
}

func (p *tokens) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked++
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	p.form = r.PostForm.Encode()
	p.user, p.secret, _ = r.BasicAuth()
	w := httptest.NewRecorder()
	w.WriteHeader(p.status)
	_, _ = w.WriteString(p.answer)
	return w.Result(), nil
}

// A token is kept until shortly before its end; then another is asked for, with the secret that is in the file by then.
func TestTokenEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte("s3cret/+\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &tokens{status: http.StatusOK, answer: `{"access_token":"one","expires_in":300,"token_type":"Bearer"}`}
		c := OAuthConfig{TokenURL: "https://id.example/token", ClientID: "dredge", ClientSecretFile: path, Scope: "kafka"}
		source, err := c.source(p)
		if err != nil {
			t.Fatal(err)
		}
		want := func(token string, asked int) {
			t.Helper()
			got, err := source(t.Context())
			if err != nil || got != token || p.asked != asked {
				t.Errorf("token %q (%v) after %d questions, want %q after %d", got, err, p.asked, token, asked)
			}
		}
		want("one", 1)
		if p.form != "grant_type=client_credentials&scope=kafka" || p.user != "dredge" || p.secret != "s3cret%2F%2B" {
			t.Errorf("asked with %q as %q with secret %q", p.form, p.user, p.secret)
		}
		p.answer = `{"access_token":"two","expires_in":300}`
		pass(269 * time.Second)
		want("one", 1)
		pass(2 * time.Second)
		want("two", 2)
		pass(time.Hour)
		p.status, p.answer = http.StatusUnauthorized, `{"error":"invalid_client","error_description":"unknown"}`
		if _, err := source(t.Context()); err == nil || !strings.Contains(err.Error(), "answered 401: invalid_client: unknown; check client_id") ||
			strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a refusal is told as %v", err)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"x","expires_in":60}`))
	f.Add(200, []byte(`{"access_token":"x","expires_in":-1e300}`))
	f.Add(400, []byte(`{"error":"invalid_scope"}`))
	f.Add(502, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		token, lifetime, err := parseToken(status, body)
		if (err == nil) != (token != "") || lifetime < 0 || lifetime > 24*time.Hour {
			t.Errorf("%d %q: token %q for %s, %v", status, body, token, lifetime, err)
		}
	})
}

// Amazon MSK: the signature is made with the keys of the process, anew for each connection, for the region in the broker's name.
func TestMSKIAM(t *testing.T) {
	c := SASLConfig{Mechanism: mechanismMSK}
	if _, err := c.mechanism(nil); err == nil {
		t.Error("no credentials, and no error")
	}
	keys, fault := AWSKeys{AccessKey: "AKIDEXAMPLE", SecretKey: "secret", SessionToken: "session"}, error(nil)
	m, err := c.mechanism(func(context.Context) (AWSKeys, error) { return keys, fault })
	if err != nil {
		t.Fatal(err)
	}
	const broker = "b-1.flows.abc123.c2.kafka.eu-west-1.amazonaws.com:9098"
	_, hello, err := m.Authenticate(t.Context(), broker)
	if err != nil || m.Name() != "AWS_MSK_IAM" {
		t.Fatalf("%s: %v", m.Name(), err)
	}
	for _, part := range []string{"AKIDEXAMPLE", "/eu-west-1/kafka-cluster/aws4_request", "kafka-cluster:Connect", "session"} {
		if !bytes.Contains(hello, []byte(part)) {
			t.Errorf("%q lacks %q", hello, part)
		}
	}
	if bytes.Contains(hello, []byte("secret")) {
		t.Error("the secret key goes over the wire")
	}
	fault = errors.New("no role")
	if _, _, err := m.Authenticate(t.Context(), broker); err == nil || !strings.Contains(err.Error(), "AWS credentials for AWS_MSK_IAM: no role") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestValidateSASL(t *testing.T) {
	f := func(c SASLConfig, tls bool, want string) {
		t.Helper()
		cfg := DefaultConfig()
		cfg.SASL, cfg.TLS.Enabled = c, tls
		err := cfg.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Validate of %+v = %v, want %q", c, err, want)
		}
	}
	endpoint := OAuthConfig{TokenURL: "https://id.example/token", ClientID: "dredge", ClientSecretFile: "/run/secret"}
	plain := endpoint
	plain.TokenURL = "http://id.example/token"
	f(SASLConfig{Mechanism: "OAUTHBEARER", OAuth: endpoint}, true, "")
	f(SASLConfig{Mechanism: "OAUTHBEARER", OAuth: OAuthConfig{TokenFile: "/run/token"}}, true, "")
	f(SASLConfig{Mechanism: "OAUTHBEARER"}, true, "write one of token_file and token_url")
	f(SASLConfig{Mechanism: "OAUTHBEARER", OAuth: plain}, true, "is not https")
	f(SASLConfig{Mechanism: "OAUTHBEARER", OAuth: OAuthConfig{TokenFile: "x", Scope: "y"}}, true, "need token_url")
	f(SASLConfig{Mechanism: "OAUTHBEARER", OAuth: endpoint, Username: "x"}, true, "takes the user from the token")
	f(SASLConfig{Mechanism: "AWS_MSK_IAM"}, true, "")
	f(SASLConfig{Mechanism: "AWS_MSK_IAM"}, false, "works over TLS only")
	f(SASLConfig{Mechanism: "AWS_MSK_IAM", OAuth: endpoint}, true, "write OAUTHBEARER, or remove it")
	f(SASLConfig{Mechanism: "GSSAPI"}, true, `"GSSAPI" is unknown; write PLAIN`)
	f(SASLConfig{Username: "x"}, true, "sasl.mechanism: empty")
}
