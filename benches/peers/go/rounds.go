// The rounds of ../src/workload/queues, of one goroutine on one queue. Each but memory and the distributions
// returns a time and the number of keys that it was for.
package main

import (
	"runtime"
	"strings"
	"time"
)

var rounds = map[string]func(kind, request) []uint64{
	"queue-cycle":        cycle,
	"queue-batch":        batches,
	"queue-duplicate":    duplicate,
	"queue-fill-drain":   fillDrain,
	"queue-delay-insert": insertDelays,
	"queue-delays":       lateness,
	"queue-many":         many,
	"queue-check":        check,
	"queue-memory":       memory,
	"queue-pause":        pause,
	"queue-resync":       resync,
	"queue-workers":      workers,
	"queue-backlog":      backlog,
}

// Works on 1, 2, 4 ... at most `most` sets of keys until the time is up.
func moreAndMore(most, set int, slice int64, work func(size int) int64) []uint64 {
	var took, done int64
	for size := 1; took < slice; size = min(size*2, most) {
		took += work(size)
		done += int64(size * set)
	}
	return []uint64{uint64(took), uint64(done)}
}

func cycle(k kind, r request) []uint64 {
	q := k.made()
	defer q.ShutDown()
	return moreAndMore(4096, 1, r.slice, func(size int) int64 {
		keys := keysFrom(0, size)
		start := nanos()
		for _, key := range keys {
			q.Add(key)
			finish(q)
		}
		return nanos() - start
	})
}

// There are no batches: each key is added, then each is taken.
func batches(k kind, r request) []uint64 {
	const set = 32
	q := k.made()
	defer q.ShutDown()
	return moreAndMore(4096/set, set, r.slice, func(size int) int64 {
		keys := keysFrom(0, size*set)
		start := nanos()
		for ; len(keys) > 0; keys = keys[set:] {
			for _, key := range keys[:set] {
				q.Add(key)
			}
			for range set {
				finish(q)
			}
		}
		return nanos() - start
	})
}

func duplicate(k kind, r request) []uint64 {
	q := k.made()
	defer q.ShutDown()
	q.Add(key(7))
	k.settle(q)
	return moreAndMore(4096, 1, r.slice, func(size int) int64 {
		keys := make([]string, size)
		for i := range keys {
			// Equal strings are often found equal by their address alone; an event's key is its own.
			keys[i] = strings.Clone(key(7))
		}
		start := nanos()
		for _, key := range keys {
			q.Add(key)
		}
		k.settle(q)
		return nanos() - start
	})
}

func fillDrain(k kind, r request) []uint64 {
	q, keys := k.made(), keysFrom(0, r.keys)
	defer q.ShutDown()
	start := nanos()
	for _, key := range keys {
		q.Add(key)
	}
	for range keys {
		finish(q)
	}
	return []uint64{uint64(nanos() - start), uint64(r.keys)}
}

func insertDelays(k kind, r request) []uint64 {
	q, keys := k.made(), keysFrom(0, r.keys)
	defer q.ShutDown()
	start := nanos()
	for i, key := range keys {
		q.AddAfter(key, time.Duration((i+1)*37%100_000+1)*time.Millisecond)
	}
	k.settleDelayed(q)
	return []uint64{uint64(nanos() - start), uint64(r.keys)}
}

// Returns how long after its due instant each key is handed out.
func lateness(k kind, r request) []uint64 {
	q, keys := k.made(), keysFrom(0, r.keys)
	defer q.ShutDown()
	// Late enough that all keys are added before the first is due.
	first := nanos() + 1_000*int64(r.keys)
	due := func(n int) int64 { return first + r.within*int64(n)/int64(r.keys) }
	for n, key := range keys {
		q.AddAfter(key, until(due(n)))
	}
	late := make([]uint64, r.keys)
	for i := range late {
		key, _ := q.Get()
		late[i] = uint64(max(nanos()-due(number(key)), 0))
		q.Done(key)
	}
	return late
}

// Returns the bytes that the waiting keys hold beside their text, which was there before.
func memory(k kind, r request) []uint64 {
	keys := keysFrom(0, r.keys)
	before := heap()
	q := k.made()
	defer q.ShutDown()
	for _, key := range keys {
		q.Add(key)
	}
	k.settle(q)
	after := heap()
	runtime.KeepAlive(keys)
	return []uint64{after - before, uint64(r.keys)}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// There is no pause: a worker takes a key, finds that its API asks for a pause, and puts the key back until the
// end of it. Counts the worker's time, and from the end of the pause to that of the last key.
func pause(k kind, r request) []uint64 {
	q, keys := k.made(), keysFrom(0, r.keys)
	defer q.ShutDown()
	for _, key := range keys {
		q.Add(key)
	}
	k.settle(q)
	start := nanos()
	end := start + r.within
	for range keys {
		key, _ := q.Get()
		q.AddAfter(key, until(end))
		q.Done(key)
	}
	k.settleDelayed(q)
	busy := nanos()
	for range keys {
		finish(q)
	}
	took := busy - start + nanos() - max(end, busy)
	return []uint64{uint64(took), uint64(r.keys)}
}

// One live key for that many keys of a resync.
const resynced = 100

// Nine of ten keys wait. All are added again, with a live key now and then, after which the worker takes two keys;
// in the end it takes all. Returns the time, the keys, and how long each live key waited.
func resync(k kind, r request) []uint64 {
	q, lives := k.made(), r.keys/resynced
	defer q.ShutDown()
	for _, key := range keysFrom(0, r.keys/10*9) {
		k.addLow(q, key)
	}
	k.settle(q)
	keys, live := keysFrom(0, r.keys), keysFrom(r.keys, lives)
	added, waits := make([]int64, lives), make([]uint64, 0, lives)
	take := func() {
		key, _ := q.Get()
		if n := number(key); n >= r.keys {
			waits = append(waits, uint64(nanos()-added[n-r.keys]))
		}
		q.Done(key)
	}
	start := nanos()
	for n, key := range keys {
		k.addLow(q, key)
		if (n+1)%resynced == 0 {
			next := n / resynced
			added[next] = nanos()
			q.Add(live[next])
			take()
			take()
		}
	}
	for range r.keys - lives {
		take()
	}
	return append([]uint64{uint64(nanos() - start), uint64(r.keys + lives)}, waits...)
}
