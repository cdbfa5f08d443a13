package pipeline

// pool keeps up to a fixed number of things for reuse; more are left to the garbage collector. A sync.Pool would keep as
// many as there ever were at once, and what it keeps is not counted in the budget.
type pool[T any] struct {
	idle chan T
	make func() T
}

func newPool[T any](limit int, newT func() T) *pool[T] {
	return &pool[T]{idle: make(chan T, limit), make: newT}
}

func (p *pool[T]) get() T {
	select {
	case x := <-p.idle:
		return x
	default:
		return p.make()
	}
}

func (p *pool[T]) put(x T) {
	select {
	case p.idle <- x:
	default:
	}
}
