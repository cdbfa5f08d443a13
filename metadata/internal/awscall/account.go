package awscall

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// Account is one account with its regions.
type Account struct {
	// ID is the account's twelve digits, in quotes.
	ID string `yaml:"id"`
	// Regions are the regions to list.
	Regions []string `yaml:"regions"`
	// RoleARN is the role to assume for it; empty uses dredge's own credentials.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is what the role's trust policy asks for, if it does.
	ExternalID string `yaml:"external_id"`
}

var (
	accountID = regexp.MustCompile(`^\d{12}$`)
	regionID  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	roleARN   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:role/\S+$`)
)

// ValidateAccounts reports every fault of a list of accounts.
func ValidateAccounts(accounts []Account) []error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	seen := map[string]bool{}
	for i, a := range accounts {
		key := fmt.Sprintf("accounts[%d]", i)
		if !accountID.MatchString(a.ID) {
			fault("%s.id: %q is no account; write its twelve digits in quotes", key, a.ID)
		}
		if len(a.Regions) == 0 {
			fault("%s.regions: is empty; write for example [us-east-1]", key)
		}
		for _, r := range a.Regions {
			switch {
			case !regionID.MatchString(r):
				fault("%s.regions: %q is no region; write for example us-east-1", key, r)
			case seen[a.ID+"/"+r]:
				fault("%s.regions: account %q in %q is listed twice; leave one out", key, a.ID, r)
			}
			seen[a.ID+"/"+r] = true
		}
		if a.RoleARN == "" {
			continue
		}
		if !roleARN.MatchString(a.RoleARN) {
			fault("%s.role_arn: %q is no role; write for example arn:aws:iam::123456789012:role/dredge-read", key, a.RoleARN)
		} else if strings.Split(a.RoleARN, ":")[4] != a.ID {
			fault("%s.role_arn: %q is a role of another account than %q; correct one of them", key, a.RoleARN, a.ID)
		}
	}
	return errs
}

// Prepare returns a copy of base for calls through a Caller: the SDK would write warnings to standard error, and hide throttling
// in retries of its own.
func Prepare(base aws.Config) aws.Config {
	base = base.Copy()
	base.Logger = logging.Nop{}
	base.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	return base
}

// In returns base for one region of the account, with its role's credentials.
func (a Account) In(region string, base aws.Config, stsEndpoint string) aws.Config {
	base = base.Copy()
	base.Region = region
	if a.RoleARN != "" {
		base.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(STS(base, stsEndpoint), a.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "dredge"
			if a.ExternalID != "" {
				o.ExternalID = aws.String(a.ExternalID)
			}
		}))
	}
	return base
}

// STS is a client of the token service with the credentials of base.
func STS(base aws.Config, endpoint string) *sts.Client {
	return sts.NewFromConfig(base, func(o *sts.Options) { o.BaseEndpoint = OrElse(endpoint, o.BaseEndpoint) })
}

// OrElse is url, or otherwise when there is none.
func OrElse(url string, otherwise *string) *string {
	if url == "" {
		return otherwise
	}
	return &url
}
