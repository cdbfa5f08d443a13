package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/internal/blob"
	"dredge/internal/telemetry"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/file"
	"dredge/metadata/idlog"
	"dredge/metadata/sonar"
	"dredge/metadata/store"
)

type lookupOptions struct {
	config, at, scope, log, server string
	events                         []string
	json, history                  bool
}

func newLookupCmd() *cobra.Command {
	var o lookupOptions
	cmd := &cobra.Command{
		Use:   "lookup IP [--at T] [--scope S] [--events FILE… | --log URL | --server URL | -c FILE]",
		Short: "Say who had an address at a time, why that is believed, and the evidence",
		Long: `lookup answers who had an address at a time (now without --at), in one routing domain or in every one that
knows the address, with the evidence: which events, which source, why this grade.

It asks a running dredge sonar (--server), reads an identity log (--log), or reads files of identity events
(--events); with -c, whatever of a log or a file the configuration names. Files that were read whole count as
complete. Exit code 1 when nothing is known of the address.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLookup(cmd.Context(), o, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addConfigFlag(cmd, &o.config)
	f := cmd.Flags()
	f.StringVar(&o.at, "at", "", "the time: RFC 3339, or Unix seconds or milliseconds")
	f.StringVar(&o.scope, "scope", "", "the routing domain: a VPC id, or public")
	f.StringSliceVar(&o.events, "events", nil, "files or folders of identity events (JSON Lines)")
	f.StringSliceVar(&o.events, "identity", nil, "the same as --events: replay and explain call it so")
	f.StringVar(&o.log, "log", "", "an identity log, as file:///a/directory or s3://bucket/prefix")
	f.StringVar(&o.server, "server", "", "a running dredge sonar, as http://127.0.0.1:9090")
	f.BoolVar(&o.history, "history", false, "show everybody who had the address, instead of one time")
	f.BoolVar(&o.json, "json", false, "print JSON, as the API answers it")
	return cmd
}

// lookupTimeout bounds one look-up, the reading of a log included.
const lookupTimeout = 5 * time.Minute

func runLookup(ctx context.Context, o lookupOptions, address string, out, errOut io.Writer) error {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" {
		return fmt.Errorf("%q is no IP address; write one such as 10.0.0.1 or 2001:db8::1", address)
	}
	at := int64(0)
	if o.at != "" {
		if at, err = sonar.ParseTime(o.at); err != nil {
			return fmt.Errorf("--at: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ask, err := o.asker(ctx, telemetry.NewLogger(telemetry.LogConfig{Level: "warn", Format: "auto"}, errOut, isTerminal(errOut)))
	if err != nil {
		return err
	}
	if o.history {
		h, err := ask.History(ctx, ip.Unmap(), o.scope)
		if err != nil {
			return err
		}
		return o.print(out, h, len(h.Tenures) > 0, address, func(out io.Writer) { printHistory(out, h) })
	}
	answers, err := ask.IP(ctx, ip.Unmap(), at, o.scope)
	if err != nil {
		return err
	}
	if o.server == "" { // what was read just now heard of its sources just now, which says nothing
		for i := range answers.Sources {
			answers.Sources[i].Heard = 0
		}
	}
	known := slices.ContainsFunc(answers.Answers, func(a sonar.Answer) bool {
		return a.Grade != metadata.Unknown.String() || a.Endpoint != nil || a.Network != "" || len(a.Evidence) > 0
	})
	return o.print(out, answers, known, address, func(out io.Writer) {
		for i := range answers.Answers {
			printAnswer(out, &answers.Answers[i])
		}
	})
}

func (o lookupOptions) print(out io.Writer, v any, found bool, address string, table func(io.Writer)) error {
	switch {
	case o.json:
		if err := printJSON(out, v); err != nil {
			return err
		}
	default:
		w := bufio.NewWriter(out)
		table(w) // of what is asked for and not known, it says why
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if !found {
		return &exitError{code: 1, err: fmt.Errorf("nothing is known of %s", address)}
	}
	return nil
}

// asker answers look-ups: sonar.Asker here, or a running dredge sonar.
type asker interface {
	IP(ctx context.Context, ip netip.Addr, at int64, scope string) (sonar.Answers, error)
	History(ctx context.Context, ip netip.Addr, scope string) (sonar.History, error)
}

// asker finds whom to ask.
func (o lookupOptions) asker(ctx context.Context, log zerolog.Logger) (asker, error) {
	given := 0
	for _, b := range []bool{o.server != "", o.log != "", len(o.events) > 0} {
		if b {
			given++
		}
	}
	if given > 1 {
		return nil, errors.New("--events, --log and --server are three ways to ask; write one of them")
	}
	if o.server != "" {
		return newRemoteAsker(o.server)
	}
	c, err := config.Load(o.config, os.Environ())
	if err != nil {
		return nil, err
	}
	if given == 0 {
		if lc, err := c.Identity.SonarLog(); err == nil {
			o.log = lc.URL
		} else if c.Identity.File.Path != "" {
			o.events = []string{c.Identity.File.Path}
		} else {
			return nil, errors.New("nobody to ask: write --server, --log or --events, or -c with a configuration that has identity.logs or identity.file.path")
		}
	}
	c.Identity.Store.Retention = maxRetention
	st, err := store.New(c.Identity.Store, store.Dependencies{})
	if err != nil {
		return nil, err
	}
	known := &knowledge{store: st, fold: idlog.NewFold(maxRetention)}
	if o.log != "" {
		err = known.readLog(ctx, o.log, log)
	} else {
		err = known.readFiles(ctx, o.events, log)
	}
	return &sonar.Asker{Store: st, Fold: known.fold}, err
}

// knowledge takes what files or a log tell into a store and a fold.
type knowledge struct {
	store *store.Store
	fold  *idlog.Fold
}

// Apply implements file.Target and idlog.Target.
func (k *knowledge) Apply(e *event.Event) error {
	if err := k.store.Apply(e); err != nil {
		return err
	}
	return k.fold.Apply(e)
}

// MarkProgress implements file.Target.
func (k *knowledge) MarkProgress(src string, t int64) { k.store.MarkProgress(src, t) }

// MarkComplete implements file.Target.
func (k *knowledge) MarkComplete(src string) { k.store.MarkComplete(src) }

// Observe implements idlog.Target.
func (k *knowledge) Observe(s idlog.Sighting) {
	k.store.Observe(sonar.StoreSighting(k.store, s))
	k.fold.Observe(s)
}

func (k *knowledge) readFiles(ctx context.Context, paths []string, log zerolog.Logger) error {
	for _, path := range paths {
		c := file.DefaultConfig()
		c.Path = path
		src, err := file.New(c, file.Dependencies{Target: k, Logger: log})
		if err != nil {
			return err
		}
		if err := src.LoadAll(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (k *knowledge) readLog(ctx context.Context, rawURL string, log zerolog.Logger) error {
	bucket, err := blob.New(rawURL)
	if err != nil {
		return fmt.Errorf("--log: %w", err)
	}
	defer bucket.Close() //nolint:errcheck // nothing is written
	r, err := idlog.NewReader(idlog.Config{URL: rawURL}, idlog.DefaultSettings(), idlog.ReaderDeps{Bucket: bucket, Target: k, Logger: log})
	if err != nil {
		return err
	}
	// Segments that were merged while they were read show up at the next look.
	for range 3 {
		if err = r.Poll(ctx); err != nil || !r.Status().Looked.IsZero() {
			break
		}
	}
	if err == nil && r.Status().Streams == 0 {
		err = fmt.Errorf("--log: %s holds no identity log", rawURL)
	}
	return err
}

// remoteAsker asks a running dredge sonar.
type remoteAsker struct {
	base   *url.URL
	client *http.Client
}

func newRemoteAsker(base string) (*remoteAsker, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--server: %q is no URL; write http://127.0.0.1:9090", base)
	}
	return &remoteAsker{base: u, client: &http.Client{Timeout: 30 * time.Second}}, nil
}

// IP implements asker.
func (r *remoteAsker) IP(ctx context.Context, ip netip.Addr, at int64, scope string) (out sonar.Answers, err error) {
	q := url.Values{}
	if at != 0 {
		q.Set("at", strconv.FormatInt(at, 10))
	}
	if scope != "" {
		q.Set("scope", scope)
	}
	return out, r.get(ctx, q, &out, "v1", "ip", ip.String())
}

// History implements asker.
func (r *remoteAsker) History(ctx context.Context, ip netip.Addr, scope string) (out sonar.History, err error) {
	q := url.Values{}
	if scope != "" {
		q.Set("scope", scope)
	}
	return out, r.get(ctx, q, &out, "v1", "ip", ip.String(), "history")
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

func (r *remoteAsker) get(ctx context.Context, q url.Values, out any, path ...string) error {
	u := r.base.JoinPath(path...)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking %s: %w", r.base, err)
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode != http.StatusOK {
		var said struct {
			Error string `json:"error"`
		}
		if json.NewDecoder(body).Decode(&said) != nil || said.Error == "" {
			said.Error = "it is no dredge sonar"
		}
		return fmt.Errorf("asking %s: %s: %s", r.base, resp.Status, said.Error)
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("asking %s: %w", r.base, err)
	}
	return nil
}

func printAnswer(out io.Writer, a *sonar.Answer) {
	scope := a.Scope
	if scope == "" {
		scope = "no scope"
	}
	fmt.Fprintf(out, "%s in %s at %s\n", a.IP, scope, a.At)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %s\t%s\n", name, value)
		}
	}
	line("grade", a.Grade+" ("+a.Reason+")")
	line("why", a.Why)
	if wl := a.Workload; wl != nil {
		line("app", wl.App)
		line("cluster", wl.Cluster)
		line("account", strings.TrimSpace(wl.Account+" "+wl.Region))
		line("team", wl.Team)
	}
	if e := a.Endpoint; e != nil {
		line("owner", e.Owner)
		line("endpoint", strings.Join(strings.Fields(e.Kind+" "+e.Name+" "+e.Instance+" "+e.AZ), " "))
		if a.From != 0 || a.To != 0 {
			line("tenure", a.From.String()+" to "+openEnd(a.To))
		}
	}
	line("network", a.Network)
	for _, c := range a.Candidates {
		text := c.Endpoint.Owner
		if c.Workload != nil {
			text += " " + c.Workload.App
		}
		line("candidate", text)
	}
	_ = w.Flush() // print tells what went wrong
	if len(a.Evidence) == 0 {
		fmt.Fprintln(out)
		return
	}
	fmt.Fprintln(out, "  evidence")
	w = tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "    kind\top\tsource\towner\tfrom\tto\taccuracy\tapp")
	for _, e := range a.Evidence {
		fmt.Fprintf(w, "    %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Kind, e.Op, e.Source, ownerText(e.Owner, e.Proto, e.Port), e.From, e.To,
			time.Duration(e.AccuracyMillis)*time.Millisecond, e.App)
	}
	_ = w.Flush()
	if a.Truncated {
		fmt.Fprintln(out, "    … and more")
	}
	fmt.Fprintln(out)
}

// ownerText is an owner, and the port that its claim is narrowed to.
func ownerText(owner string, proto, port int) string {
	if proto == 0 && port == 0 {
		return owner
	}
	return fmt.Sprintf("%s port %d (protocol %d)", owner, port, proto)
}

func openEnd(t sonar.Time) string {
	if t.String() == "-" {
		return "now"
	}
	return t.String()
}

func printHistory(out io.Writer, h sonar.History) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "scope\tfrom\tto\tkind\towner\tapp\tsources")
	for _, t := range h.Tenures {
		app := ""
		if t.Workload != nil {
			app = t.Workload.App
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Scope, t.From, openEnd(t.To), t.Kind, ownerText(t.Owner, t.Proto, t.Port), app, strings.Join(t.Sources, ", "))
	}
	_ = w.Flush() // print tells what went wrong
	if h.Truncated {
		fmt.Fprintln(out, "… and more")
	}
}
