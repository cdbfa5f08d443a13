package awsfake

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ec2Version is the API version by which requests in the query protocol are told apart.
const ec2Version = "2016-11-15"

// EC2 is the inventory of one account in one region.
type EC2 struct {
	server          *Server
	account, region string

	mu      sync.Mutex
	history []ec2Moment
	lag     time.Duration
}

// ec2Moment is the world from at on.
type ec2Moment struct {
	at    time.Time
	world EC2World
}

// EC2 is the direct way to the inventory of an account in a region; empty ones are the server's own.
func (s *Server) EC2(account, region string) *EC2 {
	if account == "" {
		account = s.cfg.Account
	}
	if region == "" {
		region = s.cfg.Region
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := account + "/" + region
	e := s.ec2[key]
	if e == nil {
		e = &EC2{server: s, account: account, region: region}
		s.ec2[key] = e
	}
	return e
}

// Update changes the inventory in one step. change gets the present lists and may replace, append to and reorder them; what
// hangs below an element is shared with answers in flight and is replaced, not changed.
func (e *EC2) Update(change func(w *EC2World)) {
	now := e.server.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.latest().clone()
	change(&w)
	e.history = append(e.history, ec2Moment{now, w})
	if e.lag == 0 {
		e.history = e.history[len(e.history)-1:]
	}
}

// World returns the present inventory. It is the caller's.
func (e *EC2) World() EC2World {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.latest().clone()
}

// SetLag makes answers as old as d: eventual consistency, as bad as it can be.
func (e *EC2) SetLag(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lag = d
}

func (e *EC2) latest() *EC2World {
	if len(e.history) == 0 {
		return &EC2World{}
	}
	return &e.history[len(e.history)-1].world
}

// seen is the world as a request at now sees it.
func (e *EC2) seen(now time.Time) *EC2World {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := len(e.history) - 1; i > 0; i-- {
		if !e.history[i].at.After(now.Add(-e.lag)) {
			return &e.history[i].world
		}
	}
	if len(e.history) == 0 {
		return &EC2World{}
	}
	return &e.history[0].world
}

// ec2Request is one request's parameters.
type ec2Request struct {
	form   url.Values
	filter map[string][]string
}

// known filters, so that a typing error in one does not pass as "everything".
func newEC2Request(form url.Values, filters ...string) (*ec2Request, error) {
	r := &ec2Request{form: form, filter: map[string][]string{}}
	for n := 1; ; n++ {
		prefix := "Filter." + strconv.Itoa(n) + "."
		name := form.Get(prefix + "Name")
		if name == "" {
			return r, nil
		}
		if !slices.Contains(filters, name) {
			return nil, failure("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		values := numbered(form, prefix+"Value")
		if len(values) > 200 {
			return nil, failure("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
		}
		r.filter[name] = values
	}
}

// numbered returns the values of name.1, name.2, ….
func numbered(form url.Values, name string) []string {
	var out []string
	for n := 1; ; n++ {
		v, ok := form[name+"."+strconv.Itoa(n)]
		if !ok {
			return out
		}
		out = append(out, v...)
	}
}

// passes says whether a value is one of those that the filter of that name lists, or there is no such filter.
func (r *ec2Request) passes(name, value string) bool {
	want, ok := r.filter[name]
	return !ok || slices.Contains(want, value)
}

// paged cuts a list as EC2 does: the token says how many were passed over, so a list that changes between two calls shows an
// element twice or not at all.
func paged[T any](r *ec2Request, all []T, least int) (part []T, next string, err error) {
	start := 0
	if token := r.form.Get("NextToken"); token != "" {
		text, derr := base64.StdEncoding.DecodeString(token)
		start, err = strconv.Atoi(strings.TrimPrefix(string(text), "after "))
		if derr != nil || err != nil || start < 0 {
			return nil, "", failure("InvalidNextToken", "The token '%s' is invalid", token)
		}
	}
	size := len(all)
	if text := r.form.Get("MaxResults"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < least || size > 1000 {
			return nil, "", failure("InvalidParameterValue", "Value ( %s ) for parameter maxResults is invalid. Expecting a value greater than or equal to %d and at most 1000.", text, least)
		}
	}
	start = min(start, len(all))
	end := min(start+size, len(all))
	if end < len(all) {
		next = base64.StdEncoding.EncodeToString([]byte("after " + strconv.Itoa(end)))
	}
	return all[start:end], next, nil
}

// byIDs keeps what ids name; an id that names nothing is an error with code.
func byIDs[T any](all []T, ids []string, id func(*T) string, code, what string) ([]T, error) {
	if len(ids) == 0 {
		return all, nil
	}
	var out []T
	for _, want := range ids {
		i := slices.IndexFunc(all, func(v T) bool { return id(&v) == want })
		if i < 0 {
			return nil, failure(code, "The %s '%s' does not exist", what, want)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// ec2Operation answers one action with a document whose root element is <ACTIONResponse>.
type ec2Operation func(w *EC2World, form url.Values) (any, error)

func ec2Operations() map[string]ec2Operation {
	return map[string]ec2Operation{
		"DescribeNetworkInterfaces":         describeNetworkInterfaces,
		"DescribeInstances":                 describeInstances,
		"DescribeSubnets":                   describeSubnets,
		"DescribeVpcs":                      describeVPCs,
		"DescribeFlowLogs":                  describeFlowLogs,
		"DescribeVpcPeeringConnections":     describePeerings,
		"DescribeTransitGatewayAttachments": describeTransitGatewayAttachments,
		"DescribeTransitGatewayRouteTables": describeTransitGatewayRouteTables,
		"SearchTransitGatewayRoutes":        searchTransitGatewayRoutes,
		"DescribeManagedPrefixLists":        describePrefixLists,
		"GetManagedPrefixListEntries":       prefixListEntries,
	}
}

func (s *Server) answerEC2(c *call) (any, error) {
	op, ok := ec2Operations()[c.operation]
	if !ok {
		return nil, failure("InvalidAction", "The action %s is not valid for this web service.", c.operation)
	}
	body, err := op(s.EC2(c.account, c.region).seen(c.now), c.form)
	if err != nil {
		return nil, err
	}
	doc, err := xml.Marshal(ec2Document{action: c.operation, body: body})
	if err != nil {
		return nil, fmt.Errorf("writing the answer to %s: %w", c.operation, err)
	}
	return rawDocument(doc), nil
}

// ec2Document puts an answer's members below its root.
type ec2Document struct {
	action string
	body   any
}

// MarshalXML implements xml.Marshaler.
func (d ec2Document) MarshalXML(enc *xml.Encoder, _ xml.StartElement) error {
	root := xml.StartElement{
		Name: xml.Name{Local: d.action + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: "http://ec2.amazonaws.com/doc/" + ec2Version + "/"}},
	}
	return enc.EncodeElement(d.body, root)
}

// replyEC2Error writes an error as EC2 does, which differs from the other services of the query protocol.
func replyEC2Error(w http.ResponseWriter, c *call, fault *apiError) error {
	doc, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Response"`
		Code      string   `xml:"Errors>Error>Code"`
		Message   string   `xml:"Errors>Error>Message"`
		RequestID string   `xml:"RequestID"`
	}{Code: fault.Code, Message: fault.Message, RequestID: w.Header().Get("X-Amzn-Requestid")})
	if err != nil {
		return errAbort
	}
	return reply(w, c, fault.Status, doc)
}
