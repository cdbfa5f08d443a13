package kube

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Connect returns a client that authenticates to the cluster's API server, and the server's base URL. It reads the kubeconfig or
// the pod's service account and dials nothing.
func Connect(c Cluster) (*http.Client, string, error) {
	var cfg *rest.Config
	var err error
	if c.Kubeconfig == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: c.Context}).ClientConfig()
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading credentials of cluster %q: %w", c.Name, err)
	}
	cfg.UserAgent = "dredge"
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, "", fmt.Errorf("reading credentials of cluster %q: %w", c.Name, err)
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, "", fmt.Errorf("reading credentials of cluster %q: %w", c.Name, err)
	}
	return client, base.String(), nil
}
