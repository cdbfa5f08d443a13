package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dredge/internal/flowgen"
)

// The job as a quick Go program does it: the standard library throughout, a map of slices for the owners, a map for the row.

type naiveOwner struct {
	from, to time.Time
	workload int
}

type naive struct {
	bulk   *flowgen.Bulk
	owners map[netip.Addr][]naiveOwner
	n      int
	hits   int64
}

func (n *naive) named() int64 { return n.hits }

func newNaive(b *flowgen.Bulk) (func() job, error) {
	owners := map[netip.Addr][]naiveOwner{}
	for t := range b.Tenures() {
		o := naiveOwner{from: time.UnixMilli(t.From), workload: t.Workload}
		if t.To != 0 {
			o.to = time.UnixMilli(t.To)
		}
		owners[t.IP] = append(owners[t.IP], o)
	}
	return func() job { return &naive{bulk: b, owners: owners} }, nil
}

type naiveEnvelope struct {
	MessageType string `json:"messageType"`
	Owner       string `json:"owner"`
	LogGroup    string `json:"logGroup"`
	LogStream   string `json:"logStream"`
	LogEvents   []struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	} `json:"logEvents"`
}

type naiveRow struct {
	Time       int64  `json:"time"`
	FlowStart  int64  `json:"flow_start"`
	FlowEnd    int64  `json:"flow_end"`
	SrcIP      string `json:"src_ip"`
	DstIP      string `json:"dst_ip"`
	SrcPort    string `json:"src_port"`
	DstPort    string `json:"dst_port"`
	Protocol   string `json:"protocol"`
	ENI        string `json:"eni"`
	Action     string `json:"action"`
	Packets    int64  `json:"packets"`
	Bytes      int64  `json:"bytes"`
	SrcApp     string `json:"src_app"`
	SrcCluster string `json:"src_cluster,omitempty"`
	SrcAccount string `json:"src_account,omitempty"`
	SrcVPC     string `json:"src_vpc,omitempty"`
	SrcRegion  string `json:"src_region,omitempty"`
	SrcGrade   string `json:"src_grade"`
	DstApp     string `json:"dst_app"`
	DstCluster string `json:"dst_cluster,omitempty"`
	DstAccount string `json:"dst_account,omitempty"`
	DstVPC     string `json:"dst_vpc,omitempty"`
	DstRegion  string `json:"dst_region,omitempty"`
	DstGrade   string `json:"dst_grade"`
	Flows      int    `json:"flows"`
	Client     string `json:"client"`
	Counted    bool   `json:"counted"`
	ObservedAt string `json:"observed_at"`
	Path       string `json:"path"`
	RowID      string `json:"row_id"`
}

func (n *naive) payload(data []byte, emit func(uint64, []byte)) error {
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	var env naiveEnvelope
	if err := json.NewDecoder(zip).Decode(&env); err != nil {
		return err
	}
	for _, e := range env.LogEvents {
		f := strings.Fields(e.Message)
		if len(f) != 14 {
			return errLine
		}
		src, err := netip.ParseAddr(f[3])
		if err != nil {
			return err
		}
		dst, err := netip.ParseAddr(f[4])
		if err != nil {
			return err
		}
		var ints [4]int64
		for i := range ints {
			if ints[i], err = strconv.ParseInt(f[8+i], 10, 64); err != nil {
				return err
			}
		}
		start, end := time.Unix(ints[2], 0), time.Unix(ints[3], 0)
		n.n++
		row := naiveRow{
			Time: start.UnixMilli(), FlowStart: start.UnixMilli(), FlowEnd: end.UnixMilli(), SrcIP: src.String(), DstIP: dst.String(), SrcPort: f[5], DstPort: f[6],
			Protocol: f[7], ENI: f[2], Action: f[12], Packets: ints[0], Bytes: ints[1], SrcApp: "unknown", SrcGrade: "unknown",
			DstApp: "unknown", DstGrade: "unknown", Flows: 1, Client: "unknown", Counted: true, ObservedAt: "src", Path: "same-vpc",
			RowID: "0123456789abcdef." + strconv.Itoa(n.n%500),
		}
		from, to := n.owner(src, start, end), n.owner(dst, start, end)
		if from >= 0 {
			n.hits++
			w := n.bulk.Workload(from)
			row.SrcApp, row.SrcCluster, row.SrcAccount, row.SrcVPC, row.SrcRegion, row.SrcGrade = w.App, w.Cluster, w.Account, w.VPC, w.Region, "covered"
		}
		if to >= 0 {
			n.hits++
			w := n.bulk.Workload(to)
			row.DstApp, row.DstCluster, row.DstAccount, row.DstVPC, row.DstRegion, row.DstGrade = w.App, w.Cluster, w.Account, w.VPC, w.Region, "covered"
		}
		out, err := json.Marshal(row)
		if err != nil {
			return err
		}
		emit(uint64(uint32(from))<<32|uint64(uint32(to)), out)
	}
	return nil
}

func (n *naive) owner(ip netip.Addr, start, end time.Time) int {
	for _, o := range slices.Backward(n.owners[ip]) {
		if !o.from.After(start) && (o.to.IsZero() || end.Before(o.to)) {
			return o.workload
		}
	}
	return -1
}
