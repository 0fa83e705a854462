//! Walks over JSON in place: checks every byte of it, copies nothing, and knows only what is common.
//!
//! Whoever walks asks `serde_json` where this says `None`: about what is wrong, and about what is right but rare (text
//! with escapes in keys, nesting beyond [`DEPTH_MAX`]). So there is one truth about errors, and a fast path of some
//! hundred lines. Source of the grammar: RFC 8259.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "places in a text are bounded by its length, and depth by DEPTH_MAX"
)]

/// Arrays and objects within one another.
const DEPTH_MAX: u32 = 64;

/// A place in a text.
pub struct Walk<'a> {
    text: &'a str,
    at: usize,
}

/// A JSON string as it stands, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    pub inner: &'a str,
    /// Whether it has escapes, so that `inner` is not yet what it means.
    pub escaped: bool,
}

impl<'a> Walk<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Visits every member of the object that begins here: its key, and this walk, standing before the value. The
    /// visitor must walk over exactly that value. `None` if it is not an object of the common kind.
    pub fn object(&mut self, mut visit: impl FnMut(&'a str, &mut Self) -> Option<()>) -> Option<()> {
        self.space();
        self.byte(b'{')?;
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.string()?;
            if key.escaped {
                return None;
            }
            self.space();
            self.byte(b':')?;
            self.space();
            visit(key.inner, self)?;
            self.space();
            match self.next()? {
                b',' => self.space(),
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Walks over any value; its text as it stands.
    pub fn value(&mut self) -> Option<&'a str> {
        self.over(|walk| walk.skip(0))
    }

    /// The text that `step` walks over.
    pub fn over(&mut self, step: impl FnOnce(&mut Self) -> Option<()>) -> Option<&'a str> {
        let from = self.at;
        step(self)?;
        self.text.get(from..self.at)
    }

    /// Walks over a string.
    pub fn string(&mut self) -> Option<Quoted<'a>> {
        self.byte(b'"')?;
        let from = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            self.at += plain_length(rest);
            match self.next()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                // A control character, which must be escaped.
                _ => return None,
            }
        }
        Some(Quoted { inner: self.text.get(from..self.at - 1)?, escaped })
    }

    /// Walks over a string without escapes; what it means.
    pub fn plain_string(&mut self) -> Option<&'a str> {
        let text = self.string()?;
        (!text.escaped).then_some(text.inner)
    }

    /// Walks over exactly this text.
    pub fn literal(&mut self, text: &str) -> Option<()> {
        let end = self.at + text.len();
        let is_it = self.text.as_bytes().get(self.at..end)? == text.as_bytes();
        self.at = end;
        is_it.then_some(())
    }

    /// How much of the text lies behind.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether nothing but space is left.
    pub fn ends(&mut self) -> bool {
        self.space();
        self.at == self.text.len()
    }

    /// The first byte of what comes next.
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' if depth < DEPTH_MAX => self.skip_all(b'}', depth, true),
            b'[' if depth < DEPTH_MAX => self.skip_all(b']', depth, false),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    fn skip_all(&mut self, close: u8, depth: u32, keyed: bool) -> Option<()> {
        self.at += 1;
        self.space();
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            if keyed {
                self.string()?;
                self.space();
                self.byte(b':')?;
                self.space();
            }
            self.skip(depth + 1)?;
            self.space();
            match self.next()? {
                b',' => self.space(),
                next if next == close => return Some(()),
                _ => return None,
            }
        }
    }

    /// Four hexadecimal digits or one known letter. Whether surrogates pair is left to who unescapes.
    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            // Rare enough to leave to serde_json, which knows about surrogates.
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Some(())
    }

    fn some_digits(&mut self) -> Option<()> {
        let from = self.at;
        self.digits();
        (self.at > from).then_some(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += word.len();
        rest.starts_with(word.as_bytes()).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
}

/// How many bytes come before the first quote, backslash or control character: eight at a time.
fn plain_length(bytes: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut length = 0;
    while let Some(word) = bytes.get(length..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        // A byte's high bit is set where it is zero; borrows only ever come from a byte that is itself found.
        let quote = word ^ (LOW * b'"' as u64);
        let backslash = word ^ (LOW * b'\\' as u64);
        let zero = (quote.wrapping_sub(LOW) & !quote) | (backslash.wrapping_sub(LOW) & !backslash);
        let found = (zero | (word.wrapping_sub(LOW * 0x20) & !word)) & HIGH;
        if found != 0 {
            return length + (found.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let rest = bytes.get(length..).unwrap_or_default();
    length + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn walked(text: &str) -> Option<&str> {
        let mut walk = Walk::new(text);
        walk.space();
        let value = walk.value()?;
        walk.ends().then_some(value)
    }

    #[test]
    fn an_object_is_visited_member_by_member() {
        let mut walk = Walk::new(r#" {"a": [1, {"b": "}"}], "c":"x\"y" ,"d":-1.5e3}"#);
        let mut members = Vec::new();
        walk.object(|key, walk| {
            members.push((key, walk.value()?));
            Some(())
        })
        .expect("is an object");
        assert_eq!(members, [("a", r#"[1, {"b": "}"}]"#), ("c", r#""x\"y""#), ("d", "-1.5e3")]);
        assert!(walk.ends());
    }

    #[test]
    fn what_is_not_json_is_not_walked_over() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            "-",
            "+1",
            "1e",
            "tru",
            "\"a",
            "\"\n\"",
            "{a:1}",
            "[1 2]",
            "\"\\x\"",
        ] {
            assert_eq!(walked(text), None, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "true|false|null",
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            "\"[^\"\\\\\\x00-\\x1f]{0,12}\""
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
                prop::collection::vec(("[a-z]{1,3}", inner), 0..4).prop_map(|members| {
                    let members: Vec<String> =
                        members.iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        /// Whatever is walked over is what serde_json takes for a value too; and all that is common is walked over.
        #[test]
        fn walking_agrees_with_serde_json(text in json()) {
            let raw: &RawValue = serde_json::from_str(&text).expect("is JSON");
            prop_assert_eq!(walked(&text), Some(raw.get()));
        }

        /// However JSON is damaged: what is still walked over is still JSON.
        #[test]
        fn damaged_json_is_never_taken_for_whole(text in json(), at in any::<prop::sample::Index>(), with in "[\\x00-\\x7f]{0,2}") {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let place = places[at.index(places.len())];
            let damaged = format!("{}{with}{}", &text[..place], text[place..].chars().skip(1).collect::<String>());
            if let Some(value) = walked(&damaged) {
                let raw = serde_json::from_str::<&RawValue>(&damaged);
                prop_assert_eq!(raw.map(RawValue::get).ok(), Some(value), "{}", damaged);
            }
        }
    }
}
