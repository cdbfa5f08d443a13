package s3

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Lister is what is needed of *s3.Client to find files.
type Lister interface {
	ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, opts ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// Selection says which files of the past are meant.
type Selection struct {
	// Prefixes are URLs, s3://bucket/prefix.
	Prefixes []string
	// From and To bound when flows ended. A file of AWS's own name holds those that ended within five minutes; of another file the
	// time is when it was written.
	From, To time.Time
	// Accounts and Regions restrict keys as AWS writes them; empty takes all.
	Accounts, Regions []string
}

const (
	// fileSpan is how long the flows of one file end in.
	fileSpan = 5 * time.Minute
	// writtenLate is how much later than its flows a file is written at most, for one whose name tells no time.
	writtenLate = time.Hour
	maxFolders  = 32 // levels below a prefix
)

// Validate returns all that is wrong with s.
func (s Selection) Validate() error {
	var errs []error
	if len(s.Prefixes) == 0 {
		errs = append(errs, errors.New("--prefix: is missing; write for example s3://my-flow-logs/AWSLogs/"))
	}
	for _, p := range s.Prefixes {
		if _, _, err := splitURL(p); err != nil {
			errs = append(errs, err)
		}
	}
	if !s.From.Before(s.To) {
		errs = append(errs, fmt.Errorf("--from %s is not before --to %s", s.From.Format(time.RFC3339), s.To.Format(time.RFC3339)))
	}
	for _, a := range s.Accounts {
		if len(a) != 12 || strings.Trim(a, "0123456789") != "" {
			errs = append(errs, fmt.Errorf("--accounts: %q is no account id; write its twelve digits", a))
		}
	}
	return errors.Join(errs...)
}

func splitURL(url string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(url, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return "", "", fmt.Errorf("--prefix: %q is no place in S3; write for example s3://my-flow-logs/AWSLogs/", url)
	}
	return bucket, prefix, nil
}

// list finds the selected files and calls found for each, in order of their keys. It lists folder by folder and leaves out those
// of other accounts, regions and days. It returns how many requests that took.
func (s Selection) list(ctx context.Context, api Lister, c GatherConfig, found func(Object) error) (requests int, err error) {
	for _, url := range s.Prefixes {
		bucket, prefix, err := splitURL(url)
		if err != nil {
			return requests, err
		}
		n, err := s.folder(ctx, api, c, bucket, prefix, 0, found)
		requests += n
		if err != nil {
			return requests, err
		}
	}
	return requests, nil
}

func (s Selection) folder(ctx context.Context, api Lister, c GatherConfig, bucket, prefix string, depth int, found func(Object) error) (requests int, err error) {
	if depth > maxFolders {
		return 0, fmt.Errorf("list s3://%s/%s: more than %d folders deep", bucket, prefix, maxFolders)
	}
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, Delimiter: aws.String("/")}
	for {
		out, err := api.ListObjectsV2(ctx, in)
		if err != nil {
			return requests, fmt.Errorf("list s3://%s/%s: %w; it needs s3:ListBucket", bucket, prefix, err)
		}
		requests++
		for _, o := range out.Contents {
			f := Object{Bucket: bucket, Key: aws.ToString(o.Key), ETag: strings.Trim(aws.ToString(o.ETag), `"`), Size: aws.ToInt64(o.Size), Time: aws.ToTime(o.LastModified)}
			if c.foreign(f) != "" || !s.has(f) {
				continue
			}
			if err := found(f); err != nil {
				return requests, err
			}
		}
		for _, p := range out.CommonPrefixes {
			if below := aws.ToString(p.Prefix); s.enters(below) {
				n, err := s.folder(ctx, api, c, bucket, below, depth+1, found)
				requests += n
				if err != nil {
					return requests, err
				}
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return requests, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

// keyPlace is what a key says of its file, as far as it does.
type keyPlace struct {
	account, service, region string
	date                     [4]int // year, month, day, hour; -1 is not told
}

// placeOf reads the folders behind AWSLogs/, in both of AWS's styles.
func placeOf(key string) keyPlace {
	p := keyPlace{date: [4]int{-1, -1, -1, -1}}
	_, below, ok := strings.Cut("/"+key, "/AWSLogs/")
	if !ok {
		return p
	}
	parts := strings.Split(below, "/")
	value := func(i int, name string) string {
		if i >= len(parts)-1 { // the last one is the file, or not yet a folder
			return ""
		}
		return strings.TrimPrefix(parts[i], name+"=")
	}
	p.account, p.service, p.region = value(0, "aws-account-id"), value(1, "aws-service"), value(2, "aws-region")
	for i, name := range []string{"year", "month", "day", "hour"} {
		n, err := strconv.Atoi(value(3+i, name))
		if err != nil {
			break
		}
		p.date[i] = n
	}
	return p
}

// enters says whether a folder may hold selected files.
func (s Selection) enters(folder string) bool {
	p := placeOf(folder)
	if p.account != "" && len(s.Accounts) > 0 && !slices.Contains(s.Accounts, p.account) ||
		p.service != "" && p.service != "vpcflowlogs" || p.region != "" && len(s.Regions) > 0 && !slices.Contains(s.Regions, p.region) {
		return false
	}
	begin, end, ok := p.span()
	// A file lies in the folder of its time; a little is allowed for.
	return !ok || begin.Before(s.To.Add(fileSpan)) && end.After(s.From.Add(-fileSpan))
}

// span is the time of a folder, as far as its date is told; ok is false when not even the year is.
func (p keyPlace) span() (begin, end time.Time, ok bool) {
	y, m, d, h := p.date[0], p.date[1], p.date[2], p.date[3]
	at := func(y, m, d, h int) time.Time { return time.Date(y, time.Month(m), d, h, 0, 0, 0, time.UTC) }
	switch {
	case y < 0:
		return begin, end, false
	case m < 0:
		return at(y, 1, 1, 0), at(y+1, 1, 1, 0), true
	case d < 0:
		return at(y, m, 1, 0), at(y, m+1, 1, 0), true
	case h < 0:
		return at(y, m, d, 0), at(y, m, d+1, 0), true
	}
	return at(y, m, d, h), at(y, m, d, h+1), true
}

// stamp is the time in the name of a file of AWS: account_vpcflowlogs_region_flowlogid_YYYYMMDDTHHmmZ_hash.log.gz.
var stamp = regexp.MustCompile(`_(\d{8}T\d{4}Z)_[^/]*$`)

// has says whether a file is selected.
func (s Selection) has(o Object) bool {
	p := placeOf(o.Key)
	if len(s.Accounts) > 0 && !slices.Contains(s.Accounts, p.account) || len(s.Regions) > 0 && !slices.Contains(s.Regions, p.region) {
		return false
	}
	if m := stamp.FindStringSubmatch(o.Key); m != nil {
		if t, err := time.Parse("20060102T1504Z", m[1]); err == nil {
			return t.Before(s.To) && t.Add(fileSpan).After(s.From)
		}
	}
	return o.Time.After(s.From) && o.Time.Before(s.To.Add(writtenLate))
}
