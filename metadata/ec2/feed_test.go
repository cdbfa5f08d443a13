package ec2

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/awsfake"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

func stateChange(account, instance, state string, at time.Time) string {
	return fmt.Sprintf(`{"version":"0","source":"aws.ec2","detail-type":"EC2 Instance State-change Notification","account":%q,"region":%q,"time":%q,"detail":{"instance-id":%q,"state":%q}}`,
		account, region, at.UTC().Format(time.RFC3339), instance, state)
}

func apiCall(name string, at time.Time, request, response string) string {
	return fmt.Sprintf(`{"version":"0","source":"aws.ec2","detail-type":"AWS API Call via CloudTrail","account":%q,"region":%q,"time":%q,"detail":{"eventSource":"ec2.amazonaws.com","eventName":%q,"eventTime":%q,"requestParameters":%s,"responseElements":%s}}`,
		home, region, at.UTC().Format(time.RFC3339), name, at.UTC().Format(time.RFC3339), request, response)
}

func newFeedRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, func(c *Config) {
		c.QueueURL = "http://awsfake.invalid/" + home + "/changes"
		c.CrawlInterval = time.Hour
	})
	r.aws.SQS().CreateQueue("changes")
	r.ec2.Update(func(w *awsfake.EC2World) {
		network(w)
		box(w, 1, time.Now().Add(-time.Hour), tag("app", "playback"))
	})
	r.start()
	r.take()
	return r
}

func (r *rig) send(body string) {
	r.t.Helper()
	if err := r.aws.SQS().Send("changes", body); err != nil {
		r.t.Fatal(err)
	}
	r.after(time.Second)
}

// Events close the gap between listings, and never move the watermark.
func TestEventsBetweenListings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFeedRig(t)
		vouched := time.Now().Add(-30 * time.Second).UnixMilli()
		r.after(10 * time.Minute)
		r.take()

		// A secondary address: the call names it, so it is the owner's since the call.
		at := time.Now()
		r.ec2.Update(func(w *awsfake.EC2World) {
			n := w.Interface("eni-00000001")
			n.PrivateIPs = append(n.PrivateIPs[:1:1], awsfake.PrivateIP{Address: "10.0.0.77"}, awsfake.PrivateIP{Address: "10.0.0.78"})
		})
		r.after(5 * time.Second)
		r.send(apiCall("AssignPrivateIpAddresses", at, `{"networkInterfaceId":"eni-00000001","privateIpAddressesSet":{"items":[{"privateIpAddress":"10.0.0.77"}]}}`, `{"_return":true}`))
		events := r.take()
		if e := find(events, event.Assign, "10.0.0.77"); e == nil || e.From != at.UnixMilli()+1000 || e.Acc != 2000 {
			t.Errorf("named by the call: %+v", e)
		}
		// The other one became the owner's some time after the listing: nobody said when.
		if e := find(events, event.Assign, "10.0.0.78"); e == nil || e.From < at.UnixMilli() || e.From-e.Acc > vouched {
			t.Errorf("not named by the call: %+v", e)
		}

		// It is taken away again: the call and the look-up are two looks.
		at = time.Now()
		r.ec2.Update(func(w *awsfake.EC2World) {
			n := w.Interface("eni-00000001")
			n.PrivateIPs = n.PrivateIPs[:1:1]
		})
		r.send(apiCall("UnassignPrivateIpAddresses", at, `{"networkInterfaceId":"eni-00000001","privateIpAddressesSet":{"items":[{"privateIpAddress":"10.0.0.77"}]}}`, `{"_return":true}`))
		events = r.take()
		if diff := cmp.Diff([]string{"release vpc-0a 10.0.0.77 eni:eni-00000001"}, addresses(events)); diff != "" {
			t.Error(diff) // 10.0.0.78 was not named: absence alone proves nothing
		} else if e := find(events, event.Release, "10.0.0.77"); e.To != at.UnixMilli()-1000 {
			t.Errorf("release: %+v", e)
		}

		// An instance comes, and goes.
		at = time.Now()
		r.ec2.Update(func(w *awsfake.EC2World) { box(w, 2, at, tag("app", "billing")) })
		r.after(3 * time.Second)
		r.send(stateChange(home, "i-00000002", "running", at))
		if e := find(r.take(), event.Assign, "10.0.0.2"); e == nil || e.WL.App != "billing" || e.From != at.UnixMilli()+1000 {
			t.Errorf("launched: %+v", e)
		}
		r.send(stateChange(home, "i-00000002", "shutting-down", time.Now()))
		if got := addresses(r.take()); len(got) != 0 {
			t.Errorf("released while EC2 still shows the interface: %v", got)
		}
		r.ec2.Update(func(w *awsfake.EC2World) { w.RemoveInterface("eni-00000002") })
		r.send(stateChange(home, "i-00000002", "terminated", time.Now()))
		if diff := cmp.Diff([]string{"release vpc-0a 10.0.0.2 eni:eni-00000002"}, addresses(r.take())); diff != "" {
			t.Error(diff)
		}

		// A tag changes.
		r.ec2.Update(func(w *awsfake.EC2World) { w.Instances[0].Tags = []awsfake.Tag{tag("app", "encoding")} })
		r.send(apiCall("CreateTags", time.Now(), `{"resourcesSet":{"items":[{"resourceId":"i-00000001"}]},"tagSet":{"items":[{"key":"app","value":"encoding"}]}}`, `{"_return":true}`))
		events = r.take()
		if e := find(events, event.Describe, ""); e == nil || e.WL.App != "encoding" {
			t.Errorf("renamed: %v", told(events, event.Describe))
		}
		if got := progress(events); got > vouched {
			t.Errorf("an event moved the watermark to %d from %d", got, vouched)
		}
		if visible, inFlight, _ := r.aws.SQS().Depth("changes"); visible+inFlight != 0 {
			t.Errorf("%d messages are left in the queue", visible+inFlight)
		}
	})
}

