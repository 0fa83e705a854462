//! Value expressions: how a meter computes a number from the fields of an event.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = sign { ("*" | "/") sign }
//! sign    = "-" sign | primary
//! primary = decimal | field | function "(" sum { "," sum } ")" | "(" sum ")"
//! ```
//! A field is a path into `data`. The functions are `min` and `max` of two or more numbers and `clamp(x, low, high)`,
//! which is `max(low, min(x, high))`. There is nothing else: no loops, no texts, no state, so every expression ends.

use std::fmt;
use std::ops::Range;

use rust_decimal::Decimal;

use crate::domain::book::meter::Path;
use crate::domain::book::mistake::either;
use crate::domain::book::mistake::nearest;

/// An expression may not be longer, in bytes, ...
const BYTES_MAX: usize = 500;
/// ... nor nested deeper in parentheses, functions and signs.
const DEPTH_MAX: usize = 16;
const NUMBER_DIGITS_MAX: usize = 24;

/// A checked expression. It names at least one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub(in crate::domain) root: Node,
    paths: Vec<Path>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::domain) enum Node {
    Number(Decimal),
    /// A field, by its place among the paths.
    Field(usize),
    Negated(Box<Node>),
    Of(Operator, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::domain) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::domain) enum Function {
    Min,
    Max,
    Clamp,
}

/// Why a text is no expression: where in it (in bytes), and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionMistake {
    pub at: Range<usize>,
    pub code: &'static str,
    pub message: String,
    pub fix: String,
}

const FUNCTIONS: [(&str, Function); 3] = [("min", Function::Min), ("max", Function::Max), ("clamp", Function::Clamp)];

impl Expression {
    pub fn parse(text: &str) -> Result<Self, ExpressionMistake> {
        let mut parser = Parser { text, at: 0, depth: 0, paths: Vec::new() };
        if text.len() > BYTES_MAX {
            let message = format!("the expression is {} bytes long", text.len());
            return Err(parser.wrong(0..text.len(), message, format!("keep it within {BYTES_MAX} bytes")));
        }
        let root = parser.sum()?;
        if let Some(next) = parser.next() {
            return Err(parser.unexpected(next, "an operator", "join the parts by `+`, `-`, `*` or `/`"));
        }
        if parser.paths.is_empty() {
            let fix = "name a field, such as `data.amount`; to add one for each event, use aggregation = \"count\"";
            return Err(ExpressionMistake {
                at: 0..text.len(),
                code: "constant_value",
                message: format!("`{text}` is the same for every event"),
                fix: fix.to_owned(),
            });
        }
        Ok(Self { root, paths: parser.paths })
    }

    /// The one field that it is, if it is nothing more.
    pub fn as_path(&self) -> Option<&Path> {
        if let Node::Field(number) = self.root { self.paths.get(number) } else { None }
    }

    /// The fields that it is computed from, each once, in the order in which they are first named.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }
}

struct Parser<'t> {
    text: &'t str,
    /// In bytes, always between two characters.
    at: usize,
    depth: usize,
    paths: Vec<Path>,
}

type Parsed<T> = Result<T, ExpressionMistake>;

