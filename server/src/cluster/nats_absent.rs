//! In place of NATS, in builds without the feature `cluster`.

use bytes::Bytes;

use super::ClusterSettings;
use super::reading::{Heard, NotWritten};

/// There is none.
#[derive(Clone)]
pub(crate) enum Nats {}

impl Nats {
    pub(super) async fn connect(_settings: &ClusterSettings, _world: &str) -> anyhow::Result<Nats> {
        anyhow::bail!(WITHOUT)
    }

    pub(crate) fn check(_settings: &ClusterSettings) -> anyhow::Result<()> {
        anyhow::bail!(WITHOUT)
    }

    pub(super) async fn hear(&self) -> Heard {
        match *self {}
    }

    pub(super) fn read_again(&self) {
        match *self {}
    }

    pub(super) async fn announce(&self, _node: &str, _record: Bytes) -> bool {
        match *self {}
    }

    pub(super) async fn write(&self, _name: &str, _record: Bytes, _after: Option<u64>) -> Result<u64, NotWritten> {
        match *self {}
    }

    pub(super) async fn read(&self, _name: &str) -> Result<Option<Bytes>, NotWritten> {
        match *self {}
    }

    pub(super) async fn log(&self, _name: &str, _record: Bytes) -> Result<u64, NotWritten> {
        match *self {}
    }

    pub(super) async fn forget_before(&self, _name: &str, _number: u64) -> anyhow::Result<()> {
        match *self {}
    }

    pub(super) async fn keep(&self, _object: &str, _state: Vec<u8>) -> anyhow::Result<()> {
        match *self {}
    }

    pub(super) async fn logged(&self, _name: &str) -> anyhow::Result<Vec<Bytes>> {
        match *self {}
    }

    pub(super) async fn kept(&self, _object: &str) -> anyhow::Result<Option<Vec<u8>>> {
        match *self {}
    }

    pub(super) async fn forget(&self, _name: &str, _objects: &[String]) {
        match *self {}
    }

    pub(super) async fn erase(&self, _number: u64) {
        match *self {}
    }
}

const WITHOUT: &str = "--cluster: this binary was built without clusters; build one with `cargo build --release -p server \
    --bin causeway --features cluster`";
