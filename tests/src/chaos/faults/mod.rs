//! The faults, one method each: strike, look at what must hold meanwhile, end it, wait until all works again.

mod broker;
mod cluster;
mod handlers;
mod network;

use super::HEARTBEAT;
use super::ledger::FaultNumber;
use super::stage::{Begun, DISK, MEMORY, Stage};
use crate::relay::{Cut, Direction, Manner};
use std::time::{Duration, Instant};

/// A fault of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    BrokerCrash,
    BrokerStop,
    BrokerFrozen,
    BlackHole,
    ResetToBroker,
    ResetToClient,
    CutInFrameToBroker,
    CutInFrameToClient,
    PublisherReset,
    Latency,
    Slices,
    ClosedByOperator,
    QueueDeleted,
    AckTimeout,
    MemoryAlarm,
    DiskAlarm,
    PasswordChanged,
    VhostDeleted,
    MuteServer,
    HandlerFails,
    HandlerPanics,
    HandlerHangs,
    HandlerBlocks,
    TermInBulk,
    TermReconnecting,
    TermTwice,
    LargeBodies,
    BrokenInput,
    LeaderKilled,
    LeaderFrozen,
    NodeStopped,
    MajorityKilled,
    MajorityFrozen,
}

/// How often a message may be handled again because of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Not at all: nothing of the main queue is disturbed.
    Never,
    /// Those whose handler was running when it struck.
    Running,
    /// Told, not judged: the table asks for no more than that nothing is lost.
    Told,
}

/// What came of striking once.
#[derive(Debug, Clone, Default)]
pub(super) struct Struck {
    /// As the ledger counts them, where the main consumer was struck.
    pub(super) faults: Vec<FaultNumber>,
    /// From the fault's end until messages are handled again.
    pub(super) recovery: Option<Duration>,
    /// From the fault until the worker noticed.
    pub(super) noticed: Option<Duration>,
}

impl Fault {
    /// Those of one node, in the order in which the fast tier strikes.
    pub const SINGLE: [Self; 28] = [
        Self::ResetToBroker,
        Self::ResetToClient,
        Self::CutInFrameToBroker,
        Self::CutInFrameToClient,
        Self::PublisherReset,
        Self::BrokerCrash,
        Self::ClosedByOperator,
        Self::Latency,
        Self::Slices,
        Self::BrokerStop,
        Self::BrokerFrozen,
        Self::TermInBulk,
        Self::BlackHole,
        Self::AckTimeout,
        Self::MemoryAlarm,
        Self::DiskAlarm,
        Self::PasswordChanged,
        Self::TermReconnecting,
        Self::QueueDeleted,
        Self::VhostDeleted,
        Self::MuteServer,
        Self::TermTwice,
        Self::HandlerFails,
        Self::HandlerPanics,
        Self::HandlerHangs,
        Self::HandlerBlocks,
        Self::LargeBodies,
        Self::BrokenInput,
    ];

    /// Those of three nodes.
    pub const CLUSTER: [Self; 9] = [
        Self::LeaderKilled,
        Self::MajorityKilled,
        Self::ResetToBroker,
        Self::LeaderFrozen,
        Self::NodeStopped,
        Self::ClosedByOperator,
        Self::MajorityFrozen,
        Self::CutInFrameToClient,
        Self::TermInBulk,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::BrokerCrash => "broker crash (SIGKILL)",
            Self::BrokerStop => "broker stop (SIGTERM)",
            Self::BrokerFrozen => "half-open: the broker stopped (SIGSTOP)",
            Self::BlackHole => "black hole: nothing passes",
            Self::ResetToBroker => "reset after n bytes, to the broker",
            Self::ResetToClient => "reset after n bytes, to the worker",
            Self::CutInFrameToBroker => "cut in a frame, to the broker",
            Self::CutInFrameToClient => "cut in a frame, to the worker",
            Self::PublisherReset => "reset and cut of the publisher",
            Self::Latency => "latency",
            Self::Slices => "one-byte slices",
            Self::ClosedByOperator => "closed by an operator",
            Self::QueueDeleted => "queue deleted under a consumer",
            Self::AckTimeout => "ack timeout of the broker",
            Self::MemoryAlarm => "memory alarm",
            Self::DiskAlarm => "disk alarm",
            Self::PasswordChanged => "password changed",
            Self::VhostDeleted => "vhost deleted",
            Self::MuteServer => "a server that says nothing",
            Self::HandlerFails => "handler fails each time",
            Self::HandlerPanics => "handler panics",
            Self::HandlerHangs => "handler hangs",
            Self::HandlerBlocks => "handler blocks its thread",
            Self::TermInBulk => "SIGTERM in a bulk",
            Self::TermReconnecting => "SIGTERM while reconnecting",
            Self::TermTwice => "SIGTERM twice",
            Self::LargeBodies => "large bodies",
            Self::BrokenInput => "broken input",
            Self::LeaderKilled => "quorum queue's leader killed",
            Self::LeaderFrozen => "quorum queue's leader stopped (SIGSTOP)",
            Self::NodeStopped => "a node of three stopped (SIGTERM)",
            Self::MajorityKilled => "majority of the cluster killed",
            Self::MajorityFrozen => "majority of the cluster stopped (SIGSTOP)",
        }
    }

    pub(super) fn again(self, cluster: bool) -> Again {
        match self {
            Self::PublisherReset
            | Self::Latency
            | Self::Slices
            | Self::QueueDeleted
            | Self::VhostDeleted
            | Self::MemoryAlarm
            | Self::DiskAlarm
            | Self::HandlerFails
            | Self::HandlerPanics
            | Self::HandlerHangs
            | Self::HandlerBlocks
            | Self::LargeBodies
            | Self::BrokenInput => Again::Never,
            Self::LeaderKilled
            | Self::LeaderFrozen
            | Self::NodeStopped
            | Self::MajorityKilled
            | Self::MajorityFrozen => Again::Told,
            _ if cluster => Again::Told,
            _ => Again::Running,
        }
    }
}

