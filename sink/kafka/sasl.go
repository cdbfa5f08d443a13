package kafka

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"dredge/internal/secret"
)

const (
	mechanismPlain    = "PLAIN"
	mechanismScram256 = "SCRAM-SHA-256"
	mechanismScram512 = "SCRAM-SHA-512"
	mechanismOAuth    = "OAUTHBEARER"
	mechanismMSK      = "AWS_MSK_IAM"
)

// SASLConfig is how dredge authenticates.
type SASLConfig struct {
	// Mechanism is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, or AWS_MSK_IAM for Amazon MSK with the AWS credentials of the
	// process; empty for none.
	Mechanism string `yaml:"mechanism"`
	// Username is the user to authenticate as; of PLAIN and SCRAM.
	Username string `yaml:"username"`
	// Password is the user's password; PasswordFile keeps it out of the configuration.
	Password secret.Text `yaml:"password"`
	// PasswordFile is read when a connection is made, so a rotated password needs no restart.
	PasswordFile string `yaml:"password_file"`
	// OAuth is where the tokens of OAUTHBEARER come from.
	OAuth OAuthConfig `yaml:"oauth"`
}

// OAuthConfig is where tokens come from: a file that something else keeps fresh, or a token endpoint that is asked with the
// client credentials grant.
type OAuthConfig struct {
	// TokenFile holds a token; it is read when a connection is made.
	TokenFile string `yaml:"token_file"`
	// TokenURL is the token endpoint of an identity provider, over https.
	TokenURL string `yaml:"token_url"`
	// ClientID is what the identity provider calls dredge.
	ClientID string `yaml:"client_id"`
	// ClientSecretFile is read whenever a token is asked for.
	ClientSecretFile string `yaml:"client_secret_file"`
	// Scope is asked for; empty for the provider's default.
	Scope string `yaml:"scope"`
}

// AWSKeys are the keys of an AWS identity.
type AWSKeys struct {
	AccessKey, SecretKey string
	// SessionToken is empty for keys that do not end.
	SessionToken string
}

// AWSCredentials returns the keys to sign in with now. It is called whenever a connection is made, and caches by itself.
type AWSCredentials func(context.Context) (AWSKeys, error)

func (c SASLConfig) validate(f *faults, tls bool) {
	const known = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM"
	user := c.Username != "" || c.Password != "" || c.PasswordFile != ""
	switch c.Mechanism {
	case "":
		f.check(c == SASLConfig{}, "sasl.mechanism: empty, but other sasl keys are set; write "+known)
		return
	case mechanismPlain, mechanismScram256, mechanismScram512:
		f.check(c.Username != "", "sasl.username: empty; write the user to authenticate as")
		f.check((c.Password == "") != (c.PasswordFile == ""), "sasl.password_file: write one of password_file and password")
	case mechanismOAuth:
		c.OAuth.validate(f)
		f.check(!user, "sasl.username: is set, but OAUTHBEARER takes the user from the token; remove username, password and password_file")
	case mechanismMSK:
		f.check(tls, "tls.enabled: false, and AWS_MSK_IAM works over TLS only; write true")
		f.check(!user, "sasl.username: is set, but AWS_MSK_IAM takes the AWS credentials of the process; remove username, password and password_file")
	default:
		f.check(false, "sasl.mechanism: %q is unknown; write %s", c.Mechanism, known)
	}
	f.check(c.Mechanism == mechanismOAuth || c.OAuth == OAuthConfig{}, "sasl.oauth: is set, but the mechanism is %q; write OAUTHBEARER, or remove it", c.Mechanism)
}

func (c OAuthConfig) validate(f *faults) {
	f.check((c.TokenFile == "") != (c.TokenURL == ""), "sasl.oauth: write one of token_file and token_url")
	if c.TokenURL == "" {
		f.check(c == OAuthConfig{TokenFile: c.TokenFile}, "sasl.oauth: client_id, client_secret_file and scope need token_url; write it, or remove them")
		return
	}
	f.check(strings.HasPrefix(c.TokenURL, "https://") || isLoopback(c.TokenURL), "sasl.oauth.token_url: %q is not https; a secret goes there", c.TokenURL)
	f.check(c.ClientID != "" && c.ClientSecretFile != "", "sasl.oauth.client_id: token_url needs client_id and client_secret_file")
}

// who names the user for advice about rights.
func (c SASLConfig) who() string {
	switch c.Mechanism {
	case mechanismOAuth:
		return "of the token"
	case mechanismMSK:
		return "of the AWS credentials"
	}
	return c.Username
}

func (c SASLConfig) password() (string, error) {
	if c.PasswordFile == "" {
		return string(c.Password), nil
	}
	return secretFile("sasl.password_file", c.PasswordFile)
}

// secretFile reads a file that holds a secret alone.
func secretFile(key, path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// mechanism makes what authenticates connections. What it needs is read once now, so that what is missing is told at the start.
func (c SASLConfig) mechanism(keys AWSCredentials) (sasl.Mechanism, error) {
	switch c.Mechanism {
	case mechanismOAuth:
		source, err := c.OAuth.source(http.DefaultTransport)
		if err != nil {
			return nil, err
		}
		return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := source(ctx)
			return oauth.Auth{Token: token}, err
		}), nil
	case mechanismMSK:
		if keys == nil {
			return nil, errors.New("sasl.mechanism: AWS_MSK_IAM needs AWS credentials, and there are none here")
		}
		return aws.ManagedStreamingIAM(func(ctx context.Context) (aws.Auth, error) {
			k, err := keys(ctx)
			if err != nil {
				return aws.Auth{}, fmt.Errorf("AWS credentials for AWS_MSK_IAM: %w", err)
			}
			return aws.Auth{AccessKey: k.AccessKey, SecretKey: k.SecretKey, SessionToken: k.SessionToken, UserAgent: "dredge"}, nil
		}), nil
	}
	if _, err := c.password(); err != nil {
		return nil, err
	}
	if c.Mechanism == mechanismPlain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := c.password()
			return plain.Auth{User: c.Username, Pass: pass}, err
		}), nil
	}
	auth := func(context.Context) (scram.Auth, error) {
		pass, err := c.password()
		return scram.Auth{User: c.Username, Pass: pass}, err
	}
	if c.Mechanism == mechanismScram256 {
		return scram.Sha256(auth), nil
	}
	return scram.Sha512(auth), nil
}
