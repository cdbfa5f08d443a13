// Package integration holds tests against servers and a browser that we did not write: kinesis-mock, DynamoDB Local, Prometheus
// and Chromium. They need the build tag integration; test/integration.sh installs and starts what they use and sets the
// environment variables by which they find it. A test whose server is missing fails.
package integration
