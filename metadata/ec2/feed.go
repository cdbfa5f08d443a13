package ec2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// feed takes EventBridge's events about EC2 from a queue. An event is a hint where to look, and when something happened; what it
// means is looked up, because shapes differ and events are lost and late.
type feed struct {
	source *Source
	queue  *awscall.Queue
}

func newFeed(s *Source, api *sqs.Client) *feed {
	return &feed{source: s, queue: &awscall.Queue{API: api, URL: s.cfg.QueueURL, Log: s.deps.Log}}
}

// run receives, looks up and only then deletes, until ctx ends.
func (f *feed) run(ctx context.Context) error { return f.queue.Run(ctx, f.handle) }

// change is what one event says of EC2.
type change struct {
	account, region string
	at              int64
	instances, enis []string
	// addresses are the addresses that the event names.
	addresses map[string]bool
	// ends says that the event takes something away: what is then not found is gone.
	ends bool
}

var errNotEC2 = errors.New("not about instances or interfaces")

// ending are the calls that take addresses away.
//
//nolint:gochecknoglobals // read-only table
var ending = map[string]bool{
	"TerminateInstances": true, "DeleteNetworkInterface": true, "UnassignPrivateIpAddresses": true, "UnassignIpv6Addresses": true,
	"DisassociateAddress": true, "DetachNetworkInterface": true,
}

// concerning are the calls that change who has an address or what it is called.
//
//nolint:gochecknoglobals // read-only table
var concerning = map[string]bool{
	"RunInstances": true, "CreateNetworkInterface": true, "AttachNetworkInterface": true, "AssignPrivateIpAddresses": true,
	"AssignIpv6Addresses": true, "AssociateAddress": true, "CreateTags": true, "DeleteTags": true, "ModifyNetworkInterfaceAttribute": true,
	"StartInstances": true, "StopInstances": true,
}

