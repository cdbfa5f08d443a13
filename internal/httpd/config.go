package httpd

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Config says where dredge answers HTTP.
type Config struct {
	// Listen is the address of metrics, health and the page, as host:port; empty turns the server off. Default 127.0.0.1:9090.
	Listen string `yaml:"listen"`
	// Debug serves /debug/pprof as well. It is refused on an address that is not loopback unless DebugAnywhere is set too.
	Debug bool `yaml:"debug"`
	// DebugAnywhere allows Debug on an address that others can reach: profiles show memory contents.
	DebugAnywhere bool `yaml:"debug_anywhere"`
	// AdminAnywhere lets others than this machine ask for what changes something (drain, reload, restart of a shard) when nobody has to log in; whoever reaches the address may then.
	AdminAnywhere bool `yaml:"admin_anywhere"`
	// TLS makes the server speak HTTPS.
	TLS TLSConfig `yaml:"tls"`
	// Auth are those who may ask; while it is empty nobody has to log in. /healthz and /readyz answer everybody.
	Auth []Login `yaml:"auth"`
	// OpenMetrics answers /metrics to everybody also when others have to log in.
	OpenMetrics bool `yaml:"open_metrics"`
}

// DefaultConfig listens on loopback with profiles on.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:9090", Debug: true} }

// Validate reports every fault of c.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port; write for example 127.0.0.1:9090", c.Listen)
	}
	var errs []error
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		errs = append(errs, fmt.Errorf("listen: %q has no port from 0 to 65535; write for example 127.0.0.1:9090", c.Listen))
	}
	if c.Debug && !c.DebugAnywhere && !isLoopback(host) {
		errs = append(errs, fmt.Errorf("debug: profiles on %q could be read by others; set debug: false, or debug_anywhere: true when that is meant", c.Listen))
	}
	if err := c.TLS.validate(); err != nil {
		errs = append(errs, fmt.Errorf("tls.%w", err))
	}
	for i, l := range c.Auth {
		if err := l.validate(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("auth[%d].%s", i, line))
			}
		}
	}
	return errors.Join(errs...)
}

// Advice says what of c is unwise, though it is valid: one sentence each.
func (c Config) Advice() []string {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil || isLoopback(host) {
		return nil
	}
	var out []string
	if len(c.Auth) == 0 {
		out = append(out, fmt.Sprintf("http.listen %q is reached by others, and nobody has to log in: set http.auth, or keep others away with a NetworkPolicy or a proxy", c.Listen))
	}
	if len(c.Auth) > 0 && !c.TLS.Enabled() {
		out = append(out, fmt.Sprintf("http.auth without http.tls on %q: passwords and tokens go over the network in clear", c.Listen))
	}
	if c.AdminAnywhere && len(c.Auth) == 0 {
		out = append(out, "http.admin_anywhere without http.auth: whoever reaches the address may drain this worker")
	}
	return out
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
