//! HTTP connections, bounded in number and in every kind of waiting; `axum::serve` bounds neither.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ingest::{Full, Places};
use observe::Metrics;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

#[derive(Clone)]
pub struct HttpBounds {
    pub places: Places,
    /// For a request's header, from the opening of the connection or the end of the answer before.
    pub header_timeout: Duration,
    /// For a request's body.
    pub body_timeout: Duration,
    /// In which some of an answer must be taken.
    pub stall_timeout: Duration,
}

/// Serves until told to stop, then until the open requests are answered.
pub async fn serve(listener: TcpListener, router: Router, bounds: HttpBounds, metrics: Metrics, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection { router: router.clone(), bounds: bounds.clone(), metrics: metrics.clone() };
                    connections.spawn(connection.serve(stream, peer, stopping.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: give the others time to end.
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop_asked(&mut stopping) => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Ends when the service stops.
async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

struct Connection {
    router: Router,
    bounds: HttpBounds,
    metrics: Metrics,
}

/// What is known of a connection when it ends.
#[derive(Default)]
struct Course {
    /// Bytes have come since the last answer.
    heard: AtomicBool,
    body_late: AtomicBool,
    deaf: AtomicBool,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, stopping: watch::Receiver<bool>) {
        let reason = match self.bounds.places.take(peer.ip()) {
            Ok(_place) => {
                let _open = self.metrics.http_connection_open();
                self.speak(stream, stopping).await
            }
            Err(Full::InAll) => "too_many",
            Err(Full::OfAddress) => "too_many_of_address",
        };
        self.metrics.http_connections_ended.with_label_values(&[reason]).inc();
        tracing::debug!(%peer, reason, "http connection ended");
    }

    /// Gives the label under which the end is counted.
    async fn speak(&self, stream: TcpStream, mut stopping: watch::Receiver<bool>) -> &'static str {
        // Small answers should not wait for more; a socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let course = Arc::new(Course::default());
        let guarded = Guarded { stream, course: course.clone(), stall_timeout: self.bounds.stall_timeout, stalled: None };
        let answer = service_fn(|request: hyper::Request<Incoming>| {
            let course = course.clone();
            let request = request.map(|body| Body::new(TimedBody { body, until: Box::pin(sleep(self.bounds.body_timeout)), course }));
            self.router.clone().call(request)
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.bounds.header_timeout);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(guarded), answer));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop_asked(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        let seen = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        match ended {
            _ if seen(&course.body_late) => "body_timeout",
            Ok(()) => "closed",
            Err(_) if seen(&course.deaf) => "slow_reader",
            Err(error) if error.is_timeout() && seen(&course.heard) => "header_timeout",
            Err(error) if error.is_timeout() => "idle",
            Err(error) if error.is_parse() => "malformed",
            Err(_) => "lost",
        }
    }
}

/// A body that must have come by a certain time.
struct TimedBody {
    body: Incoming,
    until: Pin<Box<Sleep>>,
    course: Arc<Course>,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.until.as_mut().poll(context).is_ready() {
            self.course.body_late.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "it did not come in time"))));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(io::Error::other)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when the peer takes nothing of an answer for too long.
struct Guarded {
    stream: TcpStream,
    course: Arc<Course>,
    stall_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn guard<T>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.stall_timeout)));
        ready!(stalled.as_mut().poll(context));
        self.course.deaf.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer is not taken")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        if into.filled().len() > before {
            self.course.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.course.heard.store(false, Ordering::Relaxed);
        self.guard(context, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
