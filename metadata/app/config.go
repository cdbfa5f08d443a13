package app

import (
	"errors"
	"fmt"
	"regexp"
)

// Config says how applications get their names.
type Config struct {
	// Rules are tried in order, and the first that fits wins; written here they replace the built-in list.
	Rules []Rule `yaml:"rules"`
	// TeamTags are the tags whose value is the team, the first present one wins.
	TeamTags []string `yaml:"team_tags"`
	// Labels are further tags that are kept with the workload.
	Labels []string `yaml:"labels"`
	// Accounts gives accounts a name, by their twelve digits; a rule with the tag aws:account uses it.
	Accounts map[string]string `yaml:"accounts"`
}

// Rule makes a name of a tag.
type Rule struct {
	// Name is what app_source says when the rule wins; empty writes tag: and the tag's key.
	Name string `yaml:"name"`
	// Tags are the keys to look at in order, whatever their case; beside AWS's tags and the labels of pods there are aws:ecs:serviceName, aws:ecs:family, aws:eks:workload, aws:eks:namespace, aws:managed and aws:account.
	Tags []string `yaml:"tags"`
	// Kinds restricts the rule to endpoints of these kinds, such as instance or load_balancer; empty means all.
	Kinds []string `yaml:"kinds"`
	// Match is a regular expression (RE2) that the value must match; a value that does not leaves the choice to the next tag or rule.
	Match string `yaml:"match"`
	// App is the application's name, with $1 or ${name} for what match caught; empty takes the first group, or all that matched.
	App string `yaml:"app"`
	// Cluster is the name of the deployment unit in the same way; empty tells none.
	Cluster string `yaml:"cluster"`
}

// asgard is the grammar of Asgard, Spinnaker and Frigga: app-stack-detail-vNNN, where app has no hyphen and the cluster is the
// name without the version.
const asgard = `^(?P<cluster>(?P<app>[^-]+)(?:-.*?)??)(?:-v\d{3,})?$`

// DefaultConfig asks for an explicit tag first and guesses from other names last.
func DefaultConfig() Config {
	return Config{
		Rules: []Rule{
			{Tags: []string{"app", "application", "app.kubernetes.io/name", "k8s-app", "service"}},
			{Name: "ecs-service", Tags: []string{ECSService}},
			{Name: "ecs-family", Tags: []string{ECSFamily}},
			{Name: "kube-workload", Tags: []string{KubeWorkload}},
			{Name: "autoscaling-group", Tags: []string{"aws:autoscaling:groupName"}, Match: asgard, App: "${app}", Cluster: "${cluster}"},
			{Name: "node-group", Tags: []string{"eks:nodegroup-name", "karpenter.sh/nodepool"}},
			{Name: "stack", Tags: []string{"aws:cloudformation:stack-name"}},
			{Name: "name", Tags: []string{"Name"}},
			{Name: "managed", Tags: []string{Managed}},
		},
		TeamTags: []string{"team", "owner"},
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	for i, r := range c.Rules {
		key := fmt.Sprintf("rules[%d]", i)
		if len(r.Tags) == 0 {
			errs = append(errs, fmt.Errorf("%s.tags: is empty; write the keys of tags, such as [app]", key))
		}
		match, err := regexp.Compile(r.Match)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.match: %q is no regular expression (%w); write one of RE2, such as ^([^-]+)-", key, r.Match, err))
			continue
		}
		if r.Match == "" && (r.App != "" || r.Cluster != "") {
			errs = append(errs, fmt.Errorf("%s.app: has no match to take parts of; write match, or leave app and cluster out", key))
			continue
		}
		for _, t := range []struct{ key, template string }{{"app", r.App}, {"cluster", r.Cluster}} {
			for _, group := range groups(t.template) {
				if !has(match, group) {
					errs = append(errs, fmt.Errorf("%s.%s: %q names the group %q, which match does not have; write one of $0 to $%d or a name",
						key, t.key, t.template, group, match.NumSubexp()))
				}
			}
		}
	}
	for account, name := range c.Accounts {
		if !accountID.MatchString(account) {
			errs = append(errs, fmt.Errorf("accounts: %q is no account; write its twelve digits in quotes", account))
		}
		if name == "" {
			errs = append(errs, fmt.Errorf("accounts: %q has no name; write one, or leave it out", account))
		}
	}
	return errors.Join(errs...)
}

var (
	accountID   = regexp.MustCompile(`^\d{12}$`)
	placeholder = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)
)

// groups returns what a template refers to.
func groups(template string) []string {
	var out []string
	for _, m := range placeholder.FindAllStringSubmatch(template, -1) {
		out = append(out, m[1]+m[2])
	}
	return out
}

func has(re *regexp.Regexp, group string) bool {
	n := 0
	if _, err := fmt.Sscanf(group, "%d", &n); err == nil {
		return n <= re.NumSubexp()
	}
	return re.SubexpIndex(group) >= 0
}
