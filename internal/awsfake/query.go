package awsfake

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// parseForm reads the Action of a request in the query protocol and finds the service by the API version that it names.
func (c *call) parseForm() *apiError {
	c.format, c.contentType = formatQuery, "text/xml"
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return failure("MalformedQueryString", "reading the form: %v", err)
	}
	c.form, c.operation = form, form.Get("Action")
	c.service = service{name: "monitoring"}
	switch form.Get("Version") {
	case ec2Version:
		c.service = service{name: "ec2"}
	case "2011-06-15":
		c.service = service{name: "sts"}
	}
	return nil
}

// answerQuery answers the operations of the query protocol that consumers and sources call.
func (s *Server) answerQuery(c *call) (any, error) {
	if c.service.name == "ec2" {
		return s.answerEC2(c)
	}
	const metadata = `<ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata>`
	switch c.operation {
	case "GetCallerIdentity":
		return rawDocument(fmt.Sprintf(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:iam::%[1]s:user/awsfake</Arn><UserId>AIDAAWSFAKE</UserId><Account>%[1]s</Account></GetCallerIdentityResult>%[2]s</GetCallerIdentityResponse>`,
			c.account, metadata)), nil
	case "AssumeRole":
		arn := c.form.Get("RoleArn")
		parts := strings.Split(arn, ":")
		if len(parts) != 6 || parts[2] != "iam" || !strings.HasPrefix(parts[5], "role/") {
			return nil, failure("ValidationError", "%s is invalid", arn)
		}
		return rawDocument(fmt.Sprintf(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>`+
			`<AssumedRoleUser><AssumedRoleId>AROAAWSFAKE:session</AssumedRoleId><Arn>arn:aws:sts::%[1]s:assumed-role/%[2]s/session</Arn></AssumedRoleUser>`+
			`<Credentials><AccessKeyId>%[3]s%[1]s</AccessKeyId><SecretAccessKey>awsfake</SecretAccessKey><SessionToken>awsfake</SessionToken>`+
			`<Expiration>%[4]s</Expiration></Credentials></AssumeRoleResult>%[5]s</AssumeRoleResponse>`,
			parts[4], strings.TrimPrefix(parts[5], "role/"), assumedKey, c.now.Add(time.Hour).UTC().Format(time.RFC3339), metadata)), nil
	case "PutMetricData":
		return rawDocument(`<PutMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/">` + metadata + `</PutMetricDataResponse>`), nil
	default:
		return nil, failure("InvalidAction", "awsfake does not implement "+c.operation)
	}
}

// assumedKey begins the access keys that AssumeRole hands out; the account follows.
const assumedKey = "ASIAAWSFAKE"

// signer returns the account and region that r was signed for; empty ones when it was not signed. The signature is not checked.
func signer(r *http.Request) (account, region string) {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ := strings.Cut(after, ",")
	parts := strings.Split(scope, "/")
	if len(parts) < 3 {
		return "", ""
	}
	account, ok := strings.CutPrefix(parts[0], assumedKey)
	if !ok {
		account = ""
	}
	return account, parts[2]
}

func replyQueryError(w http.ResponseWriter, c *call, fault *apiError) error {
	if c.service.name == "ec2" {
		return replyEC2Error(w, c, fault)
	}
	doc, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
	}{Type: "Sender", Code: fault.Code, Message: fault.Message})
	if err != nil {
		return errAbort
	}
	return reply(w, c, fault.Status, doc)
}
