//! Long work, on threads that give way: whoever has only a moment's work to do does not wait behind it. Without that, a
//! question that is asked while large bodies come in waits at each of its steps until a time slice ends.

use std::cell::Cell;

use crate::metering::Error;

/// Enough for whoever wakes up to go first, and little enough for other programs not to take it all.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

thread_local! {
    static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Does long work. An error only if it panics, or the process is stopping.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let work = || {
        give_way();
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)
}

/// Has this thread give way to others from now on. Where it may not, everything is as correct, and less prompt.
pub(in crate::metering) fn give_way() {
    if GIVES_WAY.replace(true) {
        return;
    }
    // Elsewhere than in Linux the whole process would give way.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}
