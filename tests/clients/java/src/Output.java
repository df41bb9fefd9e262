import java.io.PrintStream;
import java.util.Map;
import java.util.StringJoiner;

/** One JSON object a line. The values that are printed need no escaping. */
final class Output {
    private static final PrintStream OUT =
            new PrintStream(new java.io.BufferedOutputStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), 1 << 16));

    private Output() {}

    /** Records are buffered: the caller flushes. */
    static void record(int partition, long offset, String value) {
        OUT.println("{\"event\":\"record\",\"partition\":" + partition + ",\"offset\":" + offset + ",\"value\":\"" + value + "\"}");
    }

    static void say(String line) {
        OUT.println(line);
        OUT.flush();
    }

    static void flush() {
        OUT.flush();
    }

    static String object(Map<Integer, Long> numbers) {
        StringJoiner fields = new StringJoiner(",", "{", "}");
        numbers.forEach((partition, number) -> fields.add("\"" + partition + "\":" + number));
        return fields.toString();
    }
}
