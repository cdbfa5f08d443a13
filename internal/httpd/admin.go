package httpd

import (
	"net"
	"net/http"
)

// admin lets h be reached by people on this machine only, unless anywhere or those who asked had to log in. A request counts as local when it comes from loopback,
// names loopback as its host (else a page in a browser could reach it under a name that it made point here), was not passed on
// by a proxy, and was not made by a page of another origin.
func admin(h http.Handler, anywhere bool, refused *refusals) http.Handler {
	h = http.NewCrossOriginProtection().Handler(h)
	if anywhere {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r) {
			refused.elsewhere.Inc()
			writeJSON(w, http.StatusForbidden, map[string]string{
				"error": "only from this machine, by a loopback address; set http.auth with a login of role admin when others shall do this, too",
			})
			return
		}
		h.ServeHTTP(w, r)
	})
}

func local(r *http.Request) bool {
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !isLoopback(from) || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return isLoopback(host)
}
