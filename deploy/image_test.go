package deploy

import (
	"regexp"
	"strings"
	"testing"
)

// The image holds the binary that a release holds, runs as nobody, and starts dredge.
func TestImageRecipe(t *testing.T) {
	recipe := string(read(t, root+"/Dockerfile"))
	stages := regexp.MustCompile(`(?m)^FROM `).Split(recipe, -1)
	if len(stages) != 3 {
		t.Fatalf("%d stages, want one that builds and one that is shipped", len(stages)-1)
	}
	building, shipped := stages[1], stages[2]
	line := func(stage, instruction string) string {
		t.Helper()
		found := regexp.MustCompile(`(?m)^`+instruction+` (.*)$`).FindAllStringSubmatch(stage, -1)
		if len(found) == 0 {
			t.Fatalf("no %s in\n%s", instruction, stage)
		}
		return found[len(found)-1][1]
	}
	// The version comes from git's data: a context without them would give a binary that does not know what it is.
	for pattern := range strings.FieldsSeq(string(read(t, root+"/.dockerignore"))) {
		if strings.Trim(pattern, "/") == ".git" {
			t.Error(".dockerignore keeps .git away, so that the binary has no version")
		}
	}
	release := string(read(t, "release/main.go"))
	for _, flag := range []string{"-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid="} {
		if run := strings.NewReplacer(`'`, "").Replace(line(building, "RUN")); !strings.Contains(run, flag) || !strings.Contains(release, `"`+flag+`"`) {
			t.Errorf("%s is not in both the recipe and the release: RUN %s", flag, run)
		}
	}
	if run := line(building, "RUN"); !strings.Contains(run, "CGO_ENABLED=0") || !strings.Contains(run, "GOARCH=$TARGETARCH") {
		t.Errorf("RUN %s: the binary needs to be static and of the image's architecture", run)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(read(t, root+"/go.mod")))[1]
	if !strings.Contains(building, "golang:"+want+" AS build") {
		t.Errorf("the recipe builds with another Go than go.mod's %s: %s", want, strings.SplitN(building, "\n", 2)[0])
	}
	if base, _, _ := strings.Cut(shipped, "\n"); !strings.HasPrefix(base, "gcr.io/distroless/static") || !strings.HasSuffix(base, ":nonroot") {
		t.Errorf("base %q", base)
	}
	uid := kubernetes(t).deployment.Spec.Template.Spec.SecurityContext.RunAsUser
	if user := line(shipped, "USER"); user != "65532:65532" || uid != 65532 {
		t.Errorf("the image runs as %s, the pod as %d; want a number other than 0, the same in both", user, uid)
	}
	binary := strings.Fields(line(shipped, `COPY --from=build /dredge`))[0]
	if entry := line(shipped, "ENTRYPOINT"); entry != `["`+binary+`"]` {
		t.Errorf("ENTRYPOINT %s does not start %s", entry, binary)
	}
	if binary != "/usr/local/bin/dredge" { // in the base image's PATH: a pod's preStop and people call it by its name
		t.Errorf("the binary is %s", binary)
	}
	if strings.Contains(shipped, "\nRUN ") {
		t.Error("the shipped stage runs something, and has no shell")
	}
}
