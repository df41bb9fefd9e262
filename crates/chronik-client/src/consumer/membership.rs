//! Membership in a classic consumer group: join, sync, heartbeats, leave.
//!
//! Joining happens inside `poll`, where the application is known to have finished with what it got; heartbeats go out from
//! a task of their own, so that slow processing does not cost the membership. Both use one connection that nothing else
//! uses: a parked JoinGroup holds up every answer behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use chronik_protocol::error::ErrorCode;
use chronik_protocol::generated::join_group_request::JoinGroupRequestProtocol;
use chronik_protocol::generated::join_group_response::JoinGroupResponseMember;
use chronik_protocol::generated::leave_group_request::MemberIdentity;
use chronik_protocol::generated::sync_group_request::SyncGroupRequestAssignment;
use chronik_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use chronik_protocol::wire::Request;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::assignment::{Assignment, Partitions, Subscription};
use super::assignor::Assignor;
use crate::cluster::Client;
use crate::connection::{Answer, Connection};
use crate::error::Error;

/// Pause before an operation that failed for a passing reason is tried again.
const BACKOFF: Duration = Duration::from_millis(100);

/// How a member takes part in its group.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// The group's id.
    pub group: String,
    /// `group.instance.id`: makes the member static.
    pub instance: Option<String>,
    /// The member is dead after this long without a heartbeat.
    pub session_timeout: Duration,
    /// Longest wait for all members to rejoin.
    pub rebalance_timeout: Duration,
    /// Strategies, the preferred one first.
    pub assignors: Vec<Assignor>,
}

impl GroupOptions {
    /// Defaults: 45 s session, 5 min rebalance, range.
    pub fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            instance: None,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(300),
            assignors: vec![Assignor::Range],
        }
    }
}

/// The connection to a group's coordinator, found again when it moves.
#[derive(Debug)]
pub(super) struct Coordinator {
    client: Client,
    group: String,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Coordinator {
    fn new(client: &Client, group: &str) -> Self {
        Self { client: client.clone(), group: group.to_owned(), connection: Mutex::default() }
    }

    /// Sends a request to the coordinator, looking for it first if needed. A connection that fails, or a broker that is not
    /// the coordinator any more, is forgotten by [`Coordinator::forget`].
    pub(super) async fn call<R: Request>(
        &self,
        highest: i16,
        make: impl FnOnce(i16) -> R,
        limit: Duration,
    ) -> Result<Answer<R>, Error> {
        let connection = {
            let mut slot = self.connection.lock().await;
            match slot.as_ref().filter(|connection| !connection.is_closed()) {
                Some(open) => open.clone(),
                None => {
                    self.client.forget_coordinator(&self.group);
                    let id = self.client.coordinator(&self.group).await?;
                    let connection = Arc::new(self.client.dedicated(id).await?);
                    *slot = Some(connection.clone());
                    connection
                }
            }
        };
        connection.call_with(highest, make, limit).await
    }

    /// Looks for the coordinator anew before the next request.
    pub(super) async fn forget(&self) {
        *self.connection.lock().await = None;
    }

    /// Forgets the coordinator if this error says that it moved or cannot be reached, and waits a little. False for errors
    /// that another try would not mend.
    pub(super) async fn recover(&self, error: &Error) -> bool {
        let moved = match error {
            Error::Broker { code, .. } => {
                matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
            }
            Error::Connect { .. } | Error::Disconnected { .. } | Error::Timeout { .. } => true,
            _ => false,
        };
        if moved {
            self.forget().await;
        }
        let passing = moved || error.is_retriable();
        if passing {
            sleep(BACKOFF).await;
        }
        passing
    }
}

/// What the heartbeats found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Member = 0,
    /// The group rebalances: join again with the same identity.
    Rejoin = 1,
    /// The coordinator does not know the member any more: join as a new one.
    Lost = 2,
    /// Another process took the static member's place.
    Fenced = 3,
}

#[derive(Debug, Default)]
struct Pulse {
    verdict: AtomicU8,
    changed: Notify,
}

impl Pulse {
    fn set(&self, verdict: Verdict) {
        self.verdict.store(verdict as u8, Ordering::Release);
        self.changed.notify_one();
    }

    fn get(&self) -> Verdict {
        match self.verdict.load(Ordering::Acquire) {
            0 => Verdict::Member,
            1 => Verdict::Rejoin,
            2 => Verdict::Lost,
            _ => Verdict::Fenced,
        }
    }
}

/// Ends the task with the membership.
#[derive(Debug)]
struct Heartbeats(JoinHandle<()>);

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// This consumer's place in its group.
#[derive(Debug)]
pub(super) struct Membership {
    client: Client,
    options: GroupOptions,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) member_id: String,
    pub(super) generation: i32,
    joined: bool,
    pulse: Arc<Pulse>,
    heartbeats: Option<Heartbeats>,
}

