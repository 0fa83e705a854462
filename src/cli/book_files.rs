//! Reads a price book from a folder.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use thiserror::Error;

use crate::domain::book::SourceFile;

/// A price book that cannot be read, so that there is nothing to check.
#[derive(Debug, Error)]
pub enum Unreadable {
    #[error("there is no such folder: name the one that holds book.toml with --pricing DIR")]
    NoFolder,
    #[error("there is no TOML file in it: a price book begins with a book.toml")]
    Empty,
    #[error("{0} is not UTF-8: save it as UTF-8 text")]
    NotText(PathBuf),
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Every `.toml` and `.json` file below `folder`, sorted by path. Hidden files and folders are left alone.
pub fn read(folder: &Path) -> Result<Vec<SourceFile>, Unreadable> {
    if !folder.is_dir() {
        return Err(Unreadable::NoFolder);
    }
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    if !files.iter().any(|file| file.path.ends_with(".toml")) {
        return Err(Unreadable::Empty);
    }
    files.sort();
    Ok(files)
}

/// Adds the files of one folder; `prefix` is the path so far, with its final `/`.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result<(), Unreadable> {
    let failed = |source| Unreadable::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name() else { continue };
        let Some(name) = name.to_str() else { return Err(Unreadable::NotText(path)) };
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files)?;
        } else if name.ends_with(".toml") || name.ends_with(".json") {
            files.push(SourceFile { path: format!("{prefix}{name}"), text: text(&path)? });
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, Unreadable> {
    let bytes = fs::read(path).map_err(|source| Unreadable::Io { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|_| Unreadable::NotText(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_at_any_depth_and_sorted_and_hidden_ones_are_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        };
        assert!(matches!(read(folder.path()), Err(Unreadable::Empty)));
        for path in ["plans/b.toml", "plans/a.toml", "book.toml", "catalog/schemas/x.json", ".git/x.toml", "README.md"]
        {
            write(path, b"");
        }
        let paths: Vec<String> = read(folder.path()).expect("can be read").into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["book.toml", "catalog/schemas/x.json", "plans/a.toml", "plans/b.toml"]);
        write("plans/c.toml", b"name = \"Z\xfcrich\"");
        assert!(matches!(read(folder.path()), Err(Unreadable::NotText(_))));
        assert!(matches!(read(&folder.path().join("none")), Err(Unreadable::NoFolder)));
    }
}
