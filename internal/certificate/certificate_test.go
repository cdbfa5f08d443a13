package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"dredge/internal/certificate"
)

func TestRefused(t *testing.T) {
	f := func(err error, refused, ended bool) {
		t.Helper()
		err = fmt.Errorf("dial: %w", err)
		if certificate.Refused(err) != refused || certificate.Ended(err) != ended {
			t.Errorf("%v: refused %v, ended %v", err, certificate.Refused(err), certificate.Ended(err))
		}
	}
	f(errors.New("connection refused"), false, false)
	f(x509.UnknownAuthorityError{}, true, false)
	f(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "kafka"}, true, false)
	f(&tls.CertificateVerificationError{Err: errors.New("odd")}, true, false)
	f(&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, true, true)
	f(x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, false, false)
}
