//! Kafka's names in Rust's spelling.

/// `TopicIds` → `topic_ids`, `KRaftVersion` → `kraft_version`, `ISRNodes` → `isr_nodes`.
pub fn snake(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| letters[b]);
        let after_lower = letters.get(i + 1).is_some_and(|n| n.is_lowercase());
        let starts_word = match before {
            Some('_') | None => false,
            Some(b) => letter.is_uppercase() && (!b.is_uppercase() || after_lower),
        };
        if starts_word {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// `topicIds` → `TopicIds`, `UNKNOWN_TOPIC_ID` → `UnknownTopicId`.
pub fn camel(name: &str) -> String {
    if name.contains('_') || name.chars().all(char::is_uppercase) {
        return name.split('_').map(|word| camel(&word.to_lowercase())).collect();
    }
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A field's name as an identifier.
pub fn field(name: &str) -> String {
    let name = snake(name);
    match name.as_str() {
        "type" | "match" | "where" | "use" | "ref" | "in" | "loop" | "move" | "mod" | "fn" => format!("r#{name}"),
        _ => name,
    }
}

/// A field's name as a local variable that collides with none of ours.
pub fn local(name: &str) -> String {
    match field(name) {
        name if ["r", "w", "version", "flexible", "tag", "tags"].contains(&name.as_str()) => format!("{name}_"),
        name => name,
    }
}

/// Whether the code uses the identifier.
pub fn mentions(code: &str, identifier: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == identifier)
}