// parseChange reads one EventBridge event.
func parseChange(body []byte) (change, error) {
	if len(body) > awscall.MaxMessage {
		return change{}, fmt.Errorf("message of %d bytes; at most %d are read", len(body), awscall.MaxMessage)
	}
	var e struct {
		Source  string          `json:"source"`
		Type    string          `json:"detail-type"`
		Account string          `json:"account"`
		Region  string          `json:"region"`
		Time    time.Time       `json:"time"`
		Detail  json.RawMessage `json:"detail"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return change{}, fmt.Errorf("message is no event of EventBridge: %w", err)
	}
	if e.Type == "" || e.Account == "" || e.Region == "" {
		return change{}, errors.New("message is no event of EventBridge: detail-type, account or region is missing")
	}
	c := change{account: e.Account, region: e.Region, at: e.Time.UnixMilli(), addresses: map[string]bool{}}
	switch e.Type {
	case "EC2 Instance State-change Notification":
		var d struct {
			ID    string `json:"instance-id"`
			State string `json:"state"`
		}
		if err := json.Unmarshal(e.Detail, &d); err != nil || !instanceID.MatchString(d.ID) {
			return change{}, fmt.Errorf("state change without an instance-id: %w", errors.Join(err))
		}
		c.instances = []string{d.ID}
		c.ends = d.State == "terminated" || d.State == "shutting-down"
		return c, nil
	case "AWS API Call via CloudTrail":
		var d struct {
			Name     string          `json:"eventName"`
			Source   string          `json:"eventSource"`
			Time     time.Time       `json:"eventTime"`
			Error    string          `json:"errorCode"`
			Request  json.RawMessage `json:"requestParameters"`
			Response json.RawMessage `json:"responseElements"`
		}
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			return change{}, fmt.Errorf("call without detail: %w", err)
		}
		if d.Source != "ec2.amazonaws.com" || d.Error != "" || !ending[d.Name] && !concerning[d.Name] {
			return change{}, errNotEC2
		}
		if !d.Time.IsZero() {
			c.at = d.Time.UnixMilli()
		}
		c.ends = ending[d.Name]
		for _, part := range []json.RawMessage{d.Request, d.Response} {
			var v any
			if len(part) > 0 && json.Unmarshal(part, &v) == nil {
				c.collect(v, 0)
			}
		}
		if len(c.enis)+len(c.instances) == 0 {
			return change{}, errNotEC2 // tags of a volume
		}
		return c, nil
	}
	return change{}, errNotEC2
}

var (
	instanceID  = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)
	interfaceID = regexp.MustCompile(`^eni-[0-9a-f]{8,17}$`)
)

// collect finds ids and addresses wherever a call's parameters and answer hold them.
func (c *change) collect(v any, depth int) {
	if depth > 20 || len(c.enis)+len(c.instances) > 1000 {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			c.collect(x, depth+1)
		}
	case []any:
		for _, x := range v {
			c.collect(x, depth+1)
		}
	case string:
		switch {
		case instanceID.MatchString(v):
			c.instances = append(c.instances, v)
		case interfaceID.MatchString(v):
			c.enis = append(c.enis, v)
		default:
			if a, err := netip.ParseAddr(v); err == nil {
				c.addresses[a.String()] = true
			}
		}
	}
}

// handle looks up what one event is about. The error is awscall.ErrAgain or emit's.
func (f *feed) handle(ctx context.Context, body string) error {
	f.source.metrics.messages.Inc()
	c, err := parseChange([]byte(body))
	if errors.Is(err, errNotEC2) {
		f.source.metrics.messagesOther.Inc()
		return nil
	}
	if err != nil {
		f.source.metrics.messagesBad.Inc()
		f.source.deps.Log.Warn().Err(err).Str("queue", f.source.cfg.QueueURL).Msg("a message of the queue is no event and was removed")
		return nil
	}
	for _, e := range f.source.estates {
		if e.account == c.account && e.region == c.region {
			err := e.change(ctx, c)
			if _, listing := errors.AsType[*listingError](err); listing {
				return fmt.Errorf("%w: %w", awscall.ErrAgain, err)
			}
			return err
		}
	}
	f.source.metrics.messagesOther.Inc()
	return nil
}

// change looks at the interfaces that an event concerns. What it shows is told at once, with the event's time where the event
// names the address. What is not there any more is released if the event said that something ends: event and look-up are two
// looks. Anything else is left to the listings, and the watermark stays where it is.
func (e *estate) change(ctx context.Context, c change) error {
	v := look{changed: c.at, named: c.addresses}
	if now := e.millis(); c.at > now+clockSlack {
		v.changed = 0 // a clock that is ahead proves nothing
	}
	owners := map[string]bool{}
	for _, id := range c.enis {
		owners["eni:"+id] = true
	}
	e.mu.Lock()
	for _, id := range c.instances {
		for _, owner := range e.ofInstance(id) {
			owners[owner] = true
		}
	}
	// The event may be about the instance's tags: ask again.
	for _, id := range c.instances {
		delete(e.machines, id)
	}
	told := e.ledger.of(owners)
	e.mu.Unlock()

	begin := e.millis()
	shown, ids := map[string]bool{}, map[string]bool{}
	for o := range owners {
		ids[o[len("eni:"):]] = true
	}
	for _, q := range []struct {
		filter string
		values []string
	}{{"network-interface-id", sorted(ids)}, {"attachment.instance-id", c.instances}} {
		if len(q.values) == 0 {
			continue
		}
		found, err := e.meet(ctx, q.filter, q.values, v)
		if err != nil {
			return err
		}
		for id := range found {
			shown["eni:"+id] = true
		}
	}
	if !c.ends {
		return nil
	}
	v.begin, v.end = begin, e.millis()
	return e.releaseEnded(told, shown, v)
}

// releaseEnded releases those of told that the look-up of an ending event did not show: all addresses of an interface that is
// gone, and of one that is still there those that the event names.
func (e *estate) releaseEnded(told []*entry, shown map[string]bool, v look) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []event.Event
	for _, g := range told {
		if e.ledger.told[g.key] != g || g.lastSeen >= v.begin || g.at >= v.begin || shown[g.owner] && !v.named[g.addr] {
			continue
		}
		g.miss(v)
		g.miss(v)
		out = append(out, e.ledger.close(g, v))
	}
	if len(out) == 0 {
		return nil
	}
	return e.tell(out)
}

// ofInstance returns the owners that are attached to an instance. e.mu is held.
func (e *estate) ofInstance(id string) []string {
	set := map[string]bool{}
	for owner, d := range e.ledger.owners {
		if d.ep != nil && d.ep.Instance == id {
			set[owner] = true
		}
	}
	return sorted(set)
}
