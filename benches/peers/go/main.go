// Command peers-go measures Go's rate limiter and its work queues for the bench around it, by the loops of
// ../src/workload.
//
// It answers each line, a workload and its flags, with 64-bit words, little endian: their number, then the words.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// A workload and its parameters. Durations are in nanoseconds.
type request struct {
	workload string

	// Of limiters.
	tokens, period uint64
	burst, weight  int
	threads        int
	spent          bool
	slice, pace    int64

	// Of queues.
	queue  string
	keys   int
	sides  int
	within int64
}

func parse(line string) (request, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return request{}, fmt.Errorf("an empty line")
	}
	r := request{workload: words[0]}
	flags := flag.NewFlagSet(r.workload, flag.ContinueOnError)
	flags.Uint64Var(&r.tokens, "tokens", 1, "tokens per period")
	flags.Uint64Var(&r.period, "period", 1e9, "the period")
	flags.IntVar(&r.burst, "burst", 1, "tokens of a full bucket")
	flags.IntVar(&r.weight, "weight", 1, "tokens a call; 0 means 1 to 16 in pseudo-random order")
	flags.IntVar(&r.threads, "threads", 1, "callers")
	flags.BoolVar(&r.spent, "spent", false, "spend the burst first")
	flags.Int64Var(&r.slice, "slice", 1e6, "the duration of the run")
	flags.Int64Var(&r.pace, "pace", 1e4, "the time between two calls of workload pace")
	flags.StringVar(&r.queue, "queue", "", "the queue")
	flags.IntVar(&r.keys, "keys", 1, "keys in all")
	flags.IntVar(&r.sides, "sides", 1, "producers, which are as many as the consumers; or workers")
	flags.Int64Var(&r.within, "within", 1e6, "the span within which delayed keys become due; the length of a pause")
	return r, flags.Parse(words[1:])
}

func answer(r request) ([]uint64, error) {
	if run, ok := limiters[r.workload]; ok {
		return run(r), nil
	}
	kind, ok := queues[r.queue]
	if !ok {
		return nil, fmt.Errorf("no queue %q", r.queue)
	}
	if run, ok := rounds[r.workload]; ok {
		return run(kind, r), nil
	}
	return nil, fmt.Errorf("no workload %q", r.workload)
}

func serve() error {
	parallelism := runtime.GOMAXPROCS(0)
	lines, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	for lines.Scan() {
		r, err := parse(lines.Text())
		if err != nil {
			return err
		}
		if procs := max(parallelism, r.threads); procs != runtime.GOMAXPROCS(0) {
			runtime.GOMAXPROCS(procs)
		}
		words, err := answer(r)
		if err != nil {
			return err
		}
		// A collection that is still under way would take time from the contender whose turn is next.
		runtime.GC()
		if err := binary.Write(out, binary.LittleEndian, uint64(len(words))); err != nil {
			return err
		}
		if err := binary.Write(out, binary.LittleEndian, words); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "peers-go:", err)
		os.Exit(2)
	}
}

var origin = time.Now()

// Returns the time of the monotonic clock, which the limiter and the queues also read.
func nanos() int64 { return int64(time.Since(origin)) }
