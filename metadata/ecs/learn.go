package ecs

import (
	"context"
	"maps"
	"slices"

	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// learn looks up the subnets and hosts that tasks name and nobody has looked up yet.
func (e *estate) learn(ctx context.Context, found []types.Task) error {
	subnets, hosts := map[string]bool{}, map[string]map[string]bool{}
	e.mu.Lock()
	for i := range found {
		t := &found[i]
		if ended(t) {
			continue
		}
		eni, subnet, _ := attachment(t)
		if _, known := e.subnets[subnet]; eni != "" && subnet != "" && !known {
			subnets[subnet] = true
		}
		host, cluster := aws.ToString(t.ContainerInstanceArn), aws.ToString(t.ClusterArn)
		if _, known := e.hosts[host]; eni == "" && host != "" && !known {
			if hosts[cluster] == nil {
				hosts[cluster] = map[string]bool{}
			}
			hosts[cluster][host] = true
		}
	}
	e.mu.Unlock()
	for some := range slices.Chunk(slices.Sorted(maps.Keys(subnets)), describeMost) {
		answer, err := awscall.Do(ctx, e.inventory(), "DescribeSubnets", func(ctx context.Context) (*ec2.DescribeSubnetsOutput, error) {
			return e.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{{Name: aws.String("subnet-id"), Values: some}}})
		})
		if err != nil {
			return err
		}
		e.mu.Lock()
		for _, s := range answer.Subnets {
			e.subnets[aws.ToString(s.SubnetId)] = aws.ToString(s.VpcId)
		}
		e.mu.Unlock()
	}
	for _, cluster := range slices.Sorted(maps.Keys(hosts)) {
		for some := range slices.Chunk(slices.Sorted(maps.Keys(hosts[cluster])), describeMost) {
			if err := e.learnHosts(ctx, cluster, some); err != nil {
				return err
			}
		}
	}
	return nil
}

// inventory is the caller for EC2: the same rate, other permissions.
func (e *estate) inventory() *awscall.Caller {
	c := *e.caller
	c.Service = "ec2"
	return &c
}

func (e *estate) learnHosts(ctx context.Context, cluster string, arns []string) error {
	answer, err := awscall.Do(ctx, e.caller, "DescribeContainerInstances", func(ctx context.Context) (*ecs.DescribeContainerInstancesOutput, error) {
		return e.ecs.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: arns})
	})
	if err != nil {
		return err
	}
	byInstance := map[string]string{}
	for _, c := range answer.ContainerInstances {
		if id := aws.ToString(c.Ec2InstanceId); id != "" {
			byInstance[id] = aws.ToString(c.ContainerInstanceArn)
		}
	}
	if len(byInstance) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(byInstance))
	return awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.inventory(), "DescribeInstances", func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) {
			return e.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{
				NextToken: token, Filters: []ec2types.Filter{{Name: aws.String("instance-id"), Values: ids}},
			})
		})
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, r := range answer.Reservations {
			for _, i := range r.Instances {
				e.hosts[byInstance[aws.ToString(i.InstanceId)]] = hostOf(i)
			}
		}
		return answer.NextToken, nil
	})
}

// hostOf takes the primary interface of an instance: bridge and host ports are bound there.
func hostOf(i ec2types.Instance) host {
	h := host{ip: aws.ToString(i.PrivateIpAddress), vpc: aws.ToString(i.VpcId), subnet: aws.ToString(i.SubnetId), instance: aws.ToString(i.InstanceId)}
	if i.LaunchTime != nil {
		h.launched = i.LaunchTime.UnixMilli()
	}
	for _, n := range i.NetworkInterfaces {
		if aws.ToString(n.PrivateIpAddress) == h.ip {
			h.eni = aws.ToString(n.NetworkInterfaceId)
		}
	}
	return h
}
