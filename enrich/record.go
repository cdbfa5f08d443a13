package enrich

import (
	"bytes"
	"strings"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// byTask names the local end by the record's own ECS fields, which outrank the join: AWS knows which task has the interface.
// When the join has found that very task, its names stand, so that a task is called the same from both ends. False leaves the
// end to the join.
func (j *join) byTask(f *flow, e *end, side *row.Side) bool {
	r := f.r
	app := r.Text(flowlog.FieldECSServiceName)
	if app == nil {
		app = taskFamily(r.Text(flowlog.FieldECSTaskDefinitionARN))
	}
	if app == nil {
		return false
	}
	task := r.Text(flowlog.FieldECSTaskID)
	if task == nil {
		task = afterLast(r.Text(flowlog.FieldECSTaskARN), '/')
	}
	x := facts{
		app: j.scratch.text.String(app), appSource: "ecs", kind: "task",
		region: r.Region, az: r.AZID, vpc: r.VPCID, subnet: r.SubnetID,
	}
	if cluster := r.Text(flowlog.FieldECSClusterName); cluster != nil {
		x.cluster = j.scratch.text.String(cluster)
	} else if cluster := afterLast(r.Text(flowlog.FieldECSClusterARN), '/'); cluster != nil {
		x.cluster = j.scratch.text.String(cluster)
	}
	if r.AccountID != "unknown" {
		x.account = r.AccountID
	}
	if j.e.naming.Has(e.ans.Grade) {
		ep, w := j.view.Endpoint(e.ans.Endpoint), j.view.Workload(e.ans.Workload)
		if w.App != "" {
			if task != nil && endsWith(ep.Owner, task) {
				return false
			}
			if w.App != x.app {
				j.counts.taskMismatches++
			}
		}
		x.account, x.region, x.vpc = either(x.account, w.Account), either(x.region, w.Region), either(x.vpc, w.VPC)
		x.az, x.subnet = either(x.az, ep.AZ), either(x.subnet, ep.Subnet)
	}
	e.ans = metadata.Answer{Grade: metadata.Confirmed, Reason: metadata.RecordIdentity}
	side.Grade, side.Reason = metadata.Confirmed.String(), metadata.RecordIdentity.String()
	e.who, side.Named = j.local(x), true
	if j.e.endpoints {
		side.ENI, side.Instance = f.by.id, r.InstanceID
		if task != nil {
			side.Name = j.scratch.text.String(task)
		}
	}
	return true
}

// taskFamily returns "web" of arn:aws:ecs:us-east-1:123456789012:task-definition/web:7.
func taskFamily(arn []byte) []byte {
	family := afterLast(arn, '/')
	if i := bytes.LastIndexByte(family, ':'); i >= 0 {
		family = family[:i]
	}
	return family
}

// afterLast returns what follows the last sep, nil when there is none or nothing follows.
func afterLast(text []byte, sep byte) []byte {
	i := bytes.LastIndexByte(text, sep)
	if i < 0 || i == len(text)-1 {
		return nil
	}
	return text[i+1:]
}

func endsWith(s string, end []byte) bool {
	return len(s) >= len(end) && s[len(s)-len(end):] == string(end)
}

// checkTags counts named local ends whose record carries tags of which none is the workload's name: either the tag keys of the
// flow log are other ones than those that applications are named by, or identity is wrong. AWS computes tags with up to an
// hour's delay, so they never outrank it.
func (j *join) checkTags(r *flowlog.Record, w *metadata.Workload) {
	some := false
	for _, field := range tagFields {
		text := r.Text(field)
		if text == nil {
			continue
		}
		some = true
		if string(text) == w.App || string(text) == w.Cluster || string(text) == w.Team {
			return
		}
		if bytes.IndexByte(text, '%') >= 0 {
			if v := j.decoded(text); v == w.App || v == w.Cluster || v == w.Team {
				return
			}
		}
	}
	if some {
		j.counts.tagMismatches++
	}
}

var tagFields = [...]flowlog.Field{ //nolint:gochecknoglobals // read-only table
	flowlog.FieldInstanceTag, flowlog.FieldInstanceTag2, flowlog.FieldInterfaceTag, flowlog.FieldInterfaceTag2,
	flowlog.FieldASGTag, flowlog.FieldASGTag2,
}

// recordTags returns the record's tag values, nil when it has none. Equal ones share their memory.
func (j *join) recordTags(r *flowlog.Record) *row.Tags {
	tags := row.Tags{
		Instance: j.decoded(r.Text(flowlog.FieldInstanceTag)), Instance2: j.decoded(r.Text(flowlog.FieldInstanceTag2)),
		Interface: j.decoded(r.Text(flowlog.FieldInterfaceTag)), Interface2: j.decoded(r.Text(flowlog.FieldInterfaceTag2)),
		ASG: j.decoded(r.Text(flowlog.FieldASGTag)), ASG2: j.decoded(r.Text(flowlog.FieldASGTag2)),
	}
	if tags == (row.Tags{}) {
		return nil
	}
	if t := j.scratch.tags[tags]; t != nil {
		return t
	}
	if len(j.scratch.tags) >= maxTags {
		clear(j.scratch.tags) // rows keep what they point to
	}
	t := &tags
	j.scratch.tags[tags] = t
	return t
}

// decoded returns the tag value that text stands for: AWS percent-encodes special characters. What is no valid encoding stays
// as it is.
func (j *join) decoded(text []byte) string {
	if bytes.IndexByte(text, '%') < 0 {
		return j.scratch.text.String(text)
	}
	var b [512]byte
	out := b[:0]
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			high, low := strings.IndexByte(hexDigits, text[i+1]|0x20), strings.IndexByte(hexDigits, text[i+2]|0x20)
			if high >= 0 && low >= 0 {
				out = append(out, byte(high<<4|low))
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	return j.scratch.text.String(out)
}

const hexDigits = "0123456789abcdef"
