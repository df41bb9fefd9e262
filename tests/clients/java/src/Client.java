import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Java's kafka-clients, versions 1.1.1 to 4.4.0: see scenarios.md for the contract. */
public final class Client {
    private Client() {}

    public static void main(String[] words) throws Exception {
        Options options = new Options(words);
        if (options.has("create")) {
            create(options);
        }
        if (options.command.equals("produce")) {
            produce(options);
        } else {
            consume(options);
        }
    }

    private static Properties settings(Options options) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", options.text("bootstrap"));
        return settings;
    }

    private static void create(Options options) throws Exception {
        try (AdminClient admin = AdminClient.create(settings(options))) {
            NewTopic topic = new NewTopic(options.text("topic"), options.number("partitions", 3), (short) 1);
            admin.createTopics(Collections.singleton(topic)).all().get();
            if (!admin.listTopics().names().get().contains(options.text("topic"))) {
                throw new IllegalStateException("the topic that was created is not in the list of all topics");
            }
        }
    }

    private static void produce(Options options) throws Exception {
        Properties settings = settings(options);
        settings.put("acks", "all");
        settings.put("linger.ms", "5");
        settings.put("key.serializer", StringSerializer.class.getName());
        settings.put("value.serializer", StringSerializer.class.getName());
        String topic = options.text("topic");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings)) {
            for (int sequence = 0; sequence < options.number("per-partition", 0); sequence++) {
                for (int partition = 0; partition < options.number("partitions", 3); partition++) {
                    sent.add(producer.send(new ProducerRecord<>(topic, partition, null, partition + ":" + sequence)));
                }
            }
            producer.flush();
        }
        Map<Integer, Long> last = new TreeMap<>();
        for (Future<RecordMetadata> future : sent) {
            RecordMetadata acknowledged = future.get();
            last.merge(acknowledged.partition(), acknowledged.offset(), Math::max);
        }
        Output.say("{\"event\":\"produced\",\"count\":" + sent.size() + ",\"last_offsets\":" + Output.object(last) + "}");
    }

    private static void consume(Options options) {
        Properties settings = settings(options);
        settings.put("group.id", options.text("group"));
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("session.timeout.ms", "10000");
        settings.put("heartbeat.interval.ms", "500");
        settings.put("key.deserializer", StringDeserializer.class.getName());
        settings.put("value.deserializer", StringDeserializer.class.getName());
        Run run = new Run(options);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings)) {
            consumer.subscribe(Collections.singleton(options.text("topic")), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> revoked) {}

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
                    run.assigned(consumer.assignment());
                }
            });
            while (!run.over()) {
                for (ConsumerRecord<String, String> record : Calls.poll(consumer, 100)) {
                    run.record(record.partition(), record.offset(), record.value());
                }
                if (run.commitAsked()) {
                    commit(consumer, run);
                }
            }
            commit(consumer, run);
            run.done(committed(consumer, options));
        }
    }

    private static void commit(KafkaConsumer<String, String> consumer, Run run) {
        Map<TopicPartition, OffsetAndMetadata> offsets = run.toCommit();
        if (!offsets.isEmpty()) {
            consumer.commitSync(offsets);
        }
        run.committed();
    }

    private static Map<Integer, Long> committed(KafkaConsumer<String, String> consumer, Options options) {
        Map<Integer, Long> committed = new TreeMap<>();
        for (int partition = 0; partition < options.number("partitions", 3); partition++) {
            OffsetAndMetadata offset = Calls.committed(consumer, new TopicPartition(options.text("topic"), partition));
            if (offset != null) {
                committed.put(partition, offset.offset());
            }
        }
        return committed;
    }
}
