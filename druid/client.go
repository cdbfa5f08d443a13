// Package druid talks to Apache Druid: supervisors, tasks, SQL. It makes the supervisor specs from the row catalogue, so that what is
// written and what is read cannot drift apart, and it knows the questions that people ask of the tables.
//
// client.go sends requests and names their failures; spec.go and batch.go make specs; supervisor.go and task.go are the overlord's API,
// segment.go the coordinator's, query.go the broker's; status.go, reconcile.go and questions.go answer whole questions with them.
package druid

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"dredge/internal/certificate"
)

// Client is a client of one cluster. It is safe for concurrent use.
type Client struct {
	overlord, broker   string
	username, password string
	http               *http.Client
}

// maxAnswer bounds an answer that is read whole.
const maxAnswer = 64 << 20

// Option changes how a Client works.
type Option func(*Client)

// WithTransport sends requests through t, which then decides about TLS.
func WithTransport(t http.RoundTripper) Option { return func(c *Client) { c.http.Transport = t } }

// NewClient returns a client for a configuration that is valid and has an Overlord.
func NewClient(c Config, opts ...Option) (*Client, error) {
	if c.Overlord == "" {
		return nil, errors.New("druid.overlord: is empty; write the overlord's or the router's address, for example http://127.0.0.1:8888")
	}
	conf, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	broker := c.Broker
	if broker == "" {
		broker = c.Overlord
	}
	client := &Client{
		overlord: strings.TrimRight(c.Overlord, "/"), broker: strings.TrimRight(broker, "/"),
		username: c.Username, password: password,
		http: &http.Client{Timeout: c.Timeout, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, MaxIdleConnsPerHost: 8, ForceAttemptHTTP2: true,
		}},
	}
	for _, o := range opts {
		o(client)
	}
	return client, nil
}

// Close frees idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is Druid's refusal of a request.
type Error struct {
	// Request is the method and the path.
	Request string
	// Status is the HTTP status.
	Status int
	// Code is Druid's errorCode, for example entryAlreadyExists; empty when the answer has none.
	Code string
	// Message is what Druid says, cut to a readable length.
	Message string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("druid answers %d to %s", e.Status, e.Request)
	if e.Message != "" {
		text += ": " + e.Message
	}
	switch e.Status {
	case http.StatusUnauthorized:
		text += "; check druid.username and druid.password_file"
	case http.StatusForbidden:
		text += "; grant the user READ and WRITE on the datasource"
	default:
	}
	return text
}

// Transient says that the same request may succeed later. A 500 is not: Druid also answers it to requests that it will never take.
func (e *Error) Transient() bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// unknown says whether err is Druid's answer that it has no such thing.
func unknown(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusNotFound
}

// AlreadyExists says that err is Druid's answer to a task id that it has seen before, whatever became of that task. Every other 400
// means that the request itself is bad.
func AlreadyExists(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusBadRequest && e.Code == "entryAlreadyExists"
}

// do sends in as JSON and reads the answer into out; either may be nil. raw is a body that is JSON already.
func (c *Client) do(ctx context.Context, base, method, path string, in, out any) error {
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case json.RawMessage:
		body = bytes.NewReader(in)
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("writing the request %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.username != "" {
		req.SetBasicAuth(c.username, c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the rest of it repeats the address
		}
		return fmt.Errorf("reaching druid at %s: %w%s", base, err, certificateHint(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("reading druid's answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return refusal(method+" "+path, resp.StatusCode, answer)
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("druid's answer to %s %s is larger than %d bytes; ask for less", method, path, maxAnswer)
	}
	if out == nil {
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = answer
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("druid's answer to %s %s is not what it should be: %w", method, path, err)
	}
	return nil
}

// certificateHint says what to do about Druid's certificate, when that is what is wrong.
func certificateHint(err error) string {
	switch {
	case certificate.Ended(err):
		return "; Druid's certificate has ended or is not good yet: have it renewed, or set the clocks right"
	case certificate.Refused(err):
		return "; set druid.ca to the authority that signed Druid's certificate, and use the host name that it is made out to"
	}
	return ""
}

// refusal reads the three forms of Druid's errors: structured, {"error": text}, and plain text or a page of HTML.
func refusal(request string, status int, answer []byte) *Error {
	e := &Error{Request: request, Status: status}
	var known struct {
		Error        any    `json:"error"`
		ErrorCode    string `json:"errorCode"`
		ErrorMessage string `json:"errorMessage"`
	}
	if json.Unmarshal(answer, &known) == nil {
		e.Code, e.Message = known.ErrorCode, known.ErrorMessage
		if text, ok := known.Error.(string); ok && e.Message == "" {
			e.Message = text
		}
	} else {
		e.Message = string(answer)
		if i := strings.Index(e.Message, "<body>"); i >= 0 {
			e.Message = tags.Replace(e.Message[i+len("<body>"):])
		}
	}
	e.Message = strings.TrimRight(strings.Join(strings.Fields(e.Message), " "), ": ")
	const most = 400
	if len(e.Message) > most {
		e.Message = strings.ToValidUTF8(e.Message[:most], "") + " …"
	}
	return e
}

// tags takes the commonest marks out of Jetty's error page.
var tags = strings.NewReplacer("<h2>", "", "</h2>", ": ", "<table>", "", "</table>", "", "<tr>", "", "</tr>", " ", "<th>", "", "</th>", " ", "<td>", "", "</td>", "") //nolint:gochecknoglobals // read-only table
