// sarama: see scenarios.md for the contract.
package main

import (
	"context"
	"errors"
	"log"
	"slices"
	"sync"
	"time"

	"chronik/clients/cli"

	"github.com/IBM/sarama"
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

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	return config
}

func create(options cli.Options) {
	admin, err := sarama.NewClusterAdmin([]string{options.Bootstrap}, settings())
	if err != nil {
		log.Fatal(err)
	}
	defer admin.Close()
	detail := &sarama.TopicDetail{NumPartitions: int32(options.Partitions), ReplicationFactor: 1}
	if err := admin.CreateTopic(options.Topic, detail, false); err != nil {
		log.Fatal(err)
	}
	listed, err := admin.ListTopics()
	if _, there := listed[options.Topic]; !there {
		log.Fatal("the topic that was created is not in the list of all topics: ", err)
	}
}

func produce(options cli.Options) {
	config := settings()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Producer.Return.Successes = true
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer([]string{options.Bootstrap}, config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for sequence := range options.PerPartition {
		for partition := range options.Partitions {
			value := sarama.ByteEncoder(cli.Value(partition, sequence))
			messages = append(messages, &sarama.ProducerMessage{Topic: options.Topic, Partition: int32(partition), Value: value})
		}
	}
	if err := producer.SendMessages(messages); err != nil {
		log.Fatal(err)
	}
	last := map[int32]int64{}
	for _, message := range messages {
		last[message.Partition] = max(last[message.Partition], message.Offset)
	}
	cli.Produced(last, len(messages))
}

// handler carries the records of all claims to the one run.
type handler struct {
	options cli.Options
	run     *cli.Run
	mutex   sync.Mutex
	session sarama.ConsumerGroupSession
}

func (h *handler) Setup(session sarama.ConsumerGroupSession) error {
	h.mutex.Lock()
	h.session = session
	h.mutex.Unlock()
	partitions := slices.Clone(session.Claims()[h.options.Topic])
	slices.Sort(partitions)
	h.run.Assigned(partitions)
	return nil
}

func (h *handler) Cleanup(sarama.ConsumerGroupSession) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.session = nil
	return nil
}

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.run.Record(message.Partition, message.Offset, message.Value)
		case <-session.Context().Done():
			return nil
		}
	}
}

// commit waits for the broker's answer; sarama reports a refusal on the group's error channel, which ends the program.
func (h *handler) commit() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	offsets := h.run.ToCommit()
	if len(offsets) > 0 && h.session != nil {
		for partition, offset := range offsets {
			h.session.MarkOffset(h.options.Topic, partition, offset, "")
		}
		h.session.Commit()
	}
	h.run.Committed()
}

func consume(options cli.Options) {
	config := settings()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	config.Consumer.Group.Session.Timeout = 10 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Group.Rebalance.Retry.Backoff = 500 * time.Millisecond
	group, err := sarama.NewConsumerGroup([]string{options.Bootstrap}, options.Group, config)
	if err != nil {
		log.Fatal(err)
	}
	run := cli.NewRun(options)
	handler := &handler{options: options, run: run}
	go func() {
		for err := range group.Errors() {
			log.Printf("passing error: %v", err)
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for ctx.Err() == nil {
			err := group.Consume(ctx, []string{options.Topic}, handler)
			if err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
				log.Printf("passing error: %v", err)
			}
		}
	})
	for !run.Over() {
		time.Sleep(20 * time.Millisecond)
		if run.CommitAsked() {
			handler.commit()
			cli.Say(map[string]any{"event": "committed"})
		}
	}
	handler.commit()
	run.Done(committed(options))
	cancel()
	sessions.Wait()
	if err := group.Close(); err != nil {
		log.Fatal(err)
	}
}

func committed(options cli.Options) map[int32]int64 {
	admin, err := sarama.NewClusterAdmin([]string{options.Bootstrap}, settings())
	if err != nil {
		log.Fatal(err)
	}
	defer admin.Close()
	asked := []int32{}
	for partition := range options.Partitions {
		asked = append(asked, int32(partition))
	}
	answer, err := admin.ListConsumerGroupOffsets(options.Group, map[string][]int32{options.Topic: asked})
	if err != nil {
		log.Fatal(err)
	}
	offsets := map[int32]int64{}
	for _, partition := range asked {
		block := answer.GetBlock(options.Topic, partition)
		if block == nil || block.Err != sarama.ErrNoError {
			log.Fatalf("no answer for partition %d: %v", partition, block)
		}
		offsets[partition] = block.Offset
	}
	return offsets
}
