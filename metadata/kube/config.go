package kube

import (
	"errors"
	"fmt"
	"strings"
)

// Config says which clusters' pods are watched.
type Config struct {
	// Clusters are the Kubernetes clusters whose pods are watched; each needs list and watch on pods and nodes.
	Clusters []Cluster `yaml:"clusters"`
}

// Cluster is one Kubernetes API server.
type Cluster struct {
	// Name stands in the cluster column of its pods' rows, and in the source's name kube/NAME.
	Name string `yaml:"name"`
	// Kubeconfig is the path of a kubeconfig file; empty uses the pod's own service account.
	Kubeconfig string `yaml:"kubeconfig"`
	// Context is the kubeconfig's context; empty is its current one.
	Context string `yaml:"context"`
	// VPC is the id of the VPC whose addresses the pods have.
	VPC string `yaml:"vpc"`
	// VPCFrom is the label or annotation of nodes that holds the VPC's id, for a cluster whose nodes stand in several; it outranks vpc.
	VPCFrom string `yaml:"vpc_from"`
	// Account is the AWS account of the nodes, for the account column.
	Account string `yaml:"account"`
	// Region is the AWS region of the nodes; empty takes each node's topology.kubernetes.io/region.
	Region string `yaml:"region"`
	// AppLabels are pod labels that name this cluster's applications before identity.names does, the first that is there wins.
	AppLabels []string `yaml:"app_labels"`
}

// DefaultConfig watches nothing.
func DefaultConfig() Config { return Config{} }

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	names := map[string]bool{}
	for i, cl := range c.Clusters {
		fault := func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("clusters[%d].%s: %s", i, key, fmt.Sprintf(format, args...)))
		}
		switch {
		case cl.Name == "" || strings.ContainsAny(cl.Name, "/ \n") || len(cl.Name) > 128:
			fault("name", "%.140q is no name; write the cluster's, without slash or space", cl.Name)
		case names[cl.Name]:
			fault("name", "%q stands there twice; give each cluster a name of its own", cl.Name)
		}
		names[cl.Name] = true
		if cl.VPC == "" && cl.VPCFrom == "" {
			fault("vpc", "is empty, so the pods' addresses have no scope; write the VPC's id, or vpc_from")
		}
		if cl.Context != "" && cl.Kubeconfig == "" {
			fault("context", "%q needs a kubeconfig; write kubeconfig, or leave context out", cl.Context)
		}
	}
	return errors.Join(errs...)
}
