package enrich

import (
	"dredge/flowlog"
	"dredge/metadata"
)

// block makes the rows of up to warmBlock records. It does each step for all of them before the next: what a step finds is
// where the next one reads, somewhere in tables that are larger than the processor's caches, and the waits of many records for
// memory overlap where those of one record follow each other.
func (j *join) block(records []flowlog.Record) {
	j.warm(&j.scratch.ahead, records, allAddresses)
	flows, first := j.scratch.flows[:0], len(j.out.Rows)
	for i := range records {
		r := &records[i]
		if !Flow(r) {
			continue
		}
		if j.warmer != nil && r.InterfaceID != "" {
			j.handleOf, j.handle = r.InterfaceID, j.scratch.ahead[i].Interface
		}
		flows = flows[:len(flows)+1]
		f := &flows[len(flows)-1]
		*f = flow{r: r, w: metadata.Window{Start: r.Start, End: r.End}}
		j.locateAndFind(f, j.out.Add())
	}
	j.warmParties(flows)
	for i := range flows {
		j.conclude(&flows[i], first+i)
	}
}

// warmParties reads ahead what name will need of the parties of flows. It returns something that depends on all that it read, so that no
// compiler may leave the reading out.
func (j *join) warmParties(flows []flow) (touched uint32) {
	if j.placer == nil {
		return 0
	}
	for i := range flows {
		f := &flows[i]
		for _, e := range [...]*end{&f.src, &f.dst} {
			if e.ans.Endpoint != 0 && j.e.naming.Has(e.ans.Grade) {
				e.pair = j.scratch.parties.of(e.ans.Workload, j.placer.PlaceOf(e.ans.Endpoint), e.scope)
			}
		}
	}
	for i := range flows {
		f := &flows[i]
		for _, e := range [...]*end{&f.src, &f.dst} {
			if e.pair != nil && e.pair[0].who != nil {
				touched += e.pair[0].who.region
			}
		}
	}
	return touched
}
