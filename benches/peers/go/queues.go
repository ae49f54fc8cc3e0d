// The work queues of client-go and controller-runtime, each as its users hold it: by the interface, with the
// default settings. Neither has a name, so neither keeps metrics.
package main

import (
	"fmt"
	"strconv"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
)

// The priority that controller-runtime gives to what a resync adds.
const lowPriority = -100

type queue = workqueue.TypedRateLimitingInterface[string]

// What differs between the queues.
type kind struct {
	made func() queue
	// Adds a key of a resync.
	addLow func(queue, string)
	// Completes what adds have deferred; no key is ready.
	settleDelayed func(queue)
	// Completes what adds have deferred; keys are ready.
	settle func(queue)
}

var queues = map[string]kind{
	"client-go": {
		made: func() queue {
			limiter := workqueue.DefaultTypedControllerRateLimiter[string]()
			return workqueue.NewTypedRateLimitingQueue(limiter)
		},
		addLow: queue.Add,
		// Its loop takes delayed adds from a channel, in order.
		settleDelayed: func(q queue) {
			q.AddAfter("last", 1)
			finish(q)
		},
		settle: func(queue) {},
	},
	"controller-runtime": {
		made: func() queue { return priorityqueue.New[string]("") },
		addLow: func(q queue, key string) {
			low := lowPriority
			q.(priorityqueue.PriorityQueue[string]).AddWithOpts(priorityqueue.AddOpts{Priority: &low}, key)
		},
		// Len takes in the buffer of adds.
		settleDelayed: func(q queue) { q.Len() },
		settle:        func(q queue) { q.Len() },
	},
}

// Waits for a key, finishes it, and returns it.
func finish(q queue) string {
	key, _ := q.Get()
	q.Done(key)
	return key
}

// Returns a key of 30 bytes, as `key` of ../src/workload/queues/rounds.rs does.
func key(n int) string { return fmt.Sprintf("namespace-%04d/name-%010d", n%10_000, n) }

func keysFrom(first, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key(first + i)
	}
	return keys
}

// Returns the number of a key.
func number(key string) int {
	n, err := strconv.Atoi(key[20:])
	if err != nil {
		panic(err)
	}
	return n
}

func until(instant int64) time.Duration { return time.Duration(instant - nanos()) }
