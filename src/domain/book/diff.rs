//! TEMPORARY
use crate::domain::book::Book;
pub fn changes(_a: &Book, _b: &Book) -> Vec<String> {
    Vec::new()
}
pub fn conflicts(_a: &Book, _b: &Book) -> Vec<String> {
    Vec::new()
}
