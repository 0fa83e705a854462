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
    #[error("there is no folder {0}: name the folder that holds book.toml with --pricing DIR")]
    NoFolder(PathBuf),
    #[error("there is no TOML file in {0}: a price book begins with a book.toml")]
    Empty(PathBuf),
    #[error("{0} is not UTF-8: save it as UTF-8 text")]
    NotText(PathBuf),
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Every `.toml` and `.json` file below `folder`, sorted by path. Hidden files and folders are left alone.
pub fn read(folder: &Path) -> Result<Vec<SourceFile>, Unreadable> {
    if !folder.is_dir() {
        return Err(Unreadable::NoFolder(folder.to_owned()));
    }
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    if !files.iter().any(|file| file.path.ends_with(".toml")) {
        return Err(Unreadable::Empty(folder.to_owned()));
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