/// What a join brought.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) assignment: Assignment,
    pub(super) cooperative: bool,
}

impl Membership {
    pub(super) fn new(client: &Client, options: GroupOptions) -> Self {
        Self {
            client: client.clone(),
            coordinator: Arc::new(Coordinator::new(client, &options.group)),
            options,
            member_id: String::new(),
            generation: -1,
            joined: false,
            pulse: Arc::default(),
            heartbeats: None,
        }
    }

    pub(super) fn options(&self) -> &GroupOptions {
        &self.options
    }

    /// True if the next poll has to join first.
    pub(super) fn must_join(&self) -> bool {
        !self.joined || self.pulse.get() != Verdict::Member
    }

    /// True if the partitions held so far may already belong to somebody else.
    pub(super) fn lost(&self) -> bool {
        self.joined && matches!(self.pulse.get(), Verdict::Lost | Verdict::Fenced)
    }

    /// Asks for a rebalance at the next poll.
    pub(super) fn request_rejoin(&self) {
        self.pulse.set(Verdict::Rejoin);
    }

    /// Waits until the heartbeats find something out.
    pub(super) async fn changed(&self) {
        self.pulse.changed.notified().await;
    }

    /// Joins, waits for the assignment and starts the heartbeats. Passing errors are waited out.
    pub(super) async fn join(&mut self, topics: &[String], owned: Partitions) -> Result<Joined, Error> {
        if self.pulse.get() == Verdict::Fenced {
            return Err(Error::broker(format!("group {}", self.options.group), ErrorCode::FencedInstanceId, None));
        }
        if self.pulse.get() == Verdict::Lost {
            self.forget_identity();
        }
        self.heartbeats = None;
        self.joined = false;
        let mut subscription = Subscription { topics: topics.to_vec(), owned, generation: self.generation };
        loop {
            match self.try_join(&subscription).await {
                Ok(joined) => {
                    self.joined = true;
                    self.pulse.set(Verdict::Member);
                    self.heartbeats = Some(self.beat());
                    return Ok(joined);
                }
                Err(error) => match error.code() {
                    Some(ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress) => {}
                    Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                        self.forget_identity();
                        subscription.owned.clear();
                        subscription.generation = -1;
                    }
                    _ => {
                        if !self.coordinator.recover(&error).await {
                            return Err(error);
                        }
                        tracing::debug!(group = self.options.group, %error, "joining again");
                    }
                },
            }
        }
    }

    async fn try_join(&mut self, subscription: &Subscription) -> Result<Joined, Error> {
        let metadata = subscription.encode()?;
        let options = &self.options;
        let request = JoinGroupRequest {
            group_id: options.group.clone().into(),
            session_timeout_ms: millis(options.session_timeout),
            rebalance_timeout_ms: millis(options.rebalance_timeout),
            member_id: self.member_id.clone().into(),
            group_instance_id: options.instance.clone().map(Into::into),
            protocol_type: "consumer".into(),
            protocols: options
                .assignors
                .iter()
                .map(|assignor| JoinGroupRequestProtocol {
                    name: assignor.name().into(),
                    metadata: metadata.to_vec().into(),
                })
                .collect(),
            reason: None,
        };
        let limit = options.rebalance_timeout + Duration::from_secs(10);
        let answer = self.coordinator.call(i16::MAX, |_| request, limit).await?;
        let body = answer.body()?;
        if ErrorCode::from_code(body.error_code) == ErrorCode::MemberIdRequired {
            self.member_id = body.member_id.to_string();
        }
        Error::check(body.error_code, || format!("join group {}", self.options.group), None)?;
        self.member_id = body.member_id.to_string();
        self.generation = body.generation_id;
        let protocol = body.protocol_name.as_deref().unwrap_or_default().to_owned();
        let assignor =
            Assignor::find(&protocol).ok_or_else(|| Error::Invalid(format!("the group chose {protocol:?}")))?;
        let assignments = if body.leader == body.member_id && !body.skip_assignment {
            self.lead(assignor, &body.members).await?
        } else {
            Vec::new()
        };
        let assignment = self.sync(&protocol, assignments).await?;
        Ok(Joined { assignment, cooperative: assignor.is_cooperative() })
    }

    /// As the group's leader, shares the partitions out.
    async fn lead(
        &self,
        assignor: Assignor,
        members: &[JoinGroupResponseMember<'_>],
    ) -> Result<Vec<SyncGroupRequestAssignment<'static>>, Error> {
        let subscriptions: BTreeMap<String, Subscription> = members
            .iter()
            .map(|member| (member.member_id.to_string(), Subscription::decode(&member.metadata).unwrap_or_default()))
            .collect();
        let topics: BTreeSet<&str> = subscriptions.values().flat_map(|s| s.topics.iter().map(String::as_str)).collect();
        let cluster = self.client.refresh(&topics.iter().copied().collect::<Vec<_>>()).await?;
        let counts = topics
            .iter()
            .filter_map(|topic| Some(((*topic).to_owned(), cluster.topics.get(*topic)?.partitions.len() as i32)))
            .collect();
        let assigned = assignor.assign(&subscriptions, &counts);
        assigned
            .into_iter()
            .map(|(member, partitions)| {
                let assignment = Assignment { partitions }.encode()?;
                Ok(SyncGroupRequestAssignment { member_id: member.into(), assignment: assignment.to_vec().into() })
            })
            .collect()
    }

    async fn sync(
        &self,
        protocol: &str,
        assignments: Vec<SyncGroupRequestAssignment<'static>>,
    ) -> Result<Assignment, Error> {
        let request = SyncGroupRequest {
            group_id: self.options.group.clone().into(),
            generation_id: self.generation,
            member_id: self.member_id.clone().into(),
            group_instance_id: self.options.instance.clone().map(Into::into),
            protocol_type: Some("consumer".into()),
            protocol_name: Some(protocol.to_owned().into()),
            assignments,
        };
        let limit = self.options.rebalance_timeout + Duration::from_secs(10);
        let answer = self.coordinator.call(i16::MAX, |_| request, limit).await?;
        let body = answer.body()?;
        Error::check(body.error_code, || format!("sync with group {}", self.options.group), None)?;
        Assignment::decode(&body.assignment)
            .ok_or_else(|| Error::Malformed("an assignment of another protocol".to_owned()))
    }

    fn forget_identity(&mut self) {
        self.member_id.clear();
        self.generation = -1;
    }

    fn beat(&self) -> Heartbeats {
        let request = HeartbeatRequest {
            group_id: self.options.group.clone().into(),
            generation_id: self.generation,
            member_id: self.member_id.clone().into(),
            group_instance_id: self.options.instance.clone().map(Into::into),
        };
        let beating = Beating {
            request,
            session: self.options.session_timeout,
            coordinator: self.coordinator.clone(),
            pulse: self.pulse.clone(),
        };
        Heartbeats(tokio::spawn(beating.run()))
    }

    /// Leaves the group, so that the others need not wait for the session timeout. A static member stays.
    pub(super) async fn leave(&mut self) -> Result<(), Error> {
        self.heartbeats = None;
        if !self.joined || self.options.instance.is_some() || self.member_id.is_empty() {
            return Ok(());
        }
        self.joined = false;
        let group_id = || self.options.group.clone().into();
        let member = MemberIdentity { member_id: self.member_id.clone().into(), ..Default::default() };
        let make = |version| match version {
            ..=2 => LeaveGroupRequest { group_id: group_id(), member_id: member.member_id, ..Default::default() },
            _ => LeaveGroupRequest { group_id: group_id(), members: vec![member], ..Default::default() },
        };
        let answer = self.coordinator.call(i16::MAX, make, Duration::from_secs(5)).await?;
        let body = answer.body()?;
        Error::check(body.error_code, || format!("leave group {}", self.options.group), None)
    }
}

