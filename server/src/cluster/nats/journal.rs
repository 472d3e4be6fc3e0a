//! Journals in NATS: what steered each chunk stands in the stream `causeway_journal_WORLD`, states in the object store
//! `causeway_states_WORLD`. Both forget what is an hour old.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{self, GetErrorKind, ObjectStore};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::super::journal::{LOGGED_BYTES_MAX, READ_BYTES_MAX, RECORDS_MAX, STATE_BYTES_MAX};
use super::super::reading::NotWritten;
use super::{ANSWER, Nats};

/// Nobody comes back to a session that was not drawn for so long.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// The longest time that a state may take on its way: 32 MiB at 3 MB/s.
const STATE_WITHIN: Duration = Duration::from_secs(10);

impl Nats {
    fn journal(&self) -> String {
        format!("causeway_journal_{}", self.world)
    }

    /// The streams are made when the first session needs them.
    async fn states(&self) -> anyhow::Result<&ObjectStore> {
        let open = async || {
            let bucket = format!("causeway_states_{}", self.world);
            let records = Config {
                name: self.journal(),
                subjects: vec![format!("{}.>", self.journal())],
                max_messages_per_subject: RECORDS_MAX,
                discard: DiscardPolicy::Old,
                max_age: AGE_MAX,
                storage: StorageType::File,
                num_replicas: self.replicas,
                ..Config::default()
            };
            self.context.get_or_create_stream(records).await?;
            if let Ok(store) = self.context.get_object_store(&bucket).await {
                return anyhow::Ok(store);
            }
            let states = object_store::Config {
                bucket,
                max_age: AGE_MAX,
                num_replicas: self.replicas,
                ..object_store::Config::default()
            };
            Ok(self.context.create_object_store(states).await?)
        };
        self.states.get_or_try_init(open).await
    }

    /// Write what steers a chunk. Gives its number in the stream.
    pub(in crate::cluster) async fn log(&self, name: &str, record: Bytes) -> Result<u64, NotWritten> {
        let write = async {
            if let Err(error) = self.states().await {
                tracing::warn!(error = format!("{error:#}"), "no stream for journals");
                return Err(NotWritten::Lost);
            }
            self.publish(format!("{}.{name}", self.journal()), PublishMessage::build().payload(record)).await
        };
        timeout(ANSWER, write).await.unwrap_or(Err(NotWritten::Lost))
    }

    /// Remove what was logged before this number.
    pub(in crate::cluster) async fn forget_before(&self, name: &str, number: u64) -> anyhow::Result<()> {
        let stream = self.context.get_stream_no_info(self.journal()).await?;
        let purge = async { stream.purge().sequence(number).filter(format!("{}.{name}", self.journal())).await };
        timeout(ANSWER, purge).await??;
        Ok(())
    }

    /// Keep a state, in place of the one of this name.
    pub(in crate::cluster) async fn keep(&self, object: &str, state: Vec<u8>) -> anyhow::Result<()> {
        let states = self.states().await?;
        timeout(STATE_WITHIN, states.put(object, &mut &state[..])).await.context("no answer in time")??;
        Ok(())
    }

    /// What was logged, in order, as far as it is within its bounds.
    pub(in crate::cluster) async fn logged(&self, name: &str) -> anyhow::Result<Vec<Bytes>> {
        self.states().await?;
        let stream = self.context.get_stream_no_info(self.journal()).await?;
        let consumer = push::OrderedConfig {
            deliver_subject: self.context.client().new_inbox(),
            deliver_policy: DeliverPolicy::All,
            filter_subject: format!("{}.{name}", self.journal()),
            ..push::OrderedConfig::default()
        };
        let mut consumer = stream.create_consumer(consumer).await?;
        let mut pending = consumer.info().await?.num_pending;
        let (mut messages, mut records, mut bytes) = (consumer.messages().await?, Vec::new(), 0);
        while pending > 0 {
            let message = timeout(ANSWER, messages.next()).await?.context("no more messages")??;
            pending = message.info().map_err(|error| anyhow::anyhow!("{error}"))?.pending;
            bytes += message.payload.len();
            if message.payload.len() > LOGGED_BYTES_MAX || bytes > READ_BYTES_MAX {
                tracing::warn!(
                    records = records.len(),
                    "a journal holds more than a session may write: its end is left out"
                );
                break;
            }
            records.push(message.payload.clone());
        }
        Ok(records)
    }

    /// A state.
    pub(in crate::cluster) async fn kept(&self, object: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let states = self.states().await?;
        let read = async {
            let found = match states.get(object).await {
                Ok(found) => found,
                Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            anyhow::ensure!(found.info.size <= STATE_BYTES_MAX, "a state of {} bytes", found.info.size);
            let mut state = Vec::with_capacity(found.info.size);
            found.take(STATE_BYTES_MAX as u64).read_to_end(&mut state).await?;
            Ok(Some(state))
        };
        timeout(STATE_WITHIN, read).await.context("no answer in time")?
    }

    /// Remove all of a journal.
    pub(in crate::cluster) async fn forget(&self, name: &str, objects: &[String]) {
        let remove = async {
            let states = self.states().await?;
            for object in objects {
                // An error: it was never there.
                let _ = states.delete(object).await;
            }
            let stream = self.context.get_stream_no_info(self.journal()).await?;
            stream.purge().filter(format!("{}.{name}", self.journal())).await?;
            anyhow::Ok(())
        };
        if let Err(error) = timeout(STATE_WITHIN, remove).await.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            tracing::debug!(error = format!("{error:#}"), "a journal is left for its hour");
        }
    }
}
