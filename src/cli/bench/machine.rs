//! What the system tells: which machine this is, what a process has used, and how much a folder takes on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// `st_blocks` is in these units, whatever the file system's blocks are.
const BLOCK_BYTES: u64 = 512;
/// Linux tells a process's time in hundredths of a second on every machine of today.
const TICKS_A_SECOND: f64 = 100.0;

/// Where the figures were measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub memory_bytes: u64,
    /// Of the data's folder.
    pub file_system: String,
    /// Programs are slow when they are built without optimisation.
    pub optimised: bool,
}

/// A process's memory.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    pub peak_bytes: u64,
    pub now_bytes: u64,
}

impl Machine {
    pub fn here(data: &Path) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu.trim_start_matches([' ', '\t', ':']).to_owned(),
            memory_bytes: kilobytes(&memory, "MemTotal:"),
            file_system: file_system(data),
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl Memory {
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        Ok(Self { peak_bytes: kilobytes(&status, "VmHWM:"), now_bytes: kilobytes(&status, "VmRSS:") })
    }
}

/// Seconds of processor time that a process has used, in itself and in the system.
pub fn processor_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may hold anything; the two times are the 12th and 13th fields after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_A_SECOND)
}

/// Seconds of processor time that this thread has used, to the nanosecond.
pub fn thread_seconds() -> anyhow::Result<f64> {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").context("/proc/thread-self/schedstat")?;
    let nanoseconds = schedule.split(' ').next().and_then(|time| time.parse::<u64>().ok());
    Ok(nanoseconds.context("/proc/thread-self/schedstat does not begin with a number")? as f64 / 1e9)
}

/// Everything below a folder as it is allocated on disk, in bytes.
pub fn disk_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes: u64 = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file that is gone by now takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes = bytes.saturating_add(match metadata.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => metadata.blocks().saturating_mul(BLOCK_BYTES),
        });
    }
    Ok(bytes)
}

/// The value of a line such as `VmRSS:    1234 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let number = value.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    number.unwrap_or_default().saturating_mul(1_024)
}

/// The type of the file system that holds a path: of the longest mount point above it.
fn file_system(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = fields.filter_map(|fields| Some((*fields.get(1)?, *fields.get(2)?)));
    let above = above.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned()).unwrap_or_default()
}
