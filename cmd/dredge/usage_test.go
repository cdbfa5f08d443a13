package main

import (
	"io"
	"strings"
	"testing"
)

// Whatever is wrong about a command line is said with what to write instead.
func TestWrongCommandLines(t *testing.T) {
	t.Setenv("DREDGE_CONFIG", "")
	file := write(t, "dredge.yaml", "kinesis: {application: flows}\n")
	f := func(want string, args ...string) {
		t.Helper()
		cmd := newRootCmd()
		cmd.SetArgs(args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("dredge %s: %v does not say %q", strings.Join(args, " "), err, want)
		}
	}
	f("Did you mean this?\n\trun", "rn")
	f("unknown flag: --confg; `dredge run --help` lists the flags", "run", "--confg", "x")
	f("accepts 1 arg(s), received 0; write `dredge lookup IP", "lookup")
	f("received 1; write `dredge leases checkpoint set SHARD POSITION", "leases", "checkpoint", "set", "a")
	f("there is no -c FILE", "run")
	f("kinesis.stream_name: \"\" is empty; write the stream's name", "run")
	f("config "+file+":\nkinesis.stream_name", "run", "-c", file)
	f("config "+file+":\nkinesis.stream_name", "check", "-c", file)
	f("no such file", "run", "-c", file+".none")
	f(`--addr: "1.2.3" is not host:port; write for example 127.0.0.1:8080`, "demo", "--addr", "1.2.3")
	f(`--url: "127.0.0.1:1" is no address of a server; write it as http://127.0.0.1:9090`, "coverage", "--url", "127.0.0.1:1")
	f("--for -1s: write a positive time, or 0 to run until Ctrl-C", "demo", "--for", "-1s")
	f(`--format: parse log format: empty; name at least one field`, "parse", "--format", "", file)
	f(`--format: parse log format: field "srcaddr" stands twice`, "parse", "--format", "srcaddr srcaddr", file)
	f(`"10.0.0" is no IP address; write one such as 10.0.0.1`, "lookup", "10.0.0", "--events", file)
}

func TestVersion(t *testing.T) {
	var said [2]strings.Builder
	for i, arg := range []string{"version", "--version"} {
		cmd := newRootCmd()
		cmd.SetArgs([]string{arg})
		cmd.SetOut(&said[i])
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if text := said[0].String(); text != said[1].String() || !strings.HasPrefix(text, "dredge ") || !strings.Contains(text, " go1.") {
		t.Errorf("version says %q, --version says %q", text, said[1].String())
	}
}
