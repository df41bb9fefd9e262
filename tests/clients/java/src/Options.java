import java.util.HashMap;
import java.util.Map;

/** The command line: a command, then options of the form {@code --name value} or {@code --flag}. */
final class Options {
    final String command;
    private final Map<String, String> values = new HashMap<>();

    Options(String[] words) {
        command = words[0];
        for (int i = 1; i < words.length; i++) {
            String name = words[i].substring(2);
            boolean flag = i + 1 == words.length || words[i + 1].startsWith("--");
            values.put(name, flag ? "" : words[++i]);
        }
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    int number(String name, int otherwise) {
        return has(name) ? Integer.parseInt(text(name)) : otherwise;
    }
}