impl Stage {
    pub(super) async fn strike(&mut self, fault: Fault) -> Struck {
        match fault {
            Fault::BrokerCrash => self.node_down("kill").await,
            Fault::BrokerStop => self.node_down("stop").await,
            Fault::BrokerFrozen => self.frozen().await,
            Fault::BlackHole => self.black_hole().await,
            Fault::ResetToBroker => self.cut(Direction::ToBroker, Cut::Reset).await,
            Fault::ResetToClient => self.cut(Direction::ToClient, Cut::Reset).await,
            Fault::CutInFrameToBroker => self.cut(Direction::ToBroker, Cut::InFrame).await,
            Fault::CutInFrameToClient => self.cut(Direction::ToClient, Cut::InFrame).await,
            Fault::PublisherReset => self.publisher_reset().await,
            Fault::Latency => {
                let latency = Duration::from_millis(self.random.u64(5..60));
                self.slow(Manner { latency, ..Manner::default() }).await
            }
            Fault::Slices => self.slow(Manner { slices: true, ..Manner::default() }).await,
            Fault::ClosedByOperator => self.closed_by_operator().await,
            Fault::QueueDeleted => self.queue_deleted().await,
            Fault::AckTimeout => self.ack_timeout().await,
            Fault::MemoryAlarm => self.alarm(&["set_vm_memory_high_watermark", "absolute", "1MB"], &MEMORY).await,
            Fault::DiskAlarm => self.alarm(&["set_disk_free_limit", "100000GB"], &DISK).await,
            Fault::PasswordChanged => self.password_changed().await,
            Fault::VhostDeleted => self.vhost_deleted().await,
            Fault::MuteServer => self.mute_server().await,
            Fault::HandlerFails => self.handler_fails().await,
            Fault::HandlerPanics => self.handler_in_trouble("panics", 0).await,
            Fault::HandlerHangs => self.handler_in_trouble("hangs", 0).await,
            // More than two heartbeats, after which either side gives up the other.
            Fault::HandlerBlocks => self.handler_in_trouble("blocks", 1_000 * (2 * u64::from(HEARTBEAT) + 1)).await,
            Fault::TermInBulk => self.term_in_bulk().await,
            Fault::TermReconnecting => self.term_reconnecting().await,
            Fault::TermTwice => self.term_twice().await,
            Fault::LargeBodies => self.large_bodies().await,
            Fault::BrokenInput => self.broken_input().await,
            Fault::LeaderKilled => self.leader("kill").await,
            Fault::LeaderFrozen => self.leader("pause").await,
            Fault::NodeStopped => self.leader("stop").await,
            Fault::MajorityKilled => self.majority("kill").await,
            Fault::MajorityFrozen => self.majority("pause").await,
        }
    }

    async fn over(&mut self, begun: Begun, noticed: Option<Duration>) -> Struck {
        let recovery = self.end(begun, true).await;
        Struck { faults: vec![begun.fault], recovery: Some(recovery), noticed }
    }

    fn accepted_and_epochs(&self) -> (u64, u64) {
        let books = self.ledger.read();
        (books.counts().accepted, books.epochs())
    }

    /// The main route still has the channel that it had.
    fn undisturbed(&mut self, epochs: u64) {
        let now = self.ledger.read().epochs();
        if now != epochs {
            self.problem(format!("the main route was disturbed: {} channels more", now - epochs));
        }
    }

    /// A probe goes through. Gives how long it took.
    async fn probe_works(&mut self, of: &str) -> Duration {
        let name = crate::unique(of);
        let since = Instant::now();
        self.probe(&name, "works", 0, 0).await;
        self.probed(&name, "ends").await;
        since.elapsed()
    }
}
