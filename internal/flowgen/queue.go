package flowgen

// queue is a binary heap of values by time; equal times come out in the order in which they were put in, which keeps the
// whole simulation deterministic.
type queue[T any] struct {
	items []queued[T]
	seq   uint64
}

type queued[T any] struct {
	at  int64
	seq uint64
	v   T
}

func (q *queue[T]) less(i, j int) bool {
	a, b := &q.items[i], &q.items[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (q *queue[T]) push(at int64, v T) {
	q.seq++
	q.items = append(q.items, queued[T]{at: at, seq: q.seq, v: v})
	for i := len(q.items) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.less(i, up) {
			break
		}
		q.items[i], q.items[up] = q.items[up], q.items[i]
		i = up
	}
}

func (q *queue[T]) pop() (int64, T) {
	top := q.items[0]
	last := len(q.items) - 1
	q.items[0] = q.items[last]
	q.items[last] = queued[T]{}
	q.items = q.items[:last]
	for i := 0; ; {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < last && q.less(c, least) {
				least = c
			}
		}
		if least == i {
			return top.at, top.v
		}
		q.items[i], q.items[least] = q.items[least], q.items[i]
		i = least
	}
}

// next returns the earliest time, and false when q is empty.
func (q *queue[T]) next() (int64, bool) {
	if len(q.items) == 0 {
		return 0, false
	}
	return q.items[0].at, true
}
