// The loops of ../src/workload/drive.rs and changes.rs over golang.org/x/time/rate.
package main

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Calls between two clock reads of the driver.
const batch = 512

var limiters = map[string]func(request) []uint64{
	"spin":         spinAll,
	"saturate":     saturate,
	"one-rest-all": oneRestAll,
	"changes":      changes,
	"pace":         pace,
}

func (r request) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(r.tokens)*1e9/float64(r.period)), r.burst)
}

// Runs callers, which wait for one another at a barrier before they start.
func (r request) together(caller func(n int, start int64) []uint64) []uint64 {
	results := make([][]uint64, r.threads)
	var there, done sync.WaitGroup
	there.Add(r.threads)
	for n := range results {
		done.Go(func() {
			runtime.LockOSThread()
			there.Done()
			there.Wait()
			results[n] = caller(n, nanos())
		})
	}
	done.Wait()
	var all []uint64
	for _, result := range results {
		all = append(all, result...)
	}
	return all
}

func spinAll(r request) []uint64 {
	limiter := r.limiter()
	made := nanos()
	var taken uint64
	if r.spent && limiter.AllowN(time.Now(), r.burst) {
		taken = uint64(r.burst)
	}
	words := r.together(func(caller int, start int64) []uint64 {
		counts := spin(limiter, r, uint32(caller), start)
		return append(counts, uint64(nanos()-made))
	})
	return append([]uint64{taken}, words...)
}

func spin(limiter *rate.Limiter, r request, seed uint32, start int64) []uint64 {
	var calls, admitted, took uint64
	for took < uint64(r.slice) {
		for range batch {
			n := r.weight
			if n == 0 {
				seed = seed*5 + 3
				n = int(seed%16) + 1
			}
			if n == 1 && limiter.Allow() || n > 1 && limiter.AllowN(time.Now(), n) {
				admitted += uint64(n)
			}
		}
		calls += batch
		took = uint64(nanos() - start)
	}
	return []uint64{calls, admitted, took}
}

// A limiter whose calls are on record.
type recorded struct {
	*rate.Limiter
	weight int
	// The clock before the last denied call of any caller; 0 if no call was denied.
	lastDenial uint64
	lock       sync.Mutex
}

// Makes one call; before is the clock before it. Returns the clock after it, before if the call was
// denied (else 0), and the record.
func (l *recorded) call(before int64, record []uint64) (int64, uint64, []uint64) {
	admitted := l.AllowN(time.Now(), l.weight)
	after := nanos()
	if !admitted {
		return after, uint64(before), record
	}
	return after, 0, append(record, uint64(before), uint64(after), uint64(l.weight))
}

func (l *recorded) pollUntil(end int64, record []uint64) []uint64 {
	var denial uint64
	for before := nanos(); before < end; {
		var denied uint64
		before, denied, record = l.call(before, record)
		denial = max(denial, denied)
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	l.lastDenial = max(l.lastDenial, denial)
	return record
}

func saturate(r request) []uint64 {
	limiter := &recorded{Limiter: r.limiter(), weight: r.weight}
	end := nanos() + r.slice
	words := r.together(func(int, int64) []uint64 { return limiter.pollUntil(end, nil) })
	return append([]uint64{limiter.lastDenial}, words...)
}

func oneRestAll(r request) []uint64 {
	limiter := &recorded{Limiter: r.limiter(), weight: r.weight}
	fills := int64(float64(r.burst) * float64(r.period) / float64(r.tokens))
	end := nanos() + r.slice
	words := r.together(func(int, int64) (record []uint64) {
		for nanos() < end {
			start := nanos()
			_, _, record = limiter.call(start, record)
			for nanos() < start+fills/10*9 {
			}
			record = limiter.pollUntil(start+fills/10*15, record)
		}
		return record
	})
	return append([]uint64{limiter.lastDenial}, words...)
}

func changes(r request) []uint64 {
	limiter := &recorded{Limiter: r.limiter(), weight: r.weight}
	end := nanos() + r.slice
	changed := make(chan []uint64)
	go func() { changed <- changeUntil(limiter.Limiter, r.burst, end) }()
	words := r.together(func(int, int64) []uint64 { return limiter.pollUntil(end, nil) })
	stamps := <-changed
	return append(append([]uint64{limiter.lastDenial, uint64(len(stamps) / 2)}, stamps...), words...)
}

// Raises the quota tenfold and lowers it again until end; returns the stamps before and after each
// change.
func changeUntil(limiter *rate.Limiter, burst int, end int64) []uint64 {
	runtime.LockOSThread()
	small, times := limiter.Limit(), 1
	var stamps []uint64
	for n := 0; ; n++ {
		time.Sleep(time.Millisecond << (n % 3))
		before := nanos()
		if before >= end {
			return stamps
		}
		times = 11 - times
		limiter.SetLimit(small * rate.Limit(times))
		limiter.SetBurst(burst * times)
		stamps = append(stamps, uint64(before), uint64(nanos()))
	}
}

func pace(r request) []uint64 {
	limiter := r.limiter()
	return r.together(func(_ int, start int64) []uint64 {
		late := make([]uint64, 0, r.slice/r.pace+1)
		for due := int64(0); due < r.slice; due += r.pace {
			for nanos()-start < due {
			}
			limiter.Allow()
			late = append(late, uint64(nanos()-start-due))
		}
		return late
	})
}
