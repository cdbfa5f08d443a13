package httpd

import (
	"errors"
	"fmt"
	"net"
)

// Config says where dredge answers HTTP.
type Config struct {
	// Listen is the address of metrics, health and the page, as host:port; empty turns the server off. Default 127.0.0.1:9090.
	Listen string `yaml:"listen"`
	// Debug serves /debug/pprof as well. It is refused on an address that is not loopback unless DebugAnywhere is set too.
	Debug bool `yaml:"debug"`
	// DebugAnywhere allows Debug on an address that others can reach: profiles show memory contents.
	DebugAnywhere bool `yaml:"debug_anywhere"`
	// AdminAnywhere lets others than this machine ask for what changes something, which is POST /drain; whoever reaches the address may then.
	AdminAnywhere bool `yaml:"admin_anywhere"`
}

// DefaultConfig listens on loopback with profiles on.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:9090", Debug: true} }

// Validate reports every fault of c.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port; write for example 127.0.0.1:9090", c.Listen)
	}
	var errs []error
	if c.Debug && !c.DebugAnywhere && !isLoopback(host) {
		errs = append(errs, fmt.Errorf("debug: profiles on %q could be read by others; set debug: false, or debug_anywhere: true when that is meant", c.Listen))
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
