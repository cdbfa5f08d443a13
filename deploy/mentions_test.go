package deploy

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Settings, commands, flags and make targets that the documents name between backticks exist: who is on call at night has nobody to ask. Reports and
// decisions are of their day.
func TestDocumentsNameWhatExists(t *testing.T) {
	var settings []string
	sections := map[string]bool{} // what a name of a setting begins with
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\|").FindAllStringSubmatch(string(read(t, root+"/docs/reference/config.md")), -1) {
		name := strings.ReplaceAll(m[1], "[]", "")
		top, _, _ := strings.Cut(name, ".")
		settings, sections[top] = append(settings, name), true
	}
	cli := string(read(t, root+"/docs/reference/cli.md"))
	makefile := "\n" + string(read(t, root+"/Makefile"))
	others := []string{"druid.dynamic.config.provider", "rows.jsonl"} // Druid's own, and a file
	checked := 0
	for _, pattern := range []string{"/README.md", "/CONTRIBUTING.md", "/docs/*.md"} {
		files, err := filepath.Glob(root + pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(read(t, file)), -1) {
				said := m[1]
				words := strings.Fields(said)
				name, _, _ := strings.Cut(words[0], ":")
				top, _, dotted := strings.Cut(name, ".")
				switch {
				case words[0] == "make" && len(words) > 1:
					if !strings.Contains(makefile, "\n"+words[1]+":") {
						t.Errorf("%s: `%s`: there is no such target", file, said)
					}
				case words[0] == "dredge" && len(words) > 1:
					wantCommand(t, file, said, cli, words[1:])
				case dotted && sections[top] && regexp.MustCompile(`^[a-z0-9_.]+$`).MatchString(name) && !slices.Contains(others, name):
					if !slices.ContainsFunc(settings, func(s string) bool { return s == name || strings.HasPrefix(s, name+".") }) {
						t.Errorf("%s: `%s`: there is no such setting", file, said)
					}
				default:
					continue
				}
				checked++
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d names were checked", checked)
	}
}

// wantCommand wants the first words to be a command, and its flags to be known.
func wantCommand(t *testing.T, file, said, cli string, words []string) {
	t.Helper()
	name := ""
	for _, w := range words {
		w = strings.Trim(w, ",")
		if longer := strings.TrimSpace(name + " " + w); strings.Contains(cli, "\n## dredge "+longer+"\n") {
			name = longer
			continue
		}
		break
	}
	if name == "" {
		t.Errorf("%s: `%s`: there is no such command", file, said)
		return
	}
	flags := commandFlags(t, name)
	if above, _, ok := strings.Cut(name, " "); ok { // a group's flags are those of its commands, too
		flags = append(flags, commandFlags(t, above)...)
	}
	for _, w := range words {
		w, _, _ = strings.Cut(strings.Trim(w, "[](),"), "=")
		if strings.HasPrefix(w, "--") && !slices.Contains(flags, w) {
			t.Errorf("%s: `%s`: dredge %s has no flag %s; it has %q", file, said, name, w, flags)
		}
	}
}
