//go:build integration

package integration

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/rs/zerolog"

	"dredge/metadata/app"
	ec2source "dredge/metadata/ec2"
	"dredge/metadata/event"
)

// motoAccount is the one account that moto knows.
const motoAccount = "123456789012"

// TestEC2SourceAgainstMoto lets the source list an estate that moto keeps: requests and answers in shapes that neither we nor our
// fake wrote. moto does not page and is never late; those are tested on the fake.
func TestEC2SourceAgainstMoto(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	base := awsConfig(t, "DREDGE_TEST_MOTO")
	api := ec2.NewFromConfig(base)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	vpc, err := api.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.61.0.0/16")})
	ok(err)
	peer, err := api.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.62.0.0/16")})
	ok(err)
	subnet, err := api.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String("10.61.1.0/24")})
	ok(err)
	plain, err := api.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: subnet.Subnet.SubnetId, PrivateIpAddress: aws.String("10.61.1.77"),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeNetworkInterface, Tags: []types.Tag{{Key: aws.String("app"), Value: aws.String("by-hand")}}}},
	})
	ok(err)
	launched, err := api.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: aws.String("ami-12c6146b"), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: subnet.Subnet.SubnetId,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("app"), Value: aws.String("playback")}}}},
	})
	ok(err)
	peering, err := api.CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{VpcId: vpc.Vpc.VpcId, PeerVpcId: peer.Vpc.VpcId})
	ok(err)
	_, err = api.AcceptVpcPeeringConnection(ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: peering.VpcPeeringConnection.VpcPeeringConnectionId})
	ok(err)
	_, err = api.CreateManagedPrefixList(ctx, &ec2.CreateManagedPrefixListInput{
		AddressFamily: aws.String("IPv4"), MaxEntries: aws.Int32(5), PrefixListName: aws.String("offices"),
		Entries: []types.AddPrefixListEntry{{Cidr: aws.String("192.168.61.0/24"), Description: aws.String("berlin")}},
	})
	ok(err)
	queue, err := sqs.NewFromConfig(base).CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("changes-" + strings.Trim(prefix(), "-"))})
	ok(err)

	names, err := app.New(app.DefaultConfig())
	ok(err)
	cfg := ec2source.DefaultConfig()
	cfg.Accounts = []ec2source.Account{{ID: motoAccount, Regions: []string{"us-east-1"}}}
	cfg.CrawlInterval, cfg.CallsPerSecond, cfg.Consistency, cfg.QueueURL = 5*time.Second, 50, 0, *queue.QueueUrl
	source, err := ec2source.New(cfg, ec2source.Deps{AWS: base, SQSEndpoint: *base.BaseEndpoint, Names: names, Log: zerolog.Nop()})
	ok(err)
	if fine, err := source.Check(ctx); err != nil || len(fine) != 2 {
		t.Fatalf("Check: %v, %v", fine, err)
	}

	var mu sync.Mutex
	var events []event.Event
	running, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		if err := source.Run(running, func(some []event.Event) error {
			mu.Lock()
			defer mu.Unlock()
			for i := range some {
				if err := (event.Parser{}).Validate(&some[i]); err != nil {
					t.Errorf("%+v: %v", some[i], err)
				}
			}
			events = append(events, slices.Clone(some)...)
			return nil
		}); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	defer func() { cancel(); group.Wait() }()
	find := func(op event.Op, addr, owner string) *event.Event {
		mu.Lock()
		defer mu.Unlock()
		for i := range events {
			e := &events[i]
			if e.Op == op && (e.IP == addr || e.CIDR == addr) && strings.Contains(e.Owner, owner) {
				return e
			}
		}
		return nil
	}
	box := launched.Instances[0]
	scope, eni := *vpc.Vpc.VpcId, *box.NetworkInterfaces[0].NetworkInterfaceId
	pcx := *peering.VpcPeeringConnection.VpcPeeringConnectionId
	await(t, "telling what lies beside owners", time.Minute, func() bool {
		return find(event.Topology, "10.62.0.0/16", pcx) != nil && find(event.Assign, "192.168.61.0/24", "pl-") != nil
	})
	for _, w := range []struct{ addr, owner, kind, app string }{
		{"10.61.1.77", "eni:" + *plain.NetworkInterface.NetworkInterfaceId, "interface", "by-hand"},
		{*box.PrivateIpAddress, "eni:" + eni, "instance", "playback"},
		{"10.61.0.0/16", "vpc:" + scope, "vpc", ""},
		{"10.61.1.0/24", "subnet:" + *subnet.Subnet.SubnetId, "subnet", ""},
	} {
		e := find(event.Assign, w.addr, w.owner)
		if e == nil || e.Scope != scope || e.EP.Kind != w.kind || e.WL.App != w.app || e.WL.Region != "us-east-1" {
			t.Errorf("%s: %+v; want owner %s, kind %s, app %q", w.addr, e, w.owner, w.kind, w.app)
		}
	}
	if e := find(event.Topology, "10.62.0.0/16", pcx); e != nil && (e.Scope != scope || e.ToScope != *peer.Vpc.VpcId) {
		t.Errorf("peering: %+v", e)
	}
	if faults := source.Faults(); len(faults) != 0 {
		t.Errorf("faults: %v", faults)
	}
	_, err = api.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: plain.NetworkInterface.NetworkInterfaceId})
	ok(err)
	await(t, "the release of a deleted interface", time.Minute, func() bool {
		return find(event.Release, "10.61.1.77", *plain.NetworkInterface.NetworkInterfaceId) != nil
	})
	if find(event.Release, *box.PrivateIpAddress, eni) != nil {
		t.Error("an instance that runs was released")
	}
}
