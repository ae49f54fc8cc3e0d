// Command kube-bench-go runs the operator on controller-runtime for the bench around it.
//
// It answers the parent's lines as the contenders in Rust do (src/bench.rs).
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

var (
	workMicros atomic.Int64
	lock       sync.Mutex
	objects    []bool
	edits      []int64
	distinct   int
	reconciles int
	newest     int64
)

// begin records that a reconcile begins.
func begin(name, edit string) {
	object, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return
	}
	number, err := strconv.Atoi(edit)
	if err != nil {
		return
	}
	lock.Lock()
	defer lock.Unlock()
	reconciles++
	for len(objects) <= object {
		objects = append(objects, false)
	}
	if !objects[object] {
		objects[object] = true
		distinct++
		newest = time.Now().UnixNano()
	}
	for len(edits) <= number {
		edits = append(edits, 0)
	}
	if number > 0 && edits[number] == 0 {
		edits[number] = time.Now().UnixNano()
	}
}

// work is the work of a reconcile.
func work() {
	if micros := workMicros.Load(); micros > 0 {
		time.Sleep(time.Duration(micros) * time.Microsecond)
	}
}

func answer(words []string, config *rest.Config) string {
	lock.Lock()
	defer lock.Unlock()
	switch words[0] {
	case "start":
		micros, _ := strconv.ParseInt(words[1], 10, 64)
		workMicros.Store(micros)
		at := time.Now().UnixNano()
		go func() {
			err := run(config)
			fmt.Fprintln(os.Stderr, "controller-runtime ended:", err)
			os.Exit(1)
		}()
		return fmt.Sprint(at)
	case "count":
		return fmt.Sprint(distinct, " ", reconciles, " ", newest)
	case "work":
		micros, _ := strconv.ParseInt(words[1], 10, 64)
		workMicros.Store(micros)
		return "ok"
	case "reset":
		objects, distinct, reconciles = nil, 0, 0
		return "ok"
	case "edits":
		from, _ := strconv.Atoi(words[1])
		to, _ := strconv.Atoi(words[2])
		var times []string
		for edit := from; edit < to; edit++ {
			var at int64
			if edit < len(edits) {
				at = edits[edit]
			}
			times = append(times, strconv.FormatInt(at, 10))
		}
		return strings.Join(times, " ")
	}
	fmt.Fprintln(os.Stderr, "unknown command:", words)
	os.Exit(2)
	return ""
}

func main() {
	// As for the contenders in Rust, logs are not written.
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	config := &rest.Config{Host: os.Args[1], UserAgent: "bench-go"}
	// The embedded server speaks JSON only.
	config.ContentType = "application/json"
	// Any number of requests, as controller-runtime's GetConfig sets it.
	config.QPS = -1
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(answer(strings.Fields(lines.Text()), config))
	}
}
