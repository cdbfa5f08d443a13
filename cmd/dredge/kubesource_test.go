package main

import (
	"cmp"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"dredge/metadata/event"
	"dredge/metadata/kube"
)

// A sonar that starts anew recalls which pods had addresses, in whatever order the log tells it, so that those that are gone are released.
func TestKubeRecallsOpenClaims(t *testing.T) {
	told := []event.Event{
		{Src: "kube/one", Op: event.Assign, Scope: "vpc-1", IP: "10.0.0.1", Owner: "pod-a", From: 1000},
		{Src: "kube/one", Op: event.Assign, Scope: "vpc-1", IP: "10.0.0.2", Owner: "pod-b", From: 1000},
		{Src: "kube/one", Op: event.Release, Scope: "vpc-1", IP: "10.0.0.2", Owner: "pod-b", To: 2000},
		{Src: "kube/one", Op: event.Assign, Scope: "vpc-1", IP: "10.0.0.3", Owner: "pod-c", From: 1000, To: 3000},
		{Src: "kube/one", Op: event.Release, Scope: "vpc-1", IP: "10.0.0.4", Owner: "pod-d", To: 2000},
		{Src: "kube/one", Op: event.Assign, Scope: "vpc-1", IP: "10.0.0.4", Owner: "pod-d", From: 9000}, // back again
		{Src: "kube/two", Op: event.Assign, Scope: "vpc-1", IP: "10.0.0.5", Owner: "pod-e", From: 1000},
		{Src: "ec2/1/r", Op: event.Assign, Scope: "vpc-1", IP: "10.0.0.6", Owner: "eni:eni-1", From: 1000},
		{Src: "kube/one", Op: event.Describe, Owner: "pod-a", From: 1000},
		{Src: "kube/one", Op: event.Progress, To: 5000},
	}
	want := []kube.Claim{{Owner: "pod-a", Scope: "vpc-1", IP: "10.0.0.1", From: 1000, Known: 5000}, {Owner: "pod-d", Scope: "vpc-1", IP: "10.0.0.4", From: 9000, Known: 9000}}
	for range 2 {
		k := &kubeSource{claims: map[string]map[kubeClaim]kubeTenure{}, vouched: map[string]int64{}}
		for i := range told {
			k.Recall(&told[i])
		}
		got := k.open("kube/one")
		slices.SortFunc(got, func(a, b kube.Claim) int { return cmp.Compare(a.IP, b.IP) })
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if other := k.open("kube/two"); len(other) != 1 || other[0].Owner != "pod-e" {
			t.Errorf("of the other cluster: %+v", other)
		}
		slices.Reverse(told)
	}
}