// A look-up that fails keeps the message, what is no event is removed, and what is about others is passed over.
func TestMessagesAreKeptUntilTheyAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFeedRig(t)
		for _, body := range []string{`{`, `{"Records":[]}`, strings.Repeat("[", 10_000), stateChange(home, "not-an-instance", "running", time.Now())} {
			r.send(body)
		}
		if got := r.count("dredge_ec2_messages_rejected_total"); got != 4 {
			t.Errorf("%v messages rejected of 4", got)
		}
		r.send(stateChange(other, "i-00000001", "running", time.Now()))
		r.send(apiCall("DescribeInstances", time.Now(), `{}`, `null`))
		if got := r.count("dredge_ec2_messages_ignored_total"); got != 2 {
			t.Errorf("%v messages ignored of 2", got)
		}
		fault := r.aws.Inject(awsfake.Fault{Op: "DescribeNetworkInterfaces", Kind: awsfake.Failure, Code: "UnauthorizedOperation", Status: 403})
		r.ec2.Update(func(w *awsfake.EC2World) { box(w, 2, time.Now()) })
		r.send(stateChange(home, "i-00000002", "running", time.Now()))
		if got := addresses(r.take()); len(got) != 0 {
			t.Errorf("told %v", got)
		}
		fault.Remove()
		r.after(time.Minute)
		if diff := cmp.Diff([]string{"assign vpc-0a 10.0.0.2 eni:eni-00000002"}, addresses(r.take())); diff != "" {
			t.Error(diff)
		}
		if visible, inFlight, _ := r.aws.SQS().Depth("changes"); visible+inFlight != 0 {
			t.Errorf("%d messages are left in the queue", visible+inFlight)
		}
	})
}

// A flow mentions an interface that no listing has told: it is looked up once, in every account.
func TestAskLooksUpUnknownInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.CrawlInterval = time.Hour
			c.Accounts = append(c.Accounts, Account{ID: other, Regions: []string{region}, RoleARN: "arn:aws:iam::" + other + ":role/dredge"})
		})
		r.ec2.Update(network)
		r.start()
		r.take()
		r.aws.EC2(other, "").Update(func(w *awsfake.EC2World) { network(w); box(w, 9, time.Now()) })
		calls := r.aws.Count("DescribeNetworkInterfaces")
		for range 100 {
			r.source.Ask("eni-00000009")
			r.source.Ask("eni-0000dead")
			r.source.Ask("not an interface")
		}
		r.after(5 * time.Second)
		events := r.take()
		if diff := cmp.Diff([]string{"assign vpc-0a 10.0.0.9 eni:eni-00000009"}, addresses(events)); diff != "" {
			t.Error(diff)
		} else if src := find(events, event.Assign, "10.0.0.9").Src; src != "ec2/"+other+"/"+region {
			t.Errorf("told by %s", src)
		}
		if got := r.aws.Count("DescribeNetworkInterfaces") - calls; got != 2 {
			t.Errorf("%d calls for two accounts", got)
		}
		// A negative answer is remembered for ten minutes.
		r.source.Ask("eni-0000dead")
		r.after(5 * time.Second)
		if got := r.aws.Count("DescribeNetworkInterfaces") - calls; got != 2 {
			t.Errorf("%d calls: asked again at once", got)
		}
		r.after(11 * time.Minute)
		r.source.Ask("eni-0000dead")
		r.after(5 * time.Second)
		if got := r.aws.Count("DescribeNetworkInterfaces") - calls; got != 4 {
			t.Errorf("%d calls: not asked again after ten minutes", got)
		}
	})
}

func FuzzParseChange(f *testing.F) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Add([]byte(stateChange(home, "i-00000001", "running", at)))
	f.Add([]byte(apiCall("RunInstances", at, `null`, `{"instancesSet":{"items":[{"instanceId":"i-00000001","networkInterfaceSet":{"items":[{"networkInterfaceId":"eni-00000001","privateIpAddress":"10.0.0.1"}]}}]}}`)))
	f.Add([]byte(`{"detail-type":"AWS API Call via CloudTrail","account":"1","region":"r","detail":{"eventSource":"ec2.amazonaws.com","eventName":"CreateTags","requestParameters":[[[["i-00000001"]]]]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseChange(body)
		if err != nil {
			return
		}
		if len(c.enis)+len(c.instances) == 0 || c.account == "" {
			t.Fatalf("%+v concerns nothing", c)
		}
		if !json.Valid(body) {
			t.Fatal("took what is no JSON")
		}
	})
}
