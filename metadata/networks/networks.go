// Package networks turns networks that stand in the configuration (offices, data centres, partners) into identity events.
package networks

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"dredge/metadata/event"
)

// Source is the src of the events.
const Source = "config/networks"

const (
	maxNetworks = 100_000
	maxName     = 256
)

// Network is one declared network. It names the ends in it that nobody is known to own by network, never by application.
type Network struct {
	// CIDR is the network, as 192.168.0.0/16; of nested ones the most specific answers.
	CIDR string `yaml:"cidr"`
	// Name stands in src_network or dst_network.
	Name string `yaml:"name"`
	// Site says that the network is a place of its own, an office or data centre: name then stands in src_site or dst_site, too.
	Site bool `yaml:"site"`
	// Scope is the VPC id or domain in which the network is meant; empty is all of them.
	Scope string `yaml:"scope"`
}

// Config is a list of networks.
type Config []Network

// Validate reports every fault.
func (c Config) Validate() error {
	if len(c) > maxNetworks {
		return fmt.Errorf("[%d]: too many networks; write at most %d, or an identity file", len(c), maxNetworks)
	}
	var errs []error
	type place struct {
		scope string
		cidr  netip.Prefix
	}
	seen := map[place]int{}
	for i, n := range c {
		if n.Name == "" || len(n.Name) > maxName {
			errs = append(errs, fmt.Errorf("[%d].name: %.40q is no name; write up to %d characters", i, n.Name, maxName))
		}
		if len(n.Scope) > maxName {
			errs = append(errs, fmt.Errorf("[%d].scope: %.40q is too long; write a VPC id", i, n.Scope))
		}
		pfx, err := netip.ParsePrefix(n.CIDR)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("[%d].cidr: %q is no CIDR; write one as 192.168.0.0/16", i, n.CIDR))
			continue
		case pfx.Masked() != pfx:
			errs = append(errs, fmt.Errorf("[%d].cidr: %q has bits behind its mask; write %s", i, n.CIDR, pfx.Masked()))
			continue
		}
		k := place{n.Scope, pfx}
		if first, twice := seen[k]; twice {
			errs = append(errs, fmt.Errorf("[%d].cidr: %q stands at [%d] already; write each network once for a scope", i, n.CIDR, first))
		}
		seen[k] = i
	}
	return errors.Join(errs...)
}

// Target takes events in.
type Target interface {
	// Apply takes one event in; it refuses faulty ones. The event is the caller's again afterwards.
	Apply(e *event.Event) error
}

// Tell tells target every network: they hold since ever and for ever. They hold nothing back, so there is no progress to tell.
func (c Config) Tell(target Target) error {
	for _, n := range c {
		if err := n.tell(target, n.event(event.Assign)); err != nil {
			return err
		}
	}
	return nil
}

// Update tells target how next differs from c, which was told before: what it lacks ends at now, what is new or called
// otherwise begins then.
func (c Config) Update(next Config, now time.Time, target Target) error {
	at := now.UnixMilli()
	before := make(map[Network]bool, len(c))
	for _, n := range c {
		before[n] = true
	}
	stays := make(map[key]bool, len(next))
	for _, n := range next {
		stays[n.key()] = true
	}
	for _, n := range c {
		if stays[n.key()] {
			continue
		}
		e := n.event(event.Release)
		e.To = at
		if err := n.tell(target, e); err != nil {
			return err
		}
	}
	for _, n := range next {
		if before[n] {
			continue
		}
		e := n.event(event.Assign)
		e.From = at
		if err := n.tell(target, e); err != nil {
			return err
		}
	}
	return nil
}

// key is what owners of networks are made of, spelling and all.
type key struct{ scope, cidr string }

func (n Network) key() key { return key{n.Scope, n.CIDR} }

func (n Network) event(op event.Op) *event.Event {
	e := &event.Event{V: event.Version, Src: Source, Op: op, Scope: n.Scope, CIDR: n.CIDR, Owner: "network:" + n.CIDR}
	if op == event.Assign {
		e.EP = &event.Endpoint{Kind: "network", Name: n.Name}
		if n.Site {
			e.EP.Kind = "site"
		}
	}
	return e
}

func (n Network) tell(target Target, e *event.Event) error {
	if err := target.Apply(e); err != nil {
		return fmt.Errorf("telling network %s %s: %w", n.CIDR, n.Name, err)
	}
	return nil
}
