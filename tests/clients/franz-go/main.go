// franz-go: see scenarios.md for the contract.
package main

import (
	"context"
	"errors"
	"log"
	"slices"
	"sync"
	"time"

	"chronik/clients/cli"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	options := cli.Parse()
	if options.Create {
		create(options)
	}
	if options.Command == "produce" {
		produce(options)
	} else {
		consume(options)
	}
}

func connect(options cli.Options, more ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(more, kgo.SeedBrokers(options.Bootstrap))...)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

func create(options cli.Options) {
	client := connect(options)
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(context.Background(), int32(options.Partitions), 1, nil, options.Topic); err != nil {
		log.Fatal(err)
	}
	if listed, err := admin.ListTopics(context.Background()); err != nil || !listed.Has(options.Topic) {
		log.Fatal("the topic that was created is not in the list of all topics: ", err)
	}
}

func produce(options cli.Options) {
	client := connect(options, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1))
	defer client.Close()
	var records []*kgo.Record
	for sequence := range options.PerPartition {
		for partition := range options.Partitions {
			value := cli.Value(partition, sequence)
			records = append(records, &kgo.Record{Topic: options.Topic, Partition: int32(partition), Value: value})
		}
	}
	last := map[int32]int64{}
	for _, result := range client.ProduceSync(context.Background(), records...) {
		if result.Err != nil {
			log.Fatal(result.Err)
		}
		last[result.Record.Partition] = max(last[result.Record.Partition], result.Record.Offset)
	}
	cli.Produced(last, len(records))
}

// assignment keeps what the member holds: cooperative rebalancing tells only what comes and what goes.
type assignment struct {
	mutex sync.Mutex
	held  map[int32]bool
	run   *cli.Run
}

func (a *assignment) change(partitions []int32, held bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, partition := range partitions {
		if held {
			a.held[partition] = true
		} else {
			delete(a.held, partition)
		}
	}
	all := []int32{}
	for partition := range a.held {
		all = append(all, partition)
	}
	slices.Sort(all)
	a.run.Assigned(all)
}

func consume(options cli.Options) {
	run := cli.NewRun(options)
	holds := &assignment{held: map[int32]bool{}, run: run}
	client := connect(options,
		kgo.ConsumerGroup(options.Group),
		kgo.ConsumeTopics(options.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			holds.change(given[options.Topic], true)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			holds.change(gone[options.Topic], false)
		}),
	)
	for !run.Over() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		fetches := client.PollFetches(ctx)
		cancel()
		fetches.EachError(func(topic string, partition int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) {
				log.Printf("passing error: %s [%d]: %v", topic, partition, err)
			}
		})
		fetches.EachRecord(func(record *kgo.Record) { run.Record(record.Partition, record.Offset, record.Value) })
		if run.CommitAsked() {
			commit(client, run, options)
			cli.Say(map[string]any{"event": "committed"})
		}
	}
	commit(client, run, options)
	run.Done(committed(client, options))
	client.Close()
}

func commit(client *kgo.Client, run *cli.Run, options cli.Options) {
	offsets := map[int32]kgo.EpochOffset{}
	for partition, offset := range run.ToCommit() {
		offsets[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	if len(offsets) > 0 {
		var failed error
		topics := map[string]map[int32]kgo.EpochOffset{options.Topic: offsets}
		done := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			failed = err
			if err == nil {
				failed = firstError(answer)
			}
		}
		client.CommitOffsetsSync(context.Background(), topics, done)
		if failed != nil {
			log.Fatal(failed)
		}
	}
	run.Committed()
}

func firstError(answer *kmsg.OffsetCommitResponse) error {
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

func committed(client *kgo.Client, options cli.Options) map[int32]int64 {
	answer, err := kadm.NewClient(client).FetchOffsetsForTopics(context.Background(), options.Group, options.Topic)
	if err != nil {
		log.Fatal(err)
	}
	offsets := map[int32]int64{}
	answer.Each(func(offset kadm.OffsetResponse) {
		if offset.Err != nil {
			log.Fatal(offset.Err)
		}
		offsets[offset.Partition] = offset.At
	})
	return offsets
}
