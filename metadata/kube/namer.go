package kube

import (
	"cmp"
	"strings"
)

// Workload is what a Namer decides by.
type Workload struct {
	Namespace string
	Labels    map[string]string
	// OwnerKind and OwnerName are the pod's controller (ReplicaSet, StatefulSet, Job, …), "" when it has none.
	OwnerKind, OwnerName string
}

// Namer chooses the application of a pod. It must be a pure function.
type Namer interface {
	// App returns the application's name and the rule that chose it, "" when it knows none.
	App(w Workload) (app, source string)
}

// labelNamer asks labels, then the controller.
type labelNamer []string

func defaultAppLabels() []string { return []string{"app.kubernetes.io/name", "app", "k8s-app"} }

// App implements Namer.
func (l labelNamer) App(w Workload) (app, source string) {
	for _, key := range l {
		if v := w.Labels[key]; v != "" {
			return v, key
		}
	}
	name := w.OwnerName
	switch w.OwnerKind {
	case "":
		return "", ""
	case "Node": // a static pod is its node's
		return "", ""
	case "ReplicaSet": // a Deployment's carries its template's hash
		name = strings.TrimSuffix(name, "-"+cmp.Or(w.Labels["pod-template-hash"], w.Labels["rollouts-pod-template-hash"], "\x00"))
	case "Job": // a CronJob's carries the minute it was due
		if i := strings.LastIndexByte(name, '-'); i > 0 && len(name)-i > 8 && strings.Trim(name[i+1:], "0123456789") == "" {
			name = name[:i]
		}
	}
	return name, "kubernetes"
}
