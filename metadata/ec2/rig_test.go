package ec2

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/metadata/app"
	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	home    = "123456789012"
	other   = "210987654321"
	region  = "us-east-1"
	homeSrc = "ec2/" + home + "/" + region
)

// rig is a source over the fake AWS in virtual time. It is made inside a synctest bubble.
type rig struct {
	t      *testing.T
	aws    *awsfake.Server
	ec2    *awsfake.EC2
	source *Source
	reg    *prometheus.Registry

	mu     sync.Mutex
	events []event.Event
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, aws: awsfaketest.NewServer(t, awsfake.Config{}), reg: prometheus.NewRegistry()}
	r.ec2 = r.aws.EC2("", "")
	cfg := DefaultConfig()
	cfg.Accounts = []Account{{ID: home, Regions: []string{region}}}
	if change != nil {
		change(&cfg)
	}
	names, err := app.New(app.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	r.source, err = New(cfg, Deps{AWS: awsfaketest.AWSConfig(r.aws), Names: names, Log: zerolog.Nop(), Registerer: r.reg})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// start runs the source until the test ends.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := r.source.Run(ctx, r.emit); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(func() { cancel(); group.Wait() })
	synctest.Wait()
}

func (r *rig) emit(events []event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range events {
		if err := (event.Parser{}).Validate(&events[i]); err != nil {
			r.t.Errorf("%+v: %v", events[i], err)
		}
	}
	r.events = append(r.events, events...)
	return nil
}

// after lets virtual time pass.
func (r *rig) after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// take returns the events since the last take.
func (r *rig) take() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.events
	r.events = nil
	return out
}

// told are the events of some operations as short texts, sorted.
func told(events []event.Event, ops ...event.Op) []string {
	var out []string
	for _, e := range events {
		if !slices.Contains(ops, e.Op) {
			continue
		}
		text := fmt.Sprintf("%s %s %s%s%s %s", e.Op, e.Scope, e.IP, e.CIDR, e.Prefix, e.Owner)
		if e.ToScope != "" {
			text += " -> " + e.ToScope
		}
		out = append(out, strings.TrimSpace(text))
	}
	slices.Sort(out)
	return out
}

// addresses is told of the events that open and close tenures of addresses of interfaces.
func addresses(events []event.Event) []string {
	return slices.DeleteFunc(told(events, event.Assign, event.Release), func(s string) bool { return !strings.Contains(s, "eni:") })
}

func find(events []event.Event, op event.Op, addr string) *event.Event {
	for i := range events {
		if events[i].Op == op && (events[i].IP == addr || events[i].CIDR == addr) {
			return &events[i]
		}
	}
	return nil
}

func progress(events []event.Event) (to int64) {
	for _, e := range events {
		if e.Op == event.Progress {
			to = max(to, e.To)
		}
	}
	return to
}

func (r *rig) count(name string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// network fills w with one VPC of one subnet.
func network(w *awsfake.EC2World) {
	w.VPCs = []awsfake.VPC{{ID: "vpc-0a", OwnerID: home, CIDR: "10.0.0.0/16", Tags: []awsfake.Tag{{Key: "Name", Value: "main"}}}}
	w.Subnets = []awsfake.Subnet{{ID: "subnet-0a", VPC: "vpc-0a", OwnerID: home, CIDR: "10.0.0.0/20", AZ: "us-east-1a", AZID: "use1-az4"}}
}

// box is an instance with its interface.
func box(w *awsfake.EC2World, n int, attached time.Time, tags ...awsfake.Tag) {
	id := fmt.Sprintf("%08x", n)
	w.Instances = append(w.Instances, awsfake.Instance{ID: "i-" + id, State: "running", LaunchTime: attached, Tags: tags})
	w.NetworkInterfaces = append(w.NetworkInterfaces, eni(n, fmt.Sprintf("10.0.%d.%d", n>>8, n&255), attached))
}

func eni(n int, ip string, attached time.Time) awsfake.NetworkInterface {
	id := fmt.Sprintf("%08x", n)
	return awsfake.NetworkInterface{
		ID: "eni-" + id, VPC: "vpc-0a", Subnet: "subnet-0a", AZ: "us-east-1a", OwnerID: home, InterfaceType: "interface", Status: "in-use",
		PrivateIP: ip, SourceDestCheck: true, PrivateIPs: []awsfake.PrivateIP{{Address: ip, Primary: true}},
		Attachment: &awsfake.Attachment{InstanceID: "i-" + id, InstanceOwnerID: home, Status: "attached", AttachTime: attached},
	}
}

func tag(key, value string) awsfake.Tag { return awsfake.Tag{Key: key, Value: value} }
