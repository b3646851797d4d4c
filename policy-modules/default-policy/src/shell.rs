//! How a shell would split a script into commands, in the common cases.

/// The commands of a shell script, each as its words without quotes.
pub(crate) fn split(script: &str) -> Vec<Vec<String>> {
    let mut splitter = Splitter::default();
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (splitter.quote, c) {
            (Quote::Single, '\'') | (Quote::Double, '"') => splitter.quote = Quote::None,
            (Quote::Single, _) => splitter.push(c),
            (_, '\\') => chars
                .next()
                .into_iter()
                .filter(|c| *c != '\n')
                .for_each(|c| splitter.push(c)),
            (_, '`') => splitter.backtick(),
            (_, '$') if chars.next_if_eq(&'(').is_some() => splitter.open(Opening::Substitution),
            (Quote::Double, _) => splitter.push(c),
            (Quote::None, '\'') => splitter.start_quote(Quote::Single),
            (Quote::None, '"') => splitter.start_quote(Quote::Double),
            (Quote::None, '(') => splitter.open(Opening::Subshell),
            (Quote::None, ')') => splitter.close(),
            (Quote::None, ';' | '&' | '|' | '\n') => splitter.end_command(),
            (Quote::None, '<' | '>' | ' ' | '\t' | '\r') => splitter.end_word(),
            (Quote::None, _) => splitter.push(c),
        }
    }
    splitter.finish()
}

#[derive(Clone, Copy, Default)]
enum Quote {
    #[default]
    None,
    Single,
    Double,
}

#[derive(Clone, Copy, PartialEq)]
enum Opening {
    Subshell,
    Substitution,
    Backtick,
}

/// What was being read when a substitution began within it.
struct Outer {
    opening: Opening,
    words: Vec<String>,
    word: Option<String>,
    quote: Quote,
}

#[derive(Default)]
struct Splitter {
    done: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    quote: Quote,
    outer: Vec<Outer>,
}

impl Splitter {
    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn start_quote(&mut self, quote: Quote) {
        self.word.get_or_insert_default();
        self.quote = quote;
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.done.push(std::mem::take(&mut self.words));
        }
    }

    fn open(&mut self, opening: Opening) {
        if opening == Opening::Subshell {
            self.end_command();
        }
        self.outer.push(Outer {
            opening,
            words: std::mem::take(&mut self.words),
            word: self.word.take(),
            quote: std::mem::take(&mut self.quote),
        });
    }

    fn close(&mut self) {
        self.end_command();
        // Without an opening, this is the pattern of a `case`.
        if let Some(outer) = self.outer.pop() {
            (self.words, self.word, self.quote) = (outer.words, outer.word, outer.quote);
        }
    }

    fn backtick(&mut self) {
        match self.outer.last() {
            Some(outer) if outer.opening == Opening::Backtick => self.close(),
            _ => self.open(Opening::Backtick),
        }
    }

    fn finish(mut self) -> Vec<Vec<String>> {
        while !self.outer.is_empty() {
            self.close();
        }
        self.end_command();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(script: &str) -> Vec<String> {
        split(script).iter().map(|words| words.join("|")).collect()
    }

    #[test]
    fn a_script_is_split_as_a_shell_does() {
        assert_eq!(
            commands("a b; c&&d || e\nf | g &"),
            ["a|b", "c", "d", "e", "f", "g"]
        );
        assert_eq!(commands("a 'b; c' \"d; e\" f\\;g"), ["a|b; c|d; e|f;g"]);
        assert_eq!(commands("e\"n\"v ''"), ["env|"]);
        assert_eq!(commands("a\\\nb c"), ["ab|c"]);
        assert_eq!(
            commands("echo \"$(date); x\" y; z"),
            ["date", "echo|; x|y", "z"]
        );
        assert_eq!(commands("a `b c` d"), ["b|c", "a|d"]);
        assert_eq!(commands("a \"`b`\"; c"), ["b", "a|", "c"]);
        assert_eq!(commands("(a; b) && { c; }"), ["a", "b", "{|c", "}"]);
        assert_eq!(commands("f() { a; }"), ["f", "{|a", "}"]);
        assert_eq!(
            commands("case x in y) a;; esac"),
            ["case|x|in|y", "a", "esac"]
        );
        assert_eq!(commands("a >b 2>&1"), ["a|b|2", "1"]);
        assert_eq!(commands("a $(b $(c"), ["c", "b", "a"]);
        assert_eq!(commands("a 'b"), ["a|b"]);
        assert_eq!(commands(""), Vec::<String>::new());
    }
}