impl<'t> Parser<'t> {
    fn sum(&mut self) -> Parsed<Node> {
        let mut left = self.product()?;
        loop {
            let operator = match self.next() {
                Some('+') => Operator::Add,
                Some('-') => Operator::Subtract,
                _ => return Ok(left),
            };
            self.skip(1);
            left = Node::Of(operator, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Parsed<Node> {
        let mut left = self.sign()?;
        loop {
            let operator = match self.next() {
                Some('*') => Operator::Multiply,
                Some('/') => Operator::Divide,
                _ => return Ok(left),
            };
            self.skip(1);
            left = Node::Of(operator, Box::new(left), Box::new(self.sign()?));
        }
    }

    fn sign(&mut self) -> Parsed<Node> {
        if self.next() != Some('-') {
            return self.primary();
        }
        self.skip(1);
        Ok(Node::Negated(Box::new(self.deeper(Self::sign)?)))
    }

    fn primary(&mut self) -> Parsed<Node> {
        match self.next() {
            Some('(') => {
                self.skip(1);
                let inner = self.deeper(Self::sum)?;
                self.expect(')', "close the parenthesis")?;
                Ok(inner)
            }
            Some(digit) if digit.is_ascii_digit() => self.number(),
            Some(letter) if letter.is_ascii_alphabetic() || letter == '_' => self.name(),
            Some(other) => {
                Err(self.unexpected(other, "a number, a field or `(`", "write it like `data.amount * 0.029`"))
            }
            None => {
                let end = self.text.len();
                let message = format!("`{}` ends where a number or a field should come", self.text);
                Err(self.wrong(end..end, message, "complete it, or leave out the last operator".to_owned()))
            }
        }
    }

    fn number(&mut self) -> Parsed<Node> {
        let start = self.at;
        let digits = self.run(|c| c.is_ascii_digit() || c == '.');
        let number = Decimal::from_str_exact(digits).ok();
        let is_plain = !digits.ends_with('.') && digits.len() <= NUMBER_DIGITS_MAX;
        let number = number.filter(|_| is_plain).ok_or_else(|| {
            let message = format!("`{digits}` at {} is not a decimal", self.column(start));
            let fix = format!("write digits with at most one point, like `0.25`, no more than {NUMBER_DIGITS_MAX}");
            self.wrong(start..self.at, message, fix)
        })?;
        match self.rest().chars().next() {
            Some(letter) if letter.is_alphanumeric() || letter == '_' => {
                Err(self.unexpected(letter, "an operator", "write numbers out, without exponent or unit"))
            }
            _ => Ok(Node::Number(number)),
        }
    }

    fn name(&mut self) -> Parsed<Node> {
        let start = self.at;
        let name = self.run(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        let span = start..self.at;
        let mut after = self.rest().chars();
        if after.next() == Some('-') && after.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!("the `-` after `{name}` at {} could belong to a name", self.column(start));
            let fix = "put spaces around a minus; a field with `-` in its name can only stand alone";
            return Err(self.wrong(span.start..span.end.saturating_add(1), message, fix.to_owned()));
        }
        if self.next() == Some('(') {
            return self.call(name, span);
        }
        let path = Path::parse(name).filter(|path| path.parts().len() > 1 && name.starts_with("data."));
        let Some(path) = path else {
            let names = FUNCTIONS.map(|(name, _)| name);
            let fix = match nearest(name, names) {
                Some(function) if !name.contains('.') => format!("did you mean `{function}(…)`?"),
                _ => "name a field inside the event's data, like `data.amount`".to_owned(),
            };
            let message = format!("`{name}` at {} is not a field", self.column(start));
            return Err(ExpressionMistake { at: span, code: "unknown_field", message, fix });
        };
        let known = self.paths.iter().position(|known| *known == path);
        Ok(Node::Field(known.unwrap_or_else(|| {
            self.paths.push(path);
            self.paths.len().saturating_sub(1)
        })))
    }

    fn call(&mut self, name: &str, span: Range<usize>) -> Parsed<Node> {
        let Some((_, function)) = FUNCTIONS.into_iter().find(|(known, _)| *known == name) else {
            let names = FUNCTIONS.map(|(name, _)| name);
            let fix = match nearest(name, names) {
                Some(function) => format!("did you mean `{function}`?"),
                None => format!("use {}", either(names)),
            };
            let message = format!("there is no function `{name}`, at {}", self.column(span.start));
            return Err(ExpressionMistake { at: span, code: "unknown_function", message, fix });
        };
        self.skip(1);
        let mut arguments = vec![self.deeper(Self::sum)?];
        while self.next() == Some(',') {
            self.skip(1);
            arguments.push(self.deeper(Self::sum)?);
        }
        self.expect(')', "separate the numbers by commas and close the parenthesis")?;
        let (fits, takes) = match function {
            Function::Min | Function::Max => (arguments.len() >= 2, "two or more numbers"),
            Function::Clamp => (arguments.len() == 3, "three numbers: what is clamped, the least and the most"),
        };
        if fits {
            return Ok(Node::Call(function, arguments));
        }
        let message = format!("`{name}` at {} has {} of its numbers", self.column(span.start), arguments.len());
        Err(self.wrong(span, message, format!("give it {takes}")))
    }

    fn deeper(&mut self, parse: fn(&mut Self) -> Parsed<Node>) -> Parsed<Node> {
        if self.depth >= DEPTH_MAX {
            let message = format!("the expression is nested too deep at {}", self.column(self.at));
            return Err(self.wrong(self.at..self.at, message, format!("nest at most {DEPTH_MAX} deep")));
        }
        self.depth = self.depth.saturating_add(1);
        let parsed = parse(self)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(parsed)
    }

    fn expect(&mut self, wanted: char, fix: &str) -> Parsed<()> {
        match self.next() {
            Some(found) if found == wanted => {
                self.skip(found.len_utf8());
                Ok(())
            }
            Some(other) => Err(self.unexpected(other, &format!("`{wanted}`"), fix)),
            None => {
                let end = self.text.len();
                Err(self.wrong(end..end, format!("`{}` ends before its `{wanted}`", self.text), fix.to_owned()))
            }
        }
    }

    /// The next character that is no space.
    fn next(&mut self) -> Option<char> {
        self.run(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        self.rest().chars().next()
    }

    fn run(&mut self, wanted: fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.skip(end);
        rest.get(..end).unwrap_or_default()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    /// `character 7`, from 1.
    fn column(&self, at: usize) -> String {
        let before = self.text.char_indices().take_while(|(index, _)| *index < at).count();
        format!("character {}", before.saturating_add(1))
    }

    fn wrong(&self, at: Range<usize>, message: String, fix: String) -> ExpressionMistake {
        ExpressionMistake { at, code: "invalid_expression", message, fix }
    }

    fn unexpected(&self, found: char, wanted: &str, fix: &str) -> ExpressionMistake {
        let message = format!("`{found}` at {} where {wanted} should come", self.column(self.at));
        self.wrong(self.at..self.at.saturating_add(found.len_utf8()), message, fix.to_owned())
    }
}

/// How tightly a node holds together; what is looser inside it needs parentheses.
fn binding(node: &Node) -> u8 {
    match node {
        Node::Of(Operator::Add | Operator::Subtract, ..) => 1,
        Node::Of(Operator::Multiply | Operator::Divide, ..) => 2,
        Node::Negated(_) => 3,
        Node::Number(_) | Node::Field(_) | Node::Call(..) => 4,
    }
}

impl Expression {
    fn write(&self, node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match node {
            Node::Number(number) => write!(f, "{number}"),
            Node::Field(number) => self.paths.get(*number).map_or(Ok(()), |path| write!(f, "{path}")),
            Node::Negated(inner) => {
                f.write_str("-")?;
                self.write_inside(inner, binding(inner) < 3, f)
            }
            Node::Of(operator, left, right) => {
                let holds = binding(node);
                self.write_inside(left, binding(left) < holds, f)?;
                f.write_str(match operator {
                    Operator::Add => " + ",
                    Operator::Subtract => " - ",
                    Operator::Multiply => " * ",
                    Operator::Divide => " / ",
                })?;
                self.write_inside(right, binding(right) <= holds, f)
            }
            Node::Call(function, arguments) => {
                let name = FUNCTIONS.into_iter().find(|(_, known)| known == function).map_or("", |(name, _)| name);
                f.write_str(name)?;
                for (index, argument) in arguments.iter().enumerate() {
                    f.write_str(if index == 0 { "(" } else { ", " })?;
                    self.write(argument, f)?;
                }
                f.write_str(")")
            }
        }
    }

    fn write_inside(&self, node: &Node, in_parentheses: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !in_parentheses {
            return self.write(node, f);
        }
        f.write_str("(")?;
        self.write(node, f)?;
        f.write_str(")")
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&self.root, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mistake(text: &str) -> (String, Range<usize>) {
        let mistake = Expression::parse(text).expect_err("is refused");
        (format!("{}: {}; {}", mistake.code, mistake.message, mistake.fix), mistake.at)
    }

    #[test]
    fn fields_are_named_once_and_in_order() {
        let expression = Expression::parse("max(data.b - data.a.c, 0) + data.b").expect("is one");
        let paths: Vec<String> = expression.paths().iter().map(ToString::to_string).collect();
        assert_eq!(paths, ["data.b", "data.a.c"]);
    }

    #[test]
    fn only_needed_parentheses_are_shown() {
        for (text, shown) in [
            ("data.a*2+0.30", "data.a * 2 + 0.30"),
            ("(data.a)-((2-3))", "data.a - (2 - 3)"),
            ("-(data.a+1)*--2", "-(data.a + 1) * --2"),
            ("2 / (data.a*3)", "2 / (data.a * 3)"),
            ("clamp( data.a , (0),10 )", "clamp(data.a, 0, 10)"),
        ] {
            assert_eq!(Expression::parse(text).expect("is one").to_string(), shown);
        }
    }

    #[test]
    fn a_mistake_says_where_it_is_and_what_to_do() {
        for (text, said, at) in [
            (
                "data.a * ",
                "invalid_expression: `data.a * ` ends where a number or a field should come; complete it",
                9..9,
            ),
            (
                "data.a * + 2",
                "invalid_expression: `+` at character 10 where a number, a field or `(` should come",
                9..10,
            ),
            ("data.a 2", "invalid_expression: `2` at character 8 where an operator should come", 7..8),
            ("(data.a", "invalid_expression: `(data.a` ends before its `)`; close the parenthesis", 7..7),
            ("data.a)", "invalid_expression: `)` at character 7 where an operator should come", 6..7),
            ("é", "invalid_expression: `é` at character 1", 0..2),
            ("amount * 2", "unknown_field: `amount` at character 1 is not a field; name a field", 0..6),
            ("data.a + mx", "unknown_field: `mx` at character 10 is not a field; did you mean `max(…)`?", 9..11),
            ("data..a * 2", "unknown_field: `data..a`", 0..7),
            (
                "minn(data.a, 2)",
                "unknown_function: there is no function `minn`, at character 1; did you mean `min`?",
                0..4,
            ),
            (
                "clamp(data.a, 2)",
                "invalid_expression: `clamp` at character 1 has 2 of its numbers; give it three",
                0..5,
            ),
            ("data.a-data.b", "invalid_expression: the `-` after `data.a` at character 1 could belong to a name", 0..7),
            ("data.a * 1.2.3", "invalid_expression: `1.2.3` at character 10 is not a decimal", 9..14),
            (
                "data.a * 1e3",
                "invalid_expression: `e` at character 11 where an operator should come; write numbers out",
                10..11,
            ),
            ("2 + 0.30", "constant_value: `2 + 0.30` is the same for every event", 0..8),
            ("", "invalid_expression: `` ends where", 0..0),
        ] {
            let (message, place) = mistake(text);
            assert!(message.starts_with(said), "{message}");
            assert_eq!(place, at, "{message}");
        }
        assert!(mistake(&format!("{}data.a{}", "(".repeat(17), ")".repeat(17))).0.contains("nested too deep"));
        assert!(mistake(&format!("data.a{}", " + 1".repeat(200))).0.contains("806 bytes long"));
    }

    proptest! {
        /// No text makes it panic, and a place that it names lies inside the text, between characters.
        #[test]
        fn any_text_is_an_expression_or_a_mistake(
            text in prop_oneof![
                any::<String>(),
                "([-+*/(),. ]|data\\.[ab]|min|max|clamp|[0-9.]{1,3}|é){0,40}",
            ],
        ) {
            match Expression::parse(&text) {
                Ok(expression) => {
                    let again = Expression::parse(&expression.to_string());
                    prop_assert_eq!(again.as_ref(), Ok(&expression), "{}", expression);
                }
                Err(mistake) => prop_assert!(text.get(mistake.at.clone()).is_some(), "{:?}", mistake),
            }
        }
    }
}
