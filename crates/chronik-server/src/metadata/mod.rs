//! Which topics and settings there are: the image of the metadata log, and the one way to change it.
//!
//! [`Metadata::image`] is what is committed; it never changes under a reader. [`Metadata::propose`] hands a decision to the keeper's thread and
//! resolves when its records are on stable storage and everything follows them.

mod ground;
mod keeper;
mod log;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chronik_coordinator::metadata::config::Layers;
use chronik_coordinator::metadata::{Controller, Decision, MetadataImage, Rules, Topic};
use chronik_protocol::{ErrorCode, Uuid};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use crate::config::BrokerConfig;
pub(crate) use ground::{Ground, GroundError, Settings};
pub(crate) use keeper::LoadError;
use keeper::{Finish, Job, Keeper};

/// Proposals that may wait; further ones wait outside.
const QUEUE: usize = 1024;

/// What became different; told after it is committed and done.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Topics that are new.
    pub(crate) created: Vec<Arc<Topic>>,
    /// Topics that are gone.
    pub(crate) deleted: Vec<Arc<Topic>>,
    /// Topics that have more partitions than before.
    pub(crate) grown: Vec<Arc<Topic>>,
}

impl Change {
    fn between(before: &MetadataImage, after: &MetadataImage) -> Change {
        let mut change = Change::default();
        for topic in after.topics() {
            match before.topic(&topic.name).filter(|old| old.id == topic.id) {
                None => change.created.push(topic.clone()),
                Some(old) if old.partitions < topic.partitions => change.grown.push(topic.clone()),
                Some(_) => {}
            }
        }
        let gone = |topic: &&Arc<Topic>| after.topic_by_id(topic.id).is_none();
        change.deleted.extend(before.topics().filter(gone).cloned());
        change
    }

    fn is_empty(&self) -> bool {
        self.created.is_empty() && self.deleted.is_empty() && self.grown.is_empty()
    }
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

/// What readers and the keeper share.
pub(crate) struct Shared {
    image: RwLock<Arc<MetadataImage>>,
    listeners: RwLock<Vec<Listener>>,
}

impl Shared {
    fn image(&self) -> Arc<MetadataImage> {
        self.image.read().clone()
    }

    fn publish(&self, image: Arc<MetadataImage>) {
        *self.image.write() = image;
    }

    fn tell(&self, change: &Change) {
        if !change.is_empty() {
            self.listeners.read().iter().for_each(|listener| listener(change));
        }
    }
}

/// The metadata of this broker.
pub(crate) struct Metadata {
    shared: Arc<Shared>,
    config: Arc<BrokerConfig>,
    cluster_id: String,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Producer ids that are ours to give: next and end.
    producer_ids: Mutex<(i64, i64)>,
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metadata").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

impl Metadata {
    /// Loads the metadata, begins a session, makes the partitions what the metadata says, and starts the keeper. Blocks.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: the broker must not start.
    pub(crate) fn start(
        ground: Box<dyn Ground>,
        config: Arc<BrokerConfig>,
        incarnation: Uuid,
    ) -> Result<Metadata, LoadError> {
        let rules = Rules {
            node_id: config.node_id,
            num_partitions: config.topics.num_partitions,
            default_replication_factor: config.topics.default_replication_factor,
            delete_topics: config.topics.delete,
            static_broker: config.settings.clone(),
        };
        let opened = Keeper::open(ground, rules, incarnation, config.logs.metadata_snapshot_bytes)?;
        let cluster_id = opened.image.cluster_id().unwrap_or_default().to_string();
        let image = RwLock::new(Arc::new(opened.image.clone()));
        let shared = Arc::new(Shared { image, listeners: RwLock::default() });
        let (sender, receiver) = mpsc::channel(QUEUE);
        let keeper = opened.keeper(shared.clone(), receiver);
        let thread = std::thread::Builder::new().name("metadata".to_owned()).spawn(move || keeper.run());
        let thread = thread.map_err(|e| GroundError(format!("no thread: {e}")))?;
        Ok(Metadata {
            shared,
            config,
            cluster_id,
            jobs: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            producer_ids: Mutex::new((0, 0)),
        })
    }

    /// What is committed now.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        self.shared.image()
    }

    /// The id of the cluster, as clients are told it.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The broker's settings in force, dynamic ones included.
    pub(crate) fn layers<'a>(&'a self, image: &'a MetadataImage) -> Layers<'a> {
        image.layers(&self.config.settings)
    }

    /// Calls `listener` after every change of the topics, on the keeper's thread: it must not wait.
    pub(crate) fn listen(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        self.shared.listeners.write().push(Box::new(listener));
    }

    /// Decides on the newest image; resolves with the answer when everything that it could have observed is committed and done. A caller that
    /// goes away does not stop it.
    pub(crate) async fn propose<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&Controller<'_>) -> Decision<R> + Send + 'static,
    ) -> Result<R, ErrorCode> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |controller| {
            let Decision { records, response } = decide(controller);
            let finish: Finish = Box::new(move |outcome| {
                let _ = answer.send(outcome.map(|()| response));
            });
            (records, finish)
        });
        let sender = self.jobs.lock().clone().ok_or(ErrorCode::NotController)?;
        sender.send(job).await.map_err(|_| ErrorCode::NotController)?;
        drop(sender);
        answered.await.unwrap_or(Err(ErrorCode::NotController))
    }

    /// A producer id that nobody had before.
    pub(crate) async fn producer_id(&self) -> Result<i64, ErrorCode> {
        loop {
            {
                let mut block = self.producer_ids.lock();
                if block.0 < block.1 {
                    block.0 += 1;
                    return Ok(block.0 - 1);
                }
            }
            let first = self.propose(|controller| controller.allocate_producer_ids()).await?;
            let mut block = self.producer_ids.lock();
            if block.0 >= block.1 {
                *block = (first, first + chronik_coordinator::metadata::controller::PRODUCER_ID_BLOCK);
            }
        }
    }

    /// Lets the keeper finish what was proposed, and waits for it. Blocks.
    pub(crate) fn stop(&self) {
        self.jobs.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}
