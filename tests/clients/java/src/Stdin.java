import java.io.IOException;
import java.util.concurrent.LinkedBlockingQueue;

/** Standard input without blocking: a daemon thread reads, and the end of the input is a value of its own. */
final class Stdin {
    private static final LinkedBlockingQueue<Integer> BYTES = new LinkedBlockingQueue<>();

    private Stdin() {}

    static void start() {
        Thread reader = new Thread(Stdin::read, "stdin");
        reader.setDaemon(true);
        reader.start();
    }

    /** The next byte, −1 at the end of the input, or null when nothing is there yet. */
    static Integer next() {
        return BYTES.poll();
    }

    private static void read() {
        int next;
        do {
            try {
                next = System.in.read();
            } catch (IOException error) {
                next = -1;
            }
            BYTES.add(next);
        } while (next >= 0);
    }
}
