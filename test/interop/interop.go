// Package interop runs Amazon's unmodified Java KCL beside our own parts, so that neither our AWS fake nor our consumer is
// its own only witness. `make interop` builds the Java worker and runs it; the tests carry the build tag interop, because
// `make test` needs nothing but Go.
package interop
