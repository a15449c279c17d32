//! The small notation of kinds and transformations in policy files: `elenco(testo(36))`, `membri(nome, ruolo=gruppo)`.

/// Kinds and transformations nest two or three times; a hostile file could exhaust the stack.
const DEEPEST: usize = 8;
/// A structure has some twenty members.
const MOST_ARGUMENTS: usize = 64;

/// A word with arguments, each of which may carry a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub name: String,
    pub arguments: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub label: Option<String>,
    pub value: Expression,
}

impl Expression {
    /// `None` when the text is not one complete expression.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let found = read(&mut rest, 0)?;
        rest.trim().is_empty().then_some(found)
    }

    /// The names of arguments that are plain words without label.
    pub fn words(&self) -> Option<Vec<&str>> {
        self.arguments
            .iter()
            .map(|a| (a.label.is_none() && a.value.arguments.is_empty()).then_some(a.value.name.as_str()))
            .collect()
    }
}

fn read(rest: &mut &str, depth: usize) -> Option<Expression> {
    if depth > DEEPEST {
        return None;
    }
    let name = word(rest)?;
    let mut arguments = Vec::new();
    if eat(rest, '(') {
        loop {
            arguments.push(argument(rest, depth + 1)?);
            if arguments.len() > MOST_ARGUMENTS {
                return None;
            }
            if eat(rest, ')') {
                break;
            }
            if !eat(rest, ',') {
                return None;
            }
        }
    }
    Some(Expression { name, arguments })
}

fn argument(rest: &mut &str, depth: usize) -> Option<Argument> {
    let value = read(rest, depth)?;
    if value.arguments.is_empty() && eat(rest, '=') {
        return Some(Argument { label: Some(value.name), value: read(rest, depth)? });
    }
    Some(Argument { label: None, value })
}

fn word(rest: &mut &str) -> Option<String> {
    let text = rest.trim_start();
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+')))
        .unwrap_or(text.len());
    let (word, after) = text.split_at_checked(end)?;
    if word.is_empty() {
        return None;
    }
    *rest = after;
    Some(word.to_owned())
}

fn eat(rest: &mut &str, wanted: char) -> bool {
    match rest.trim_start().strip_prefix(wanted) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_expression_nests_and_labels_its_arguments() {
        let found = Expression::parse("ogni(membri(nome, ruolo = gruppo(ruoli)))").unwrap();
        assert_eq!(found.name, "ogni");
        let members = &found.arguments[0].value;
        assert_eq!(members.arguments[1].label.as_deref(), Some("ruolo"));
        for wrong in ["", "a(", "a)", "a(b", "a,b", "a(b c)", "((((((((((((a"] {
            assert_eq!(Expression::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,80}") {
            let _ = Expression::parse(&text);
        }
    }
}
