package encode_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"dredge/row"
)

// mixBatch makes n rows in the proportions of a busy estate: 45 % between two named ends, 35 % with one end on the internet
// or at an AWS service, 10 % with one end unknown, 10 % rejects from the internet. Names have the lengths that AWS ids and
// Asgard-style cluster names have. Every call makes the same rows.
func mixBatch(n int) *row.Batch {
	rng := rand.New(rand.NewPCG(1, 2))
	apps := []string{"playback", "api-gateway", "checkout", "search-index", "recs", "ledger", "session-store", "edge-auth"}
	kinds := []string{"instance", "pod", "task", "load_balancer"}
	regions := []string{"us-east-1", "eu-west-1", "us-west-2"}
	var named []*row.Identity
	for i := range 200 {
		app := apps[i%len(apps)]
		named = append(named, &row.Identity{
			App: app, Cluster: fmt.Sprintf("%s-main-v%03d", app, i), AppSource: "tag:app", Team: "core",
			Account: fmt.Sprintf("%012d", 100000000000+i%7), Region: regions[i%3], AZ: fmt.Sprintf("use1-az%d", 1+i%4),
			VPC: fmt.Sprintf("vpc-%017x", 0xabcdef12345+i%9), Subnet: fmt.Sprintf("subnet-%017x", 0xabcdef12345+i%30), Kind: kinds[i%4],
		})
	}
	internet := &row.Identity{App: row.AppInternet, Kind: row.KindInternet}
	s3 := &row.Identity{App: "aws:S3", Kind: row.KindService, Region: "us-east-1"}
	local := &row.Identity{App: row.AppUnknown, Kind: row.KindUnknown, VPC: "vpc-0abcdef1234567890", Region: "us-east-1"}

	b := &row.Batch{Partition: "shardId-000000000003"}
	t0 := time.UnixMilli(1767225600000)
	for i := range 16 {
		b.Origins = append(b.Origins, row.Origin{
			Position: fmt.Sprintf("4959033827149025660855969253836157109592157598913658%04d", i), Arrived: t0.Add(time.Minute),
			LogGroup: "/aws/vpc/flowlogs/production",
		})
	}
	side := func(id *row.Identity, grade string) row.Side {
		s := row.Side{
			Addr: netip.AddrFrom4([4]byte{10, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}), Identity: id, App: id.App,
			Grade: grade, Named: grade == "confirmed" || grade == "covered", Port: uint16(1024 + rng.IntN(64000)),
		}
		if !s.Named {
			s.Reason = "no-tenure"
		} else {
			s.Instance, s.ENI, s.Name = "i-0abcdef1234567890", "eni-0abcdef1234567890", "pod-7f6d8c9b4-x2x7p"
		}
		return s
	}
	pick := func() row.Side {
		grade := "covered"
		if rng.IntN(2) == 0 {
			grade = "confirmed"
		}
		return side(named[rng.IntN(len(named))], grade)
	}
	public := func() row.Side {
		id := internet
		if rng.IntN(3) == 0 {
			id = s3
		}
		s := side(id, "public")
		s.Addr = netip.AddrFrom4([4]byte{byte(11 + rng.IntN(150)), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())})
		return s
	}
	for i := range n {
		r := b.Add()
		r.Origin, r.Index = uint32(i%16), uint32(i)
		r.Start = t0.UnixMilli() + int64(rng.IntN(600000))
		r.End = r.Start + int64(rng.IntN(60000))
		r.Bytes, r.Packets = int64(rng.IntN(2_000_000)), int64(rng.IntN(3000))
		r.Protocol, r.Action = 6, row.Accept
		r.HasTCPFlags, r.TCPFlags = true, 19
		r.InterfaceID, r.AccountID = "eni-0abcdef1234567890", "123456789012"
		r.Direction, r.DirectionBy, r.ObservedAt = row.Egress, row.DirectionByRecord, row.EndSrc
		r.Counted, r.CountedHow = true, row.CountedSource
		r.Client, r.ClientBy = row.EndSrc, row.ClientByPort
		r.Src, r.Dst = pick(), pick()
		r.Path = row.PathCrossAZ
		switch p := i % 100; {
		case p < 45:
		case p < 80:
			r.Dst, r.Path = public(), row.PathInternet
		case p < 90:
			r.Dst, r.Path = side(local, "unknown"), row.PathUnknown
		default:
			r.Src, r.Path, r.Action = public(), row.PathInternet, row.Reject
			r.Direction, r.ObservedAt, r.CountedHow = row.Ingress, row.EndDst, row.CountedReject
		}
		if r.Dst.Port > 40000 {
			r.Dst.Port = 443
		}
	}
	return b
}
