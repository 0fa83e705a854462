//! The bytes of one connection, and the patience with whoever is at its other end.
//!
//! A head that has begun must come to its end; a connection between two requests may idle (longer, so that it is there
//! when a proxy wants it again); an answer must be fetched. While a request is worked on, only its body has a clock,
//! which is not kept here.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio::time::sleep;

/// A connection whose other end must fetch what it is sent, and which notes what goes on.
pub struct Socket {
    stream: TcpStream,
    turns: Arc<Turns>,
    answer: Patience,
}

/// What goes on in a connection: it works on one request at a time. Looked at by one task only, so nothing is ordered.
#[derive(Default)]
pub struct Turns {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Whether bytes came since the last request ended: a part of the next head.
    has_head: AtomicBool,
    writes: AtomicU64,
}

/// The clocks of a connection that works on nothing.
pub struct Waiting {
    turns: Arc<Turns>,
    seen: Seen,
    head: Patience,
    idle: Patience,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    begun: u64,
    writes: u64,
    is_answering: bool,
    has_head: bool,
}

/// How long something may take; a clock runs only while it is waited for.
pub struct Patience {
    limit: Duration,
    running: Option<Pin<Box<Sleep>>>,
}

impl Turns {
    /// The head of a request is there.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// The head of its answer is there. What came until now was its own body.
    pub fn end(&self) {
        self.ended.store(self.begun.load(Ordering::Relaxed), Ordering::Relaxed);
        self.has_head.store(false, Ordering::Relaxed);
    }

    fn seen(&self) -> Seen {
        let begun = self.begun.load(Ordering::Relaxed);
        Seen {
            begun,
            writes: self.writes.load(Ordering::Relaxed),
            is_answering: begun != self.ended.load(Ordering::Relaxed),
            has_head: self.has_head.load(Ordering::Relaxed),
        }
    }
}

impl Waiting {
    pub fn new(turns: Arc<Turns>, head: Duration, idle: Duration) -> Self {
        Self { turns, seen: Seen::default(), head: Patience::new(head), idle: Patience::new(idle) }
    }

    /// Ready when the other end has left us waiting for too long. To be asked each time after the connection was.
    pub fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let seen = self.turns.seen();
        if self.seen != seen {
            self.seen = seen;
            self.head.renew();
            self.idle.renew();
        }
        match seen {
            Seen { is_answering: true, .. } => Poll::Pending,
            Seen { has_head: true, .. } => self.head.poll_out(context),
            Seen { .. } => self.idle.poll_out(context),
        }
    }
}

impl Patience {
    pub fn new(limit: Duration) -> Self {
        Self { limit, running: None }
    }

    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Ready once it has run out; begins to run when it is first asked.
    pub fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.running.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context)
    }

    pub fn renew(&mut self) {
        self.running = None;
    }
}

impl Socket {
    pub fn new(stream: TcpStream, turns: Arc<Turns>, answer: Duration) -> Self {
        Self { stream, turns, answer: Patience::new(answer) }
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn written<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            ready!(self.answer.poll_out(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.answer.renew();
        self.turns.writes.fetch_add(1, Ordering::Relaxed);
        polled
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > filled {
            self.turns.has_head.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
