package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"dredge/consumer/kinesis"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/metadata/ec2"
)

// shippedPolicy reads the actions of deploy/terraform/worker.tf, each with what it is allowed on.
func shippedPolicy(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/terraform/worker.tf")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)actions += \[(.*?)\]\s+resources += (\S+)`).FindAllStringSubmatch(string(text), -1) {
		for _, action := range regexp.MustCompile(`"(\w+:\w+)"`).FindAllStringSubmatch(m[1], -1) {
			out[action[1]] += m[2]
		}
	}
	if len(out) < 20 {
		t.Fatalf("%d actions in worker.tf", len(out))
	}
	return out
}

// customs is a policy in force: it allows what the shipped one does, and keeps what was used and refused.
type customs struct {
	mu      sync.Mutex
	granted map[string]string
	open    bool // until the account is set up
	used    map[string]bool
	refused map[string]bool
}

func (p *customs) allow(r awsfake.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	action := r.Service + ":" + r.Operation
	if p.open || action == "sts:GetCallerIdentity" { // which nobody can be denied
		return true
	}
	on, ok := p.granted[action]
	switch {
	case strings.Contains(on, "aws_kinesis_stream.flows"):
		// A further page of ListShards names only its token.
		ok = r.Resource == "flows" || strings.HasPrefix(r.Resource, "flows/") || r.Operation == "ListShards" && r.Resource == ""
	case strings.Contains(on, "aws_dynamodb_table.leases"):
		ok = r.Resource == "app" || strings.Contains(on, "${var.application}-CoordinatorState") && r.Resource == "app-CoordinatorState"
	}
	if !ok {
		p.refused[action+" on "+r.Resource] = true
		return false
	}
	p.used[action] = true
	return true
}

// The role of deploy/terraform is enough to check, to run by polling and by fan-out through a reshard, and to ask EC2 and ECS: an AWS that refuses
// everything else refuses nothing. And it has nothing to spare: each action on the
// stream and the table is used.
func TestShippedPolicyIsEnoughAndNoMore(t *testing.T) {
	p := &customs{granted: shippedPolicy(t), open: true, used: map[string]bool{}, refused: map[string]bool{}}
	c, srv := testConfigOver(t, awsfake.Config{Policy: p.allow})
	_, err := awsfaketest.DynamoDB(srv).CreateTable(t.Context(), &dynamodb.CreateTableInput{ // as Terraform makes it
		TableName: aws.String("app"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("leaseKey"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("leaseKey"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.open = false
	p.mu.Unlock()

	c.AWS.EC2Endpoint, c.AWS.ECSEndpoint, c.AWS.STSEndpoint = srv.URL(), srv.URL(), srv.URL()
	c.Identity.File.Path = ""
	c.Identity.EC2.Accounts = []ec2.Account{{ID: "123456789012", Regions: []string{"us-east-1"}}}
	c.Identity.ECS.Accounts = c.Identity.EC2.Accounts
	c.Pipeline.Hold, c.Pipeline.Formats.Default = 0, "default"
	c.Kinesis.ShardSyncInterval = 5 * time.Second

	var said bytes.Buffer
	if err := runCheck(t.Context(), c, &said); err != nil {
		t.Errorf("check: %v\n%s", err, said.String())
	}
	put := func(n int) {
		t.Helper()
		for i := range n {
			line := fmt.Sprintf("2 123456789012 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 %d 22 6 20 4249 %d %d ACCEPT OK\n", 40000+i, time.Now().Unix()-60, time.Now().Unix())
			if _, _, err := srv.Kinesis().Put("flows", fmt.Sprint(i), []byte(line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, reader := range []string{kinesis.ReaderPolling, kinesis.ReaderFanOut} {
		c.Kinesis.Reader = reader
		svc := testService(t, c)
		_, stop := serve(t, svc)
		put(20)
		awaitDelivered(t, svc, 20)
		if err := srv.Kinesis().Reshard("flows", len(srv.Kinesis().Shards("flows"))+2); err != nil {
			t.Fatal(err)
		}
		put(20)
		awaitDelivered(t, svc, 40)
		stop()
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	for what := range p.refused {
		t.Errorf("refused: %s", what)
	}
	unused := maps.Clone(p.granted)
	maps.DeleteFunc(unused, func(action, _ string) bool { return p.used[action] })
	elsewhere := []string{
		// With flow logs, prefix lists, transit gateways, tasks and their hosts; this estate has none. metadata/ec2 and metadata/ecs test them.
		"ec2:DescribeFlowLogs", "ec2:GetManagedPrefixListEntries", "ec2:SearchTransitGatewayRoutes",
		"ecs:DescribeContainerInstances", "ecs:DescribeTasks", "ecs:ListTasks",
		"kms:Decrypt",                                                       // Kinesis asks it in the reader's name
		"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", // with a queue of changes
		"sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", // for other accounts, and how a pod gets this role
	}
	if diff := cmp.Diff(elsewhere, slices.Sorted(maps.Keys(unused))); diff != "" {
		t.Errorf("actions that nothing used (-expected +found):\n%s", diff)
	}
}
