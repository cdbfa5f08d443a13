package lease_test

import (
	"testing"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/lease/leasetest"
)

func TestMemory(t *testing.T) {
	leasetest.Run(t, func(*testing.T) lease.Store { return lease.NewMemory() })
}
