package awsfake

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
)

// parseForm reads the Action of a request in the query protocol.
func (c *call) parseForm() *apiError {
	c.format, c.contentType = formatQuery, "text/xml"
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return failure("MalformedQueryString", "reading the form: %v", err)
	}
	c.operation = form.Get("Action")
	c.service = service{name: "monitoring"}
	if c.operation == "GetCallerIdentity" {
		c.service = service{name: "sts"}
	}
	return nil
}

// answerQuery answers the two operations of the query protocol that consumers call.
func (s *Server) answerQuery(c *call) (any, error) {
	const metadata = `<ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata>`
	switch c.operation {
	case "GetCallerIdentity":
		return rawDocument(fmt.Sprintf(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:iam::%[1]s:user/awsfake</Arn><UserId>AIDAAWSFAKE</UserId><Account>%[1]s</Account></GetCallerIdentityResult>%[2]s</GetCallerIdentityResponse>`,
			s.cfg.Account, metadata)), nil
	case "PutMetricData":
		return rawDocument(`<PutMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/">` + metadata + `</PutMetricDataResponse>`), nil
	default:
		return nil, failure("InvalidAction", "awsfake does not implement "+c.operation)
	}
}

func replyQueryError(w http.ResponseWriter, c *call, fault *apiError) error {
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
