// Package cli is the command line, the output and the end of a run that every Go client program shares.
// scenarios.md beside this folder is the contract.
package cli

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"
)

// Options of all commands; a client ignores what it has no use for.
type Options struct {
	Command, Bootstrap, Topic, Group    string
	Create                              bool
	Partitions, PerPartition            int
	Expect, StopAfter, IdleMs, Deadline int
}

// Parse reads the command line: a command, then its options.
func Parse() Options {
	if len(os.Args) < 2 {
		log.Fatal("usage: client produce|consume --option value ...")
	}
	options := Options{Command: os.Args[1]}
	flags := flag.NewFlagSet(options.Command, flag.ExitOnError)
	flags.StringVar(&options.Bootstrap, "bootstrap", "", "host:port")
	flags.StringVar(&options.Topic, "topic", "", "topic")
	flags.StringVar(&options.Group, "group", "", "group")
	flags.BoolVar(&options.Create, "create", false, "create the topic first")
	flags.IntVar(&options.Partitions, "partitions", 3, "partitions of the topic")
	flags.IntVar(&options.PerPartition, "per-partition", 0, "records to produce to each partition")
	flags.IntVar(&options.Expect, "expect", -1, "records to read")
	flags.IntVar(&options.StopAfter, "stop-after", -1, "records to read, commit and stop at once")
	flags.IntVar(&options.IdleMs, "idle-ms", 1000, "how long nothing more must come")
	flags.IntVar(&options.Deadline, "deadline-ms", 60000, "the longest run")
	_ = flags.Parse(os.Args[2:])
	return options
}

var out = bufio.NewWriterSize(os.Stdout, 1<<16)

// Say prints one line.
func Say(fields map[string]any) {
	line, err := json.Marshal(fields)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(out, "%s\n", line)
	out.Flush()
}

// Value is what a produced record carries.
func Value(partition, sequence int) []byte {
	return []byte(strconv.Itoa(partition) + ":" + strconv.Itoa(sequence))
}

// Produced ends a produce.
func Produced(last map[int32]int64, count int) {
	Say(map[string]any{"event": "produced", "count": count, "last_offsets": last})
}

// Run is what one consumer run has read, what it may commit, and when it is over. Its methods may be called from any goroutine.
type Run struct {
	options     Options
	mutex       sync.Mutex
	count       int
	next        map[int32]int64
	partitions  []int32
	dirty       bool
	reason      string
	commitAsked chan struct{}
	stopped     chan struct{}
	deadline    time.Time
	quietSince  time.Time
}

// NewRun starts the clock, and listens to the harness where the harness ends the run.
func NewRun(options Options) *Run {
	run := &Run{
		options:     options,
		next:        map[int32]int64{},
		deadline:    time.Now().Add(time.Duration(options.Deadline) * time.Millisecond),
		commitAsked: make(chan struct{}, 1),
		stopped:     make(chan struct{}),
	}
	if options.Expect < 0 && options.StopAfter < 0 {
		go func() {
			lines := bufio.NewScanner(os.Stdin)
			for lines.Scan() {
				if lines.Text() == "commit" {
					run.commitAsked <- struct{}{}
				}
			}
			close(run.stopped)
		}()
	}
	return run
}

// Assigned takes the member's whole assignment, each time that it changes.
func (r *Run) Assigned(partitions []int32) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.partitions = append([]int32{}, partitions...)
	r.quietSince = time.Now()
	Say(map[string]any{"event": "assigned", "partitions": r.partitions})
}

// Record takes one record; it is false when the run wants no more.
func (r *Run) Record(partition int32, offset int64, value []byte) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.count == r.options.StopAfter {
		return false
	}
	r.count++
	r.next[partition] = offset + 1
	r.dirty = true
	r.quietSince = time.Now()
	fmt.Fprintf(out, "{\"event\":\"record\",\"partition\":%d,\"offset\":%d,\"value\":%q}\n", partition, offset, value)
	return r.count != r.options.StopAfter
}

// ToCommit is what was read and is still assigned; empty when nothing is new.
func (r *Run) ToCommit() map[int32]int64 {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	offsets := map[int32]int64{}
	for _, partition := range r.partitions {
		if offset, read := r.next[partition]; read && r.dirty {
			offsets[partition] = offset
		}
	}
	return offsets
}

// Committed says that ToCommit is committed.
func (r *Run) Committed() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.dirty = false
}

// CommitAsked is whether the harness has asked for a commit, which the caller then makes and says.
func (r *Run) CommitAsked() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	out.Flush()
	select {
	case <-r.commitAsked:
		return true
	default:
		return false
	}
}

// Over is whether the run has ended.
func (r *Run) Over() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := time.Now()
	idle := now.Sub(r.quietSince) >= time.Duration(r.options.IdleMs)*time.Millisecond
	switch {
	case r.count == r.options.StopAfter:
		r.reason = "stop-after"
	case r.options.Expect >= 0 && r.count >= r.options.Expect && len(r.partitions) > 0 && idle:
		r.reason = "idle"
	case r.reason == "" && now.After(r.deadline):
		r.reason = "deadline"
	}
	select {
	case <-r.stopped:
		r.reason = "stopped"
	default:
	}
	return r.reason != ""
}

// Done is the closing summary, with what the broker says is committed.
func (r *Run) Done(committed map[int32]int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	known := map[int32]int64{}
	for partition, offset := range committed {
		if offset >= 0 {
			known[partition] = offset
		}
	}
	Say(map[string]any{"event": "done", "reason": r.reason, "count": r.count, "committed": known})
}
