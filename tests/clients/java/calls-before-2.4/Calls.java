import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** The calls of a consumer that version 4 no longer has. */
final class Calls {
    private Calls() {}

    static <K, V> ConsumerRecords<K, V> poll(Consumer<K, V> consumer, long millis) {
        return consumer.poll(millis);
    }

    static OffsetAndMetadata committed(Consumer<?, ?> consumer, TopicPartition partition) {
        return consumer.committed(partition);
    }
}
