// Package certificate tells failed connections whose cause is the other side's certificate from all others, which may pass by themselves.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Refused says that err came from a certificate that was not accepted. No retry mends that.
func Refused(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	return Ended(err)
}

// Ended says that the certificate has ended or is not good yet: then no other authority mends it either.
func Ended(err error) bool {
	e, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && e.Reason == x509.Expired
}
