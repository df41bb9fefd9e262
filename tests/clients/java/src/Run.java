import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** What one consumer run has read, what it may commit, and when it is over. */
final class Run {
    private final String topic;
    private final int expect;
    private final int stopAfter;
    private final long idleNanos;
    private final long deadline;
    private final Map<Integer, Long> nextOffsets = new HashMap<>();
    private TreeSet<Integer> partitions = new TreeSet<>();
    private int count;
    private boolean dirty;
    private boolean commitAsked;
    private long quietSince;
    private String reason;

    Run(Options options) {
        topic = options.text("topic");
        expect = options.number("expect", -1);
        stopAfter = options.number("stop-after", -1);
        idleNanos = options.number("idle-ms", 1000) * 1_000_000L;
        deadline = System.nanoTime() + options.number("deadline-ms", 60_000) * 1_000_000L;
        if (expect < 0 && stopAfter < 0) {
            Stdin.start();
        }
    }

    void assigned(Collection<TopicPartition> assignment) {
        partitions = new TreeSet<>();
        assignment.forEach(partition -> partitions.add(partition.partition()));
        quietSince = System.nanoTime();
        Output.say("{\"event\":\"assigned\",\"partitions\":" + partitions + "}");
    }

    void record(int partition, long offset, String value) {
        if (count == stopAfter) {
            return;
        }
        count++;
        nextOffsets.put(partition, offset + 1);
        dirty = true;
        quietSince = System.nanoTime();
        Output.record(partition, offset, value);
    }

    /** What was read and is still assigned; empty when nothing is new. */
    Map<TopicPartition, OffsetAndMetadata> toCommit() {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        if (dirty) {
            nextOffsets.forEach((partition, offset) -> {
                if (partitions.contains(partition)) {
                    offsets.put(new TopicPartition(topic, partition), new OffsetAndMetadata(offset));
                }
            });
        }
        return offsets;
    }

    void committed() {
        dirty = false;
        if (commitAsked) {
            commitAsked = false;
            Output.say("{\"event\":\"committed\"}");
        }
    }

    /** Whether the harness asks for a commit: the byte {@code c} of a line "commit". The end of the input stops the run. */
    boolean commitAsked() {
        Output.flush();
        Integer next = null;
        while (reason == null && (next = Stdin.next()) != null) {
            commitAsked |= next == 'c';
            if (next < 0) {
                reason = "stopped";
            }
        }
        return commitAsked;
    }

    boolean over() {
        long now = System.nanoTime();
        if (count == stopAfter) {
            reason = "stop-after";
        } else if (expect >= 0 && count >= expect && !partitions.isEmpty() && now - quietSince >= idleNanos) {
            reason = "idle";
        }
        if (reason == null && now > deadline) {
            reason = "deadline";
        }
        return reason != null;
    }

    void done(Map<Integer, Long> committed) {
        Output.say("{\"event\":\"done\",\"reason\":\"" + reason + "\",\"count\":" + count + ",\"committed\":" + Output.object(committed) + "}");
    }
}
