package httpd

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"dredge/internal/secret"
)

// Role says what somebody who has logged in may do.
type Role string

// The roles. An admin may also change something and take profiles.
const (
	RoleRead  Role = "read"
	RoleAdmin Role = "admin"
)

// Login is somebody who may ask, by a password (basic) or by a token (bearer).
type Login struct {
	// Name is the user of a password; of a token it only stands in the log.
	Name string `yaml:"name"`
	// Role is read (everything that changes nothing) or admin.
	Role Role `yaml:"role"`
	// Password is what the user has to know; PasswordFile keeps it out of the configuration.
	Password secret.Text `yaml:"password"`
	// PasswordFile is a file that holds nothing but the password. It is read at start.
	PasswordFile string `yaml:"password_file"`
	// Token is sent as Authorization: Bearer; TokenFile keeps it out of the configuration.
	Token secret.Text `yaml:"token"`
	// TokenFile is a file that holds nothing but the token. It is read at start.
	TokenFile string `yaml:"token_file"`
}

// leastSecret is the fewest characters of a password or token: shorter ones are guessed.
const leastSecret = 12

func (l Login) validate() error {
	var errs []error
	if l.Role != RoleRead && l.Role != RoleAdmin {
		errs = append(errs, fmt.Errorf("role: %q is unknown; write %s or %s", l.Role, RoleRead, RoleAdmin))
	}
	given := 0
	for _, set := range []bool{l.Password != "", l.PasswordFile != "", l.Token != "", l.TokenFile != ""} {
		if set {
			given++
		}
	}
	if given != 1 {
		errs = append(errs, fmt.Errorf("password: %d of password, password_file, token and token_file are set; write one", given))
	}
	for _, s := range []secret.Text{l.Password, l.Token} {
		if s != "" && len(s) < leastSecret {
			errs = append(errs, fmt.Errorf("password: has %d characters and is guessed soon; write at least %d", len(s), leastSecret))
		}
	}
	if l.basic() && (l.Name == "" || strings.Contains(l.Name, ":")) {
		errs = append(errs, fmt.Errorf("name: %q is no user; write a name without a colon", l.Name))
	}
	return errors.Join(errs...)
}

// basic says whether the login is by user and password.
func (l Login) basic() bool { return l.Password != "" || l.PasswordFile != "" }

// secret returns the password or token itself.
func (l Login) secret() (string, error) {
	file := l.PasswordFile + l.TokenFile
	if file == "" {
		return string(l.Password) + string(l.Token), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the secret of login %q: %w", l.Name, err)
	}
	s := strings.TrimRight(string(text), "\r\n")
	if len(s) < leastSecret {
		return "", fmt.Errorf("%s holds %d characters; write a secret of at least %d", file, len(s), leastSecret)
	}
	return s, nil
}

// Authorize puts the credentials of l into r, for those who ask a dredge.
func (l Login) Authorize(r *http.Request) error {
	s, err := l.secret()
	if err != nil {
		return err
	}
	if l.basic() {
		r.SetBasicAuth(l.Name, s)
	} else {
		r.Header.Set("Authorization", "Bearer "+s)
	}
	return nil
}

// Admin returns the first login that may change something; false when nobody has to log in.
func (c Config) Admin() (Login, bool) {
	i := slices.IndexFunc(c.Auth, func(l Login) bool { return l.Role == RoleAdmin })
	if i < 0 {
		return Login{}, false
	}
	return c.Auth[i], true
}

// door decides who may ask what. Safe for concurrent use.
type door struct {
	logins []knownLogin // immutable
	tries  *tries
	log    zerolog.Logger
}

// knownLogin is a login ready to be compared: of secrets only sums are kept.
type knownLogin struct {
	basic bool
	sum   [sha256.Size]byte // of user:password, or of the token
	role  Role
}

func newDoor(logins []Login, log zerolog.Logger) (*door, error) {
	tries, err := newTries()
	if err != nil {
		return nil, err
	}
	// Who guesses from many addresses shall not fill the log.
	d := &door{tries: tries, log: log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Minute})}
	for i, l := range logins {
		s, err := l.secret()
		if err != nil {
			return nil, fmt.Errorf("auth[%d]: %w", i, err)
		}
		k := knownLogin{basic: l.basic(), role: l.Role}
		if k.basic {
			s = l.Name + ":" + s
		}
		k.sum = sha256.Sum256([]byte(s))
		d.logins = append(d.logins, k)
	}
	return d, nil
}

// open says that nobody has to log in.
func (d *door) open() bool { return len(d.logins) == 0 }

// given returns what r wants to prove itself with, and whether there is anything.
func given(r *http.Request) (secret string, basic, ok bool) {
	if user, pass, ok := r.BasicAuth(); ok {
		return user + ":" + pass, true, true
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token, false, ok
}

// role returns what the one who knows the secret may do, "" when there is none. Every login is compared, so that the time says nothing.
func (d *door) role(secret string, basic bool) Role {
	sum := sha256.Sum256([]byte(secret))
	found := Role("")
	for _, k := range d.logins {
		if subtle.ConstantTimeCompare(sum[:], k.sum[:]) == 1 && k.basic == basic && found != RoleAdmin {
			found = k.role
		}
	}
	return found
}

// admit returns what the one who sent r may do, "" when r proves nothing, or how long its address has to wait before anything is looked at.
func (d *door) admit(r *http.Request) (has Role, wait time.Duration) {
	secret, basic, ok := given(r)
	if !ok {
		return "", 0
	}
	wait = d.tries.try(r, func() bool {
		has = d.role(secret, basic)
		return has != ""
	})
	return has, wait
}

// require lets only those through to h who have role, or a greater one. refused counts the others.
func (d *door) require(role Role, h http.Handler, refused *refusals) http.Handler {
	if d.open() {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		has, wait := d.admit(r)
		switch {
		case wait > 0:
			refused.tries.Inc()
			wait = max(wait, time.Second).Round(time.Second)
			d.log.Warn().Stringer("from", addressOf(r)).Dur("wait", wait).Msg("too many wrong logins from an address")
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
			writeJSON(w, http.StatusTooManyRequests, map[string]string{"error": fmt.Sprintf("too many wrong logins from this address; try again in %s", wait)})
		case has == "":
			refused.unknown.Inc()
			w.Header().Set("WWW-Authenticate", `Basic realm="dredge", charset="UTF-8"`)
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "log in with one of http.auth: user and password, or Authorization: Bearer TOKEN"})
		case role == RoleAdmin && has != RoleAdmin:
			refused.role.Inc()
			writeJSON(w, http.StatusForbidden, map[string]string{"error": "this changes something or shows memory, so it is for logins with role: admin"})
		default:
			h.ServeHTTP(w, r)
		}
	})
}
