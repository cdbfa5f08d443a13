package pipeline

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func TestBudgetKeepsRoomForLaterClasses(t *testing.T) {
	b := newBudget(100, 20, 10) // reads reach to 70, slices to 90, unacknowledged to 100
	ctx := t.Context()
	blocked := func(c class, n int64) bool {
		ctx, cancel := context.WithCancel(ctx)
		got := make(chan error, 1)
		go func() { got <- b.acquire(ctx, c, n) }()
		for b.use().waiting[c] == 0 {
			select {
			case err := <-got:
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				return false
			default:
			}
		}
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Fatalf("acquire under a cancelled context = %v", err)
		}
		return true
	}
	for _, step := range []struct {
		class class
		n     int64
		waits bool
	}{
		{classRead, 70, false},
		{classRead, 1, true},
		{classSlice, 20, false},
		{classSlice, 1, true},
		{classUnacked, 10, false},
		{classUnacked, 1, true},
	} {
		if got := blocked(step.class, step.n); got != step.waits {
			t.Errorf("acquire(%s, %d) waits = %v, want %v", step.class, step.n, got, step.waits)
		}
	}
	b.release(classUnacked, 10)
	b.release(classSlice, 20)
	b.release(classRead, 70)
	if use := b.use(); use != (budgetUse{}) {
		t.Errorf("after all was given back: %+v", use)
	}
}

func TestBudgetRefusesWhatCanNeverFit(t *testing.T) {
	b := newBudget(100, 20, 10)
	err := b.acquire(t.Context(), classRead, 71)
	if err == nil || !strings.Contains(err.Error(), "raise memory_budget") {
		t.Errorf("acquire of more than reads may ever take = %v", err)
	}
}

func TestBudgetServesAClassInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(100, 20, 10)
		if err := b.acquire(t.Context(), classRead, 60); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int64
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		want := func(ctx context.Context, n int64) {
			wg.Go(func() {
				if b.acquire(ctx, classRead, n) == nil {
					mu.Lock()
					order = append(order, n)
					mu.Unlock()
				}
			})
			synctest.Wait()
		}
		want(t.Context(), 40)
		want(ctx, 50)
		want(t.Context(), 5) // would fit, but comes after 40
		want(t.Context(), 6)
		if len(order) != 0 {
			t.Fatalf("%v went before the large one", order)
		}
		b.release(classRead, 30)
		synctest.Wait()
		if len(order) != 1 || order[0] != 40 {
			t.Fatalf("order = %v, want 40 first", order)
		}
		// 50 stands in the way of 5 and 6 until it gives up.
		b.release(classRead, 20)
		synctest.Wait()
		if len(order) != 1 {
			t.Fatalf("order = %v: a small one went before 50", order)
		}
		cancel()
		synctest.Wait()
		if len(order) != 3 {
			t.Fatalf("order = %v, want 5 and 6 served once 50 gave up", order)
		}
		wg.Wait()
	})
}

func TestBudgetPanicsOnTooMuchGivenBack(t *testing.T) {
	defer func() {
		if r := recover(); r == nil {
			t.Error("no panic")
		}
	}()
	b := newBudget(100, 20, 10)
	b.release(classRead, 1)
}

// Any number of shards of any size finish, whatever the sizes: nobody waits for ever. Each does what a handler does, with a
// sink that confirms only when everybody waits. A deadlock shows as a bubble in which all goroutines are blocked.
func TestBudgetNeverDeadlocks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		total := rapid.Int64Range(60, 400).Draw(rt, "total")
		sliceReserve := rapid.Int64Range(5, 25).Draw(rt, "slice")
		ackReserve := rapid.Int64Range(1, 25).Draw(rt, "ack")
		shards := rapid.IntRange(1, 12).Draw(rt, "shards")
		sizes := rapid.SliceOfN(rapid.Int64Range(1, 1000), 8, 8).Draw(rt, "sizes")
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(total, sliceReserve, ackReserve)
			unacked := make(chan int64, 1<<16)
			var wg sync.WaitGroup
			for s := range shards {
				wg.Go(func() {
					size := func(i int, most int64) int64 { return 1 + sizes[(s+i)%len(sizes)]%most }
					for chunk := range 3 {
						read := size(chunk, b.largest[classRead])
						if b.acquire(t.Context(), classRead, read) != nil {
							return
						}
						for slice := range 4 {
							n := size(slice, b.largest[classSlice])
							if b.acquire(t.Context(), classSlice, n) != nil {
								return
							}
							for part := range 3 {
								m := size(part+slice, b.largest[classUnacked])
								if b.acquire(t.Context(), classUnacked, m) != nil {
									return
								}
								unacked <- m
							}
							b.release(classSlice, n)
						}
						b.release(classRead, read)
					}
				})
			}
			finished := make(chan struct{})
			go func() { wg.Wait(); close(finished) }()
			for {
				synctest.Wait() // all are blocked, or finished
				if use := b.use(); use.held[classRead]+use.held[classSlice]+use.held[classUnacked] > total {
					t.Errorf("holds %+v of %d", use.held, total)
				}
				confirmed := false
				for {
					select {
					case n := <-unacked:
						b.release(classUnacked, n)
						confirmed = true
						continue
					default:
					}
					break
				}
				if confirmed {
					continue
				}
				select {
				case <-finished:
					return
				default:
					t.Fatalf("all wait though everything is confirmed: %+v of total %d, reserves %d and %d", b.use(), total, sliceReserve, ackReserve)
				}
			}
		})
	})
}
