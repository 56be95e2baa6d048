//! Reading and writing, whatever carries the bytes. An idle connection holds no buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::ending::Ending;

const READ_BYTES: usize = 64 << 10;
/// Read while there is little room: what is not read waits with its sender, and takes nobody's time here.
const CROWDED_READ_BYTES: usize = 16 << 10;
/// A larger buffer than this is not kept for later.
const KEPT_BYTES: usize = 4 << 10;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// TCP, or TLS over it.
pub(super) type Stream = Box<dyn Carrier>;

thread_local! {
    /// Everybody's bytes pass through the buffer of the thread that happens to read them.
    static PASSAGE: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Waits for bytes and puts them behind those that are there; 0 at the end of the stream. Nothing is lost when it is dropped.
pub(super) async fn read(stream: &mut Stream, input: &mut BytesMut, crowded: bool) -> io::Result<usize> {
    poll_fn(|context| {
        PASSAGE.with_borrow_mut(|passage| {
            let mut come = ReadBuf::new(if crowded { &mut passage[..CROWDED_READ_BYTES] } else { passage });
            ready!(Pin::new(&mut *stream).poll_read(context, &mut come))?;
            input.extend_from_slice(come.filled());
            Poll::Ready(Ok(come.filled().len()))
        })
    })
    .await
}

/// Sends everything that waits, within the time given.
pub(super) async fn write(stream: &mut Stream, out: &mut BytesMut, within: Duration) -> Result<(), Ending> {
    if out.is_empty() {
        return Ok(());
    }
    let sending = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    let sent = timeout(within, sending).await;
    if out.capacity() > KEPT_BYTES {
        *out = BytesMut::new()
    } else {
        out.clear()
    }
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::Lost),
        Err(_) => Err(Ending::SlowReader),
    }
}

/// Ends the connection as politely as the peer allows.
pub(super) async fn close(stream: &mut Stream) {
    // The peer may be gone already.
    let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
}