/// The heartbeat task of one generation.
struct Beating {
    request: HeartbeatRequest<'static>,
    session: Duration,
    coordinator: Arc<Coordinator>,
    pulse: Arc<Pulse>,
}

impl Beating {
    async fn run(self) {
        let interval = (self.session / 3).min(Duration::from_secs(3));
        let mut alive = Instant::now();
        loop {
            sleep(interval).await;
            let verdict = match self.once(interval.max(Duration::from_secs(2))).await {
                Ok(()) => {
                    alive = Instant::now();
                    continue;
                }
                Err(error) => match error.code() {
                    Some(ErrorCode::RebalanceInProgress) => Verdict::Rejoin,
                    Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => Verdict::Lost,
                    Some(ErrorCode::FencedInstanceId) => Verdict::Fenced,
                    _ if alive.elapsed() > self.session => Verdict::Lost,
                    _ => {
                        self.coordinator.recover(&error).await;
                        continue;
                    }
                },
            };
            self.pulse.set(verdict);
            if verdict != Verdict::Rejoin {
                return;
            }
        }
    }

    async fn once(&self, limit: Duration) -> Result<(), Error> {
        let answer = self.coordinator.call(i16::MAX, |_| self.request.clone(), limit).await?;
        Error::check(answer.body()?.error_code, || "heartbeat".to_owned(), None)
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
