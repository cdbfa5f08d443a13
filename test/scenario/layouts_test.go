package scenario

import (
	"testing"
	"time"

	"dredge/flowlog"
	"dredge/internal/awsfake"
	"dredge/row"
)

// netflixFormat and netflixLine are the custom version 3 format and the example that Netflix printed in "Hyper Scale VPC Flow
// Logs enrichment to provide Network Insight" (Netflix Technology Blog, 2020).
const (
	netflixFormat = "${version} ${vpc-id} ${subnet-id} ${instance-id} ${interface-id} ${account-id} ${type} ${srcaddr} ${dstaddr} ${srcport} ${dstport} " +
		"${pkt-srcaddr} ${pkt-dstaddr} ${protocol} ${bytes} ${packets} ${start} ${end} ${action} ${tcp-flags} ${log-status}"
	netflixLine = "3 vpc-12345678 subnet-012345678 i-07890123456 eni-23456789 123456789010 IPv4 52.213.180.42 10.0.0.62 43416 5001 " +
		"52.213.180.42 10.0.0.62 6 568 8 1566848875 1566848933 ACCEPT 2 OK"
	defaultLine = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK" // AWS's user guide
)

// I3: one stream carries version 2 and the version 3 line that Netflix printed, their layouts chosen by log group: both become rows,
// and ports, bytes, packets, start and end are the input's.
func TestI3LayoutsByLogGroup(t *testing.T) {
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		r.pipeline.Formats.Rules = []flowlog.Rule{{LogGroup: "/vpc/v3/*", Format: netflixFormat}}
		r.start("dredge-a")
		for range 2 { // both kinds by turns
			r.put("key", r.message("/vpc/v3/prod", netflixLine))
			r.put("key", r.message("/vpc/default", defaultLine))
		}
		r.await("four rows", time.Minute, func() bool { return len(r.mem.All()) == 4 })

		type numbers struct {
			src, dst                   string
			srcPort, dstPort           uint16
			bytes, packets, start, end int64
		}
		v3 := numbers{"52.213.180.42", "10.0.0.62", 43416, 5001, 568, 8, 1566848875000, 1566848933000}
		v2 := numbers{"172.31.16.139", "172.31.16.21", 20641, 22, 4249, 20, 1418530010000, 1418530070000}
		for i, want := range []numbers{v3, v2, v3, v2} {
			x := r.mem.All()[i].Row
			got := numbers{x.Src.Addr.String(), x.Dst.Addr.String(), x.Src.Port, x.Dst.Port, x.Bytes, x.Packets, x.Start, x.End}
			if got != want || x.Protocol != 6 || x.Action != row.Accept {
				t.Errorf("row %d is %+v, protocol %d, %v; want %+v", i, got, x.Protocol, x.Action, want)
			}
		}
	})
}
