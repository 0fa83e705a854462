//! Where a command works: on data that it opens itself, or through a server that holds it.

use std::path::PathBuf;

use anyhow::bail;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::metering::Options;
use crate::metering::ingest::Limits;
use crate::store;
use crate::store::Access;
use crate::store::Db;
use crate::store::Target;

/// An export of the journal may be long.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// What could not be reached or opened: exit code 3.
#[derive(Debug, Error)]
pub enum CannotOpen {
    #[error(transparent)]
    Data(#[from] store::Error),
    #[error("{url} cannot be reached: {reason}")]
    Server { url: String, reason: String },
    #[error("{path}: {reason}")]
    File { path: String, reason: String },
}

/// Where the data is.
#[derive(clap::Args, Clone, Debug)]
pub struct DataArgs {
    /// Folder of the data (SQLite)
    #[arg(long, value_name = "DIR", env = "TALLYSTICK_DATA", default_value = "tallystick-data")]
    data: PathBuf,
    /// Postgres database of the data, instead of a folder
    #[arg(long, value_name = "URL", env = "TALLYSTICK_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Folder of what can be rebuilt from the log, the seen index; if it is not named, the data's folder, or for a
    /// database ~/.cache/tallystick
    #[arg(long, value_name = "DIR", env = "TALLYSTICK_CACHE")]
    cache: Option<PathBuf>,
    /// Memory for the seen index, in MiB
    #[arg(long, value_name = "MIB", env = "TALLYSTICK_SEEN_MEMORY", default_value_t = 256)]
    seen_memory: usize,
    /// Folder of the event archive, if it is not where `events archive` wrote it
    #[arg(long, value_name = "FOLDER", env = "TALLYSTICK_ARCHIVE")]
    archive: Option<PathBuf>,
}

/// Where to work: on the data itself, or through a server.
#[derive(clap::Args, Clone, Debug)]
pub struct PlaceArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Talk to this server instead of opening the data
    #[arg(long, value_name = "URL", env = "TALLYSTICK_SERVER", requires = "key")]
    server: Option<String>,
    /// API key for the server
    #[arg(long, value_name = "KEY", env = "TALLYSTICK_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// A server, and the key to talk to it with.
#[derive(Clone, Debug)]
pub struct Server {
    url: String,
    key: String,
}

impl DataArgs {
    pub fn target(&self) -> Target {
        match &self.database_url {
            Some(url) => Target::Url(url.clone()),
            None => Target::Folder(self.data.clone()),
        }
    }

    /// The folder of the data, if it is kept in one.
    pub fn folder(&self) -> Option<&PathBuf> {
        self.database_url.is_none().then_some(&self.data)
    }

    /// How metering works on this data.
    pub fn metering(&self, limits: Limits) -> Options {
        let cache = match (&self.cache, &self.database_url) {
            (Some(cache), _) => cache.clone(),
            (None, Some(_)) => own_cache(),
            (None, None) => self.data.clone(),
        };
        Options { limits, seen: cache.join("seen"), seen_memory: self.seen_memory.saturating_mul(1 << 20) }
    }

    pub async fn open(&self, access: Access) -> Result<Db, CannotOpen> {
        Ok(Db::open(&self.target(), access).await?.with_archive(self.archive.as_deref()))
    }
}

/// Where programs of this user keep what can be made again (XDG Base Directory Specification). Not a folder that others
/// can write to: who can change the index decides which events count.
fn own_cache() -> PathBuf {
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    cache.map_or_else(|| PathBuf::from("tallystick-cache"), |cache| cache.join("tallystick"))
}

impl PlaceArgs {
    pub fn server(&self) -> Option<Server> {
        let url = self.server.as_ref()?.trim_end_matches('/').to_owned();
        Some(Server { url, key: self.key.clone().unwrap_or_default() })
    }

    pub fn data(&self) -> &DataArgs {
        &self.data
    }
}

impl Server {
    /// Posts a body; blocks, so call it where nothing else waits. A problem that the server answers is the error.
    pub fn post<T: DeserializeOwned>(&self, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<T> {
        Ok(serde_json::from_str(&self.post_for_text(path, content_type, body)?)?)
    }

    /// Posts a body, and gives back the status and the text of the answer.
    pub fn post_raw(&self, path: &str, content_type: &str, body: &[u8]) -> Result<(u16, String), CannotOpen> {
        let cannot = |error: ureq::Error| CannotOpen::Server { url: self.url.clone(), reason: error.to_string() };
        let mut answer = ureq::post(format!("{}{path}", self.url))
            .config()
            .http_status_as_error(false)
            .build()
            .header("authorization", &format!("Bearer {}", self.key))
            .content_type(content_type)
            .send(body)
            .map_err(cannot)?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(cannot)?;
        Ok((answer.status().as_u16(), text))
    }

    /// Posts a body, and gives back the text of the answer; a problem that the server answers is the error.
    pub fn post_for_text(&self, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<String> {
        let (status, text) = self.post_raw(path, content_type, body)?;
        if !(200..300).contains(&status) {
            bail!("{}", problem_text(&text).unwrap_or_else(|| format!("the server answers {status}: {text}")));
        }
        Ok(text)
    }

    /// Gets a text; a problem that the server answers is the error.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.get_file(path)?)?)
    }

    /// Gets bytes; a problem that the server answers is the error.
    pub fn get_file(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.answer(ureq::get(format!("{}{path}", self.url)))
    }

    /// Deletes; a problem that the server answers is the error.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.answer(ureq::delete(format!("{}{path}", self.url))).map(|_| ())
    }

    fn answer(&self, request: ureq::RequestBuilder<ureq::typestate::WithoutBody>) -> anyhow::Result<Vec<u8>> {
        let cannot = |error: ureq::Error| CannotOpen::Server { url: self.url.clone(), reason: error.to_string() };
        let mut answer = request
            .config()
            .http_status_as_error(false)
            .build()
            .header("authorization", &format!("Bearer {}", self.key))
            .call()
            .map_err(cannot)?;
        let status = answer.status().as_u16();
        let bytes = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(cannot)?;
        if !(200..300).contains(&status) {
            let text = String::from_utf8_lossy(&bytes);
            bail!("{}", problem_text(&text).unwrap_or_else(|| format!("the server answers {status}: {text}")));
        }
        Ok(bytes)
    }
}

/// What a problem says, for a person.
pub fn problem_text(json: &str) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_str(json).ok()?;
    let mut text = problem.get("detail").or(problem.get("title"))?.as_str()?.to_owned();
    for error in problem.get("errors").and_then(serde_json::Value::as_array).into_iter().flatten() {
        let field = |name: &str| error.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        text.push_str(&format!("\n  {}: {}. {}", field("at"), field("detail"), field("fix")));
    }
    Some(text)
}
