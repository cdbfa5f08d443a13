// Package deploy holds what runs dredge elsewhere than in a test: the compose file's settings, Prometheus's and Grafana's. It has
// no code; its tests hold these files to what the code says.
package deploy
