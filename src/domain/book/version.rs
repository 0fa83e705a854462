//! Versions of the price book: immutable, and known by what they say.

use sha2::Digest;
use sha2::Sha256;

use crate::domain::book::Book;
use crate::domain::book::Mistake;
use crate::domain::book::SourceFile;
use crate::domain::book::parse;
use crate::domain::book::parse_published;
use crate::domain::hex::hex;
use crate::domain::time::Instant;

/// How much of the hash makes the id.
const ID_HEX: usize = 16;

/// A book as it is published: its files, what they say, and from when they apply.
#[derive(Clone, Debug)]
pub struct BookVersion {
    /// `bk_` and the beginning of the hash.
    pub id: String,
    /// See [`hash`].
    pub hash: String,
    pub effective_from: Instant,
    pub files: Vec<SourceFile>,
    pub book: Book,
}

impl BookVersion {
    /// Parses the files and names them by their content.
    pub fn new(files: Vec<SourceFile>, effective_from: Instant) -> Result<Self, Vec<Mistake>> {
        let book = parse(&files)?;
        Ok(Self::of(files, effective_from, book))
    }

    /// The same for files that were published before.
    pub fn published(files: Vec<SourceFile>, effective_from: Instant) -> Result<Self, Vec<Mistake>> {
        let book = parse_published(&files)?;
        Ok(Self::of(files, effective_from, book))
    }

    fn of(mut files: Vec<SourceFile>, effective_from: Instant, book: Book) -> Self {
        files.sort();
        let hash = hash(&files);
        Self { id: id(&hash), hash, effective_from, files, book }
    }
}

/// `bk_` and the first 16 digits of a hash.
pub fn id(hash: &str) -> String {
    format!("bk_{}", hash.chars().take(ID_HEX).collect::<String>())
}

/// SHA-256 in hex over all files in the order of their paths: each path and each text, with its length in bytes
/// (64 bits, big-endian) before it. The order in which the files are given does not matter.
pub fn hash(files: &[SourceFile]) -> String {
    let mut sorted: Vec<&SourceFile> = files.iter().collect();
    sorted.sort();
    let mut hash = Sha256::new();
    for part in sorted.into_iter().flat_map(|file| [&file.path, &file.text]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize())
}

/// The files as one JSON text, as it is stored: `[{"path": …, "text": …}, …]`.
pub fn files_to_json(files: &[SourceFile]) -> String {
    let json = |file: &SourceFile| serde_json::json!({ "path": file.path, "text": file.text });
    files.iter().map(json).collect::<serde_json::Value>().to_string()
}

/// The other way around.
pub fn files_from_json(json: &str) -> Result<Vec<SourceFile>, serde_json::Error> {
    serde_json::from_str(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_version_is_named_by_its_content() {
        let text = "name = \"A\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n";
        let version = BookVersion::new(vec![file("book.toml", text)], Instant::BEGINNING).expect("is right");
        assert_eq!(version.id, format!("bk_{}", &version.hash[..16]));
        assert_eq!(version.hash.len(), 64);
    }

    #[test]
    fn text_that_moves_from_one_file_to_another_gives_another_hash() {
        assert_ne!(hash(&[file("a", "bc"), file("d", "")]), hash(&[file("a", "b"), file("cd", "")]));
        assert_ne!(hash(&[file("a", "x"), file("b", "")]), hash(&[file("a", ""), file("b", "x")]));
    }

    proptest! {
        /// The hash depends on the set of files only, and survives being stored.
        #[test]
        fn the_hash_survives_order_and_storage(texts in prop::collection::btree_map(".{0,8}", ".{0,20}", 0..6)) {
            let files: Vec<SourceFile> = texts.iter().map(|(path, text)| file(path, text)).collect();
            let reversed: Vec<SourceFile> = files.iter().rev().cloned().collect();
            prop_assert_eq!(hash(&files), hash(&reversed));
            let stored = files_from_json(&files_to_json(&files)).expect("is JSON");
            prop_assert_eq!(hash(&files), hash(&stored));
        }
    }
}
