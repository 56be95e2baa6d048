//! The feeds that the service itself speaks on: `standing` and `verdicts`. A rumqttd router in memory carries them, away from every
//! report; a probe watches it, and when it fails a new one is built.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use observe::Metrics;
use rumqttd::local::{LinkBuilder, LinkError, LinkTx};
use rumqttd::{Notification, Router, RouterConfig};

use wire::sparkplug;

use crate::mqtt::{SessionOptions, Sessions};

const PROBE_TOPIC: &str = "shangyun/v1/_probe";
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_LATE: Duration = Duration::from_secs(15);
/// Everything below `shangyun/v1/`.
const EVERYTHING: &str = "shangyun/v1/#";

/// Carries the service's own messages to whoever has subscribed.
#[derive(Clone)]
pub struct Feeds {
    sessions: Sessions,
    router: Arc<Mutex<RouterLink>>,
    metrics: Metrics,
}

/// One life of the router.
struct RouterLink {
    publisher: LinkTx,
    /// Milliseconds from `built_at` to the last probe that came through.
    probed_ms: Arc<AtomicU64>,
    built_at: Instant,
}

#[derive(Debug, thiserror::Error)]
#[error("the feed router does not start: {0}")]
pub struct FeedError(Box<LinkError>);

impl From<LinkError> for FeedError {
    fn from(error: LinkError) -> FeedError {
        FeedError(Box::new(error))
    }
}

impl Feeds {
    pub fn start(options: SessionOptions, metrics: Metrics) -> Result<Feeds, FeedError> {
        let sessions = Sessions::new(options, metrics.clone());
        let router = Arc::new(Mutex::new(RouterLink::build(&sessions)?));
        let feeds = Feeds { sessions, router, metrics };
        let watched = feeds.clone();
        let watch = async move {
            loop {
                tokio::time::sleep(PROBE_EVERY).await;
                watched.probe();
            }
        };
        tokio::spawn(watch);
        Ok(feeds)
    }

    /// Tells Sparkplug edge nodes whether their host application is here.
    pub fn say_state(&self, online: bool, at: DateTime<Utc>) {
        let topic = sparkplug::state_topic(sparkplug::HOST_ID);
        let state = Bytes::from(sparkplug::state(online, at));
        self.sessions.retain(&topic, &state);
        self.sessions.deliver(&topic, &state);
    }

    pub(crate) fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Sends a message to those who are subscribed now.
    pub fn publish(&self, topic: &str, payload: Vec<u8>) {
        self.send(topic, Bytes::from(payload));
    }

    /// Sends a message, and keeps it for those who subscribe later.
    pub fn publish_retained(&self, topic: &str, payload: Vec<u8>) {
        let payload = Bytes::from(payload);
        self.sessions.retain(topic, &payload);
        self.send(topic, payload);
    }

    fn send(&self, topic: &str, payload: Bytes) {
        let sent = self.link().publisher.try_publish(topic.to_string(), payload);
        if let Err(error) = sent {
            tracing::warn!(%error, "a feed message was not taken");
            self.metrics.feed_dropped.inc();
        }
    }

    fn probe(&self) {
        self.send(PROBE_TOPIC, Bytes::from_static(b"probe"));
        let mut link = self.link();
        let since = link.built_at.elapsed().saturating_sub(Duration::from_millis(link.probed_ms.load(Ordering::Relaxed)));
        if since < PROBE_LATE {
            return;
        }
        tracing::error!(since_s = since.as_secs(), "the feed router no longer delivers; building a new one");
        self.metrics.feed_rebuilt.inc();
        match RouterLink::build(&self.sessions) {
            Ok(built) => *link = built,
            Err(error) => tracing::error!(%error, "no new feed router"),
        }
    }

    fn link(&self) -> std::sync::MutexGuard<'_, RouterLink> {
        self.router.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl RouterLink {
    fn build(sessions: &Sessions) -> Result<RouterLink, FeedError> {
        let config = RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 8,
            ..RouterConfig::default()
        };
        let router = Router::new(0, config).spawn();
        let (mut subscriber, mut inbox, _) = LinkBuilder::new("door", router.clone()).build()?;
        subscriber.subscribe(EVERYTHING)?;
        let (publisher, publisher_inbox, _) = LinkBuilder::new("service", router).build()?;
        let built_at = Instant::now();
        let probed_ms = Arc::new(AtomicU64::new(0));
        let (sessions, probed) = (sessions.clone(), probed_ms.clone());
        tokio::spawn(async move {
            // Both ends of a link must live for the router to keep it.
            let _kept = (subscriber, publisher_inbox);
            loop {
                match inbox.next().await {
                    Ok(Some(Notification::Forward(forward))) => {
                        let topic = String::from_utf8_lossy(&forward.publish.topic);
                        if topic == PROBE_TOPIC {
                            probed.store(built_at.elapsed().as_millis() as u64, Ordering::Relaxed);
                        } else {
                            sessions.deliver(&topic, &forward.publish.payload);
                        }
                    }
                    // A link that is not woken after this is parked for ever.
                    Ok(Some(Notification::Unschedule)) => {
                        if inbox.wake().await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        Ok(RouterLink { publisher, probed_ms, built_at })
    }
}
