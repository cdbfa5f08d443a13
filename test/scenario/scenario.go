// Package scenario tries the whole system in one process: the flow logs of a simulated estate go through a Kinesis stream and
// come out as rows, while shards split, sinks fail and workers die. `make test` runs it.
//
// The parts are wired as cmd/dredge wires them, with the AWS SDK's own clients over an AWS in memory, so that all time can be
// virtual: ten minutes of load pass in seconds, and every run is the same.
package scenario
