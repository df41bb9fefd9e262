import java.time.Duration;
import java.util.Collections;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** The calls of a consumer that versions before 2.4 lack, and after which version 4 has no others. */
final class Calls {
    private Calls() {}

    static <K, V> ConsumerRecords<K, V> poll(Consumer<K, V> consumer, long millis) {
        return consumer.poll(Duration.ofMillis(millis));
    }

    static OffsetAndMetadata committed(Consumer<?, ?> consumer, TopicPartition partition) {
        return consumer.committed(Collections.singleton(partition)).get(partition);
    }
}
