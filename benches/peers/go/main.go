// Runs the loops of ../src/workload/drive.rs over golang.org/x/time/rate. Each mode prints its records as
// 64-bit words, little endian.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

var (
	mode    = flag.String("mode", "", "spin, saturate, one-rest-all, changes or pace")
	tokens  = flag.Uint64("tokens", 1, "tokens per period")
	period  = flag.Uint64("period", 1e9, "the period in ns")
	burst   = flag.Int("burst", 1, "tokens of a full bucket")
	weight  = flag.Int("weight", 1, "tokens a call; 0 means 1 to 16 in pseudo-random order")
	threads = flag.Int("threads", 1, "callers")
	spent   = flag.Bool("spent", false, "spend the burst first")
	slice   = flag.Int64("slice", 1e6, "the duration of the run, in ns")
	pace    = flag.Int64("pace", 1e4, "ns between two calls of mode pace")
)

// Calls between two clock reads of the driver.
const batch = 512

var origin = time.Now()

// Returns the time of the monotonic clock, which the limiter also reads.
func nanos() int64 { return int64(time.Since(origin)) }

func main() {
	flag.Parse()
	runtime.GOMAXPROCS(max(runtime.NumCPU(), *threads))
	limiter := rate.NewLimiter(rate.Limit(float64(*tokens)*1e9/float64(*period)), *burst)
	made := nanos()
	var taken uint64
	if *spent && limiter.AllowN(time.Now(), *burst) {
		taken = uint64(*burst)
	}
	var words []uint64
	switch *mode {
	case "spin":
		words = together(func(caller int, start int64) []uint64 {
			counts := spin(limiter, uint32(caller), start)
			return append(counts, uint64(nanos()-made))
		})
		words = append([]uint64{taken}, words...)
	case "saturate":
		end := nanos() + *slice
		words = together(func(int, int64) []uint64 { return pollUntil(limiter, end, nil) })
		words = append([]uint64{lastDenial}, words...)
	case "one-rest-all":
		end := nanos() + *slice
		words = together(func(int, int64) []uint64 { return oneRestAll(limiter, end) })
		words = append([]uint64{lastDenial}, words...)
	case "changes":
		end := nanos() + *slice
		changed := make(chan []uint64)
		go func() { changed <- changeUntil(limiter, end) }()
		words = together(func(int, int64) []uint64 { return pollUntil(limiter, end, nil) })
		changes := <-changed
		words = append(append([]uint64{lastDenial, uint64(len(changes) / 2)}, changes...), words...)
	case "pace":
		words = together(func(_ int, start int64) []uint64 { return paced(limiter, start) })
	default:
		fmt.Fprintf(os.Stderr, "no mode %q\n", *mode)
		os.Exit(2)
	}
	out := bufio.NewWriter(os.Stdout)
	if binary.Write(out, binary.LittleEndian, words) != nil || out.Flush() != nil {
		os.Exit(1)
	}
}

// Runs callers, which wait for one another at a barrier before they start.
func together(caller func(n int, start int64) []uint64) []uint64 {
	results := make([][]uint64, *threads)
	var there, done sync.WaitGroup
	there.Add(*threads)
	done.Add(*threads)
	for n := range results {
		go func(n int) {
			defer done.Done()
			runtime.LockOSThread()
			there.Done()
			there.Wait()
			results[n] = caller(n, nanos())
		}(n)
	}
	done.Wait()
	var all []uint64
	for _, result := range results {
		all = append(all, result...)
	}
	return all
}

func spin(limiter *rate.Limiter, seed uint32, start int64) []uint64 {
	var calls, admitted, took uint64
	for took < uint64(*slice) {
		for i := 0; i < batch; i++ {
			n := *weight
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

// The clock before the last denied call of any caller; 0 if no call was denied.
var (
	lastDenial uint64
	denials    sync.Mutex
)

// Makes one call; before is the clock before it. Returns the clock after it, before if the call was
// denied (else 0), and the record.
func call(limiter *rate.Limiter, before int64, record []uint64) (int64, uint64, []uint64) {
	admitted := limiter.AllowN(time.Now(), *weight)
	after := nanos()
	if !admitted {
		return after, uint64(before), record
	}
	return after, 0, append(record, uint64(before), uint64(after), uint64(*weight))
}

func pollUntil(limiter *rate.Limiter, end int64, record []uint64) []uint64 {
	var denial uint64
	for before := nanos(); before < end; {
		var denied uint64
		before, denied, record = call(limiter, before, record)
		if denied > 0 {
			denial = denied
		}
	}
	denials.Lock()
	defer denials.Unlock()
	if denial > lastDenial {
		lastDenial = denial
	}
	return record
}

func oneRestAll(limiter *rate.Limiter, end int64) []uint64 {
	fills := int64(float64(*burst) * float64(*period) / float64(*tokens))
	var record []uint64
	for nanos() < end {
		start := nanos()
		_, _, record = call(limiter, start, record)
		for nanos() < start+fills/10*9 {
		}
		record = pollUntil(limiter, start+fills/10*15, record)
	}
	return record
}

// Raises the quota tenfold and lowers it again until end; returns the stamps before and after each
// change.
func changeUntil(limiter *rate.Limiter, end int64) []uint64 {
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
		limiter.SetBurst(*burst * times)
		stamps = append(stamps, uint64(before), uint64(nanos()))
	}
}

func paced(limiter *rate.Limiter, start int64) []uint64 {
	late := make([]uint64, 0, *slice / *pace + 1)
	for due := int64(0); due < *slice; due += *pace {
		for nanos()-start < due {
		}
		limiter.Allow()
		late = append(late, uint64(nanos()-start-due))
	}
	return late
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}
