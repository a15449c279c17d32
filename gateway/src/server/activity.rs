//! What a connection is doing, as far as its deadlines need to know, and the bytes as they arrive.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Limits;
use crate::http::framing::{FramingFault, Scanner};

/// Shared by a connection's driver, its byte stream and its requests.
pub struct Activity {
    state: Mutex<State>,
    /// A deadline may have come nearer.
    pub changed: Notify,
}

struct State {
    requests: usize,
    /// Since when no request is being worked on.
    quiet_since: Instant,
    /// Since when a head is being awaited or received.
    head_since: Option<Instant>,
    suspect: Option<FramingFault>,
    /// Since when the connection takes no more requests.
    closing_since: Option<Instant>,
}

/// Whether a connection still takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Closing,
    Open,
}

/// What a deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The connection is cut.
    End,
    /// The connection takes no more requests.
    Idle,
}

/// What a peer gets to read its last answer and to take note that the connection ends.
const LAST_CALL: Duration = Duration::from_secs(5);

impl Activity {
    pub fn new(now: Instant) -> Arc<Self> {
        let state = State {
            requests: 0,
            quiet_since: now,
            // The first request is awaited like a head that has begun.
            head_since: Some(now),
            suspect: None,
            closing_since: None,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// What comes next if nothing more happens; `None` while requests are worked on.
    pub fn deadline(&self, limits: &Limits, phase: Phase) -> Option<(Instant, Due)> {
        let state = self.lock();
        if state.requests > 0 {
            return None;
        }
        let head = state.head_since.and_then(|since| since.checked_add(limits.head));
        let quiet = match phase {
            Phase::Open => (state.quiet_since.checked_add(limits.idle)?, Due::Idle),
            Phase::Closing => (state.quiet_since.max(state.closing_since?).checked_add(LAST_CALL)?, Due::End),
        };
        Some(head.map(|head| (head, Due::End)).into_iter().chain([quiet]).min().unwrap_or(quiet))
    }

    /// Counts a request until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> InRequest {
        let mut state = self.lock();
        state.requests = state.requests.saturating_add(1);
        state.head_since = None;
        InRequest(self.clone())
    }

    pub fn suspect(&self) -> Option<FramingFault> {
        self.lock().suspect
    }

    /// From now on no more requests are taken; those that run may end.
    pub fn close(&self) {
        self.lock().closing_since.get_or_insert_with(Instant::now);
        self.changed.notify_one();
    }

    pub fn phase(&self) -> Phase {
        if self.lock().closing_since.is_some() { Phase::Closing } else { Phase::Open }
    }

    fn saw(&self, scanner: &Scanner) {
        let mut state = self.lock();
        state.suspect = scanner.fault();
        match (scanner.in_head(), state.head_since) {
            (true, None) => {
                state.head_since = Some(Instant::now());
                drop(state);
                self.changed.notify_one();
            }
            (true, Some(_)) => {}
            // The head is complete: the request is about to be counted.
            (false, _) => state.head_since = None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct InRequest(Arc<Activity>);

impl Drop for InRequest {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests = state.requests.saturating_sub(1);
        state.quiet_since = Instant::now();
        drop(state);
        self.0.changed.notify_one();
    }
}

/// An HTTP/1 byte stream whose bytes are looked at on their way in.
pub struct Watched<S> {
    stream: S,
    scanner: Scanner,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, scanner: Scanner::new(), activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let this = &mut *self;
        this.scanner.feed(buf.filled().get(before..).unwrap_or_default());
        this.activity.saw(&this.scanner);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
