// The rounds of many goroutines on one queue.
package main

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Runs producers and consumers, which wait for one another at a barrier. Returns the first producer's start and
// the last consumer's end. end runs once all keys are added.
func crowd(q queue, producers []func(), consumers int, consume func(), end func()) int64 {
	var there, adding, taking sync.WaitGroup
	there.Add(len(producers) + consumers)
	starts, ends := make([]int64, len(producers)), make([]int64, consumers)
	for i, produce := range producers {
		adding.Go(func() {
			there.Done()
			there.Wait()
			starts[i] = nanos()
			produce()
		})
	}
	for i := range consumers {
		taking.Go(func() {
			there.Done()
			there.Wait()
			consume()
			ends[i] = nanos()
		})
	}
	adding.Wait()
	end()
	taking.Wait()
	start, last := int64(math.MaxInt64), int64(0)
	for _, at := range starts {
		start = min(start, at)
	}
	for _, at := range ends {
		last = max(last, at)
	}
	return last - start
}

// Producers add all keys, consumers take them. ShutDown of controller-runtime's queue drops what waits, so each
// consumer ends at a key of its own, which comes after all others.
func many(k kind, r request) []uint64 {
	q, each := k.made(), r.keys/r.sides
	defer q.ShutDown()
	producers := make([]func(), r.sides)
	for i := range producers {
		keys := keysFrom(i*each, each)
		producers[i] = func() {
			for _, key := range keys {
				q.Add(key)
			}
		}
	}
	consume := func() {
		for {
			if key := finish(q); key[0] == 'e' {
				return
			}
		}
	}
	took := crowd(q, producers, r.sides, consume, func() {
		for i := range r.sides {
			q.Add(fmt.Sprint("end ", i))
		}
	})
	return []uint64{uint64(took), uint64(each * r.sides)}
}

// Adds few keys over and over. No key may be held by two consumers at once, and each must be handed out after its
// last add. Returns the keys lost, and how often one was held twice.
func check(k kind, r request) []uint64 {
	const distinct, adds = 8, 20_000
	var keys [distinct]struct {
		added, seen atomic.Uint64
		held        atomic.Bool
	}
	var twice atomic.Uint64
	q := k.made()
	producers := make([]func(), r.sides)
	for i := range producers {
		producers[i] = func() {
			for n := range adds {
				n = (n + i) % distinct
				keys[n].added.Add(1)
				q.Add(key(n))
			}
		}
	}
	work := func(name string) {
		key := &keys[number(name)]
		if key.held.Swap(true) {
			twice.Add(1)
		}
		// One consumer at a time holds the key, unless that is the fault.
		key.seen.Store(max(key.seen.Load(), key.added.Load()))
		for start := nanos(); nanos()-start < 1_000; {
		}
		key.held.Store(false)
	}
	consume := func() {
		for {
			name, shutdown := q.Get()
			if shutdown {
				return
			}
			work(name)
			q.Done(name)
		}
	}
	lost := func() (lost uint64) {
		for i := range keys {
			if keys[i].seen.Load() < keys[i].added.Load() {
				lost++
			}
		}
		return lost
	}
	crowd(q, producers, r.sides, consume, func() {
		for deadline := nanos() + 2e9; lost() > 0 && nanos() < deadline; {
			time.Sleep(time.Millisecond)
		}
		q.ShutDown()
	})
	return []uint64{lost(), twice.Load()}
}

// Workers block on the queue; a burst of keys comes, one for each, and the next one once all are done. Returns the
// time, the keys, and the time of each add.
func workers(k kind, r request) []uint64 {
	q := k.made()
	defer q.ShutDown()
	var handled atomic.Int64
	done := make(chan struct{}, 1)
	for range r.sides {
		go func() {
			for {
				key, shutdown := q.Get()
				if shutdown {
					return
				}
				q.Done(key)
				if handled.Add(1)%int64(r.sides) == 0 {
					done <- struct{}{}
				}
			}
		}()
	}
	bursts := r.keys / r.sides
	var took int64
	adds := make([]uint64, 0, bursts*r.sides)
	// The first burst finds workers that do not wait yet.
	for burst := range bursts + 1 {
		keys := keysFrom(0, r.sides)
		start := nanos()
		before := start
		for _, key := range keys {
			q.Add(key)
			after := nanos()
			adds = append(adds, uint64(after-before))
			before = after
		}
		<-done
		took += nanos() - start
		if burst == 0 {
			took, adds = 0, adds[:0]
		}
	}
	return append([]uint64{uint64(took), uint64(bursts * r.sides)}, adds...)
}

// The adds of a round of backlog.
const backlogAdds = 20_000

// Adds new keys while many wait and all workers are asleep in their work. Returns the time of each add.
func backlog(k kind, r request) []uint64 {
	q := k.made()
	defer q.ShutDown()
	for _, key := range keysFrom(0, r.keys) {
		q.Add(key)
	}
	var asleep, awake sync.WaitGroup
	released := make(chan struct{})
	asleep.Add(r.sides)
	for range r.sides {
		awake.Go(func() {
			key, _ := q.Get()
			asleep.Done()
			<-released
			q.Done(key)
		})
	}
	asleep.Wait()
	keys, adds := keysFrom(r.keys, backlogAdds), make([]uint64, 0, backlogAdds)
	before := nanos()
	for _, key := range keys {
		q.Add(key)
		after := nanos()
		adds = append(adds, uint64(after-before))
		before = after
	}
	close(released)
	awake.Wait()
	return adds
}
