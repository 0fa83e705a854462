//! Connections: how many there are, how slow they may be, and how they end.
//!
//! Nobody who is slow costs more than a place among the connections, and that not for long: a head must come within
//! its time, a body may not pause for longer than its own, and an answer must be fetched (see [`crate::http::socket`]). Beyond the bound new
//! connections wait in the system's own queue. When the server stops, requests under way are finished, for a while.

use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use axum::BoxError;
use axum::Router;
use axum::body::Bytes;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::http::App;
use crate::http::intake::Stalled;
use crate::http::memory::SMALL_BYTES_MAX;
use crate::http::socket::Patience;
use crate::http::socket::Socket;
use crate::http::socket::Turns;
use crate::http::socket::Waiting;

/// Requests that are under way when the server is told to stop get this long.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// What a client still sends after its answer is thrown away for this long: closing at once would reset the
/// connection, and the answer might be lost on its way.
const LINGER: Duration = Duration::from_secs(2);
/// When no connection can be accepted: most likely there are no files left, and some will be soon.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Head and read buffer of a connection: ten thousand of them stay below a gigabyte.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What connections may do.
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections_max: u32,
    /// From the first byte of a head until all of it is there.
    pub header_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Without a byte of a body coming in, or of an answer going out.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_timeout: Duration::from_secs(10),
            // Longer than the minute for which most proxies keep a connection.
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(20),
        }
    }
}

/// Answers requests with `router` until `stop`; then finishes those under way, for as long as [`STOP_WITHIN`] or until
/// `hurry`.
pub async fn serve(
    listener: TcpListener,
    app: App,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
    hurry: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(usize::try_from(limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS)));
    let (stopping, is_stopping) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let slot = tokio::select! {
            biased;
            () = &mut stop => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let stream = tokio::select! {
            biased;
            () = &mut stop => break,
            stream = accept(&listener) => stream,
        };
        let (app, router, limits, is_stopping) = (app.clone(), router.clone(), limits.clone(), is_stopping.clone());
        tokio::spawn(async move {
            let _open = app.counters.open();
            converse(stream, router, &limits, is_stopping).await;
            drop(slot);
        });
    }
    drop(listener);
    stopping.send_replace(());
    let all_ended = timeout(STOP_WITHIN, slots.acquire_many(limits.connections_max));
    tokio::select! {
        all_ended = all_ended => if all_ended.is_err() {
            tracing::warn!("some requests were not finished within {} s", STOP_WITHIN.as_secs());
        },
        () = hurry => {}
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Whoever wanted to connect has gone again.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::error!("a connection cannot be accepted: {error}");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Answers the requests of one connection, one after the other.
async fn converse(stream: TcpStream, router: Router, limits: &Limits, mut is_stopping: watch::Receiver<()>) {
    // Answers are small and awaited. If it cannot be set, they are only slower.
    let _ = stream.set_nodelay(true);
    let answering = TowerToHyperService::new(router);
    let body_timeout = limits.body_timeout;
    let is_unread = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(Turns::default());
    let socket = Socket::new(stream, turns.clone(), body_timeout);
    let mut waiting = Waiting::new(turns.clone(), limits.header_timeout, limits.idle_timeout);
    let service = service_fn(move |request: Request<Incoming>| {
        turns.begin();
        let (turns, is_unread) = (turns.clone(), is_unread.clone());
        let answer = answering.call(request.map(|body| Paced::new(body, body_timeout, is_unread.clone())));
        Box::pin(async move {
            let answer = answer.await;
            turns.end();
            answer.map(|answer| closing_if(is_unread.load(Ordering::Relaxed), answer))
        })
    });
    let mut connection =
        http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).serve_connection(TokioIo::new(socket), service);
    let mut is_told = false;
    let has_ended_well = loop {
        tokio::select! {
            biased;
            // Hyper has a clock for heads too, but one that runs while the connection idles.
            ended_well = poll_fn(|context| match connection.poll_without_shutdown(context) {
                Poll::Ready(ended) => Poll::Ready(ended.is_ok()),
                Poll::Pending => waiting.poll_out(context).map(|()| false),
            }) => break ended_well,
            _ = is_stopping.changed(), if !is_told => {
                is_told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    // A connection that broke, or was too slow, is simply dropped.
    if has_ended_well {
        let _ = timeout(LINGER, hang_up(connection.into_parts().io.into_inner().into_stream())).await;
    }
}

/// Says that the connection ends after an answer that left much of the body unread. Hyper would close it without a
/// word; a little it reads itself, and goes on.
fn closing_if(is_unread: bool, mut answer: Response) -> Response {
    if is_unread {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Ends our half, and waits for the other end to end its own.
async fn hang_up(mut stream: TcpStream) -> io::Result<()> {
    poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await?;
    let mut thrown_away = vec![0; 16 << 10];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut thrown_away) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// A body that may not pause for too long.
struct Paced {
    body: Incoming,
    patience: Patience,
    /// Whether so much of it is missing that the connection is better closed.
    is_unread: Arc<AtomicBool>,
}

impl Paced {
    fn new(body: Incoming, patience: Duration, is_unread: Arc<AtomicBool>) -> Self {
        let small = u64::try_from(SMALL_BYTES_MAX).unwrap_or(u64::MAX);
        is_unread.store(body.size_hint().upper().is_none_or(|upper| upper > small), Ordering::Relaxed);
        Self { body, patience: Patience::new(patience), is_unread }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() {
            ready!(self.patience.poll_out(context));
            let seconds = self.patience.limit().as_secs();
            self.is_unread.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(Stalled { seconds }.into())));
        }
        self.patience.renew();
        if self.body.is_end_stream() || matches!(polled, Poll::Ready(None)) {
            self.is_unread.store(false, Ordering::Relaxed);
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
