//! Handlers that misbehave, input that is broken or large, and signals.

use super::Struck;
use crate::chaos::stage::{LIMIT, Stage, client, tail};
use crate::chaos::{LARGEST_BODY, SHUTDOWN_TIMEOUT, SIDE};
use crate::raw::{CONTENT_TYPE, HEADERS, Raw, long, short};
use crate::relay::Manner;
use std::time::{Duration, Instant};

impl Stage {
    pub(super) async fn handler_fails(&mut self) -> Struck {
        const FOR: u64 = 3_000;
        let (_, epochs) = self.accepted_and_epochs();
        let name = crate::unique("fails");
        self.probe(&name, "fails", FOR, 0).await;
        self.probed(&name, "ends").await;
        let runs = self.ledger.read().probed(&name, "starts");
        // Ten at once, and then after pauses that double from 10 ms; other probes may have used the ten up.
        if !(3..=60).contains(&runs) {
            self.problem(format!("a handler that fails each time ran {runs} times in {FOR} ms"));
        }
        self.undisturbed(epochs);
        Struck::default()
    }

    pub(super) async fn handler_in_trouble(&mut self, trouble: &str, number: u64) -> Struck {
        let ((accepted, epochs), failures) = (self.accepted_and_epochs(), self.failures("main"));
        let (name, neighbour) = (crate::unique(trouble), crate::unique("neighbour"));
        self.probe(&name, trouble, number, 0).await;
        self.probed(&name, "starts").await;
        self.probe(&neighbour, "works", 0, 0).await;
        self.probed(&name, "ends").await;
        self.probed(&neighbour, "ends").await;
        self.wait("the main route goes on", LIMIT, |stage| stage.ledger.read().counts().accepted > accepted).await;
        let lost = self.failures("main") - failures;
        if lost > 0 {
            self.problem(format!("a handler that {trouble} has cost {lost} connections"));
        }
        self.undisturbed(epochs);
        Struck::default()
    }

    /// Notes a drain, which has to be over within the time that it was given.
    fn drained(&mut self, (code, took): (Option<i32>, Duration), expected: i32, limit: Duration) {
        self.drains.push(took);
        if code != Some(expected) {
            let printed = self.worker.printed();
            self.problem(format!("the worker ended with {code:?} and not with {expected}: {}", tail(&printed)));
        }
        if took > limit {
            self.problem(format!("the worker took {took:.1?} to end, more than {limit:?}"));
        }
    }

    pub(super) async fn term_in_bulk(&mut self) -> Struck {
        self.hold_one().await;
        let begun = self.begin().await;
        self.weigh();
        let told = Instant::now();
        self.worker.signal("TERM").await;
        self.wait("it stops", LIMIT, |stage| stage.worker.printed().contains("stopping")).await;
        self.hold(false);
        let code = self.worker.end(LIMIT).await.code();
        self.drained((code, told.elapsed()), 0, SHUTDOWN_TIMEOUT + Duration::from_secs(2));
        self.restart_worker();
        self.over(begun, None).await
    }

    pub(super) async fn term_reconnecting(&mut self) -> Struck {
        let begun = self.begin().await;
        self.behave(Manner { refuses: true, ..Manner::default() });
        let failures = self.failures("main");
        self.cut_now().await;
        self.wait("it reconnects", LIMIT, |stage| stage.failures("main") >= failures + 3).await;
        let ended = self.end_worker("TERM").await;
        self.drained(ended, 0, SHUTDOWN_TIMEOUT + Duration::from_secs(2));
        self.behave(Manner::default());
        self.restart_worker();
        self.over(begun, None).await
    }

    pub(super) async fn term_twice(&mut self) -> Struck {
        self.hold_one().await;
        let begun = self.begin().await;
        self.worker.signal("TERM").await;
        self.wait("it stops", LIMIT, |stage| stage.worker.printed().contains("stopping")).await;
        let ended = self.end_worker("TERM").await;
        // At once: not the time that a drain has.
        self.drained(ended, 143, SHUTDOWN_TIMEOUT / 2);
        self.hold(false);
        self.restart_worker();
        self.over(begun, None).await
    }

    pub(super) async fn large_bodies(&mut self) -> Struck {
        let (_, epochs) = self.accepted_and_epochs();
        let dead = format!("{SIDE}.dead");
        let before = client(&self.addresses[0], &self.side_vhost).await.ready(&dead).await;
        let names: Vec<String> = (0..4).map(|_| crate::unique("large")).collect();
        for name in &names {
            self.probe(name, "works", 0, LARGEST_BODY).await;
        }
        let over = crate::unique("over");
        self.probe(&over, "works", 0, 2 * LARGEST_BODY).await;
        for name in &names {
            self.probed(name, "ends").await;
        }
        let there = client(&self.addresses[0], &self.side_vhost).await;
        let end = Instant::now() + LIMIT;
        while there.ready(&dead).await == before && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let rejected = there.ready(&dead).await - before;
        there.close().await;
        if rejected != 1 || self.ledger.read().probed(&over, "starts") > 0 {
            self.problem(format!("of a body over the limit: {rejected} rejected"));
        }
        self.undisturbed(epochs);
        self.weigh();
        Struck::default()
    }

    pub(super) async fn broken_input(&mut self) -> Struck {
        let (_, epochs) = self.accepted_and_epochs();
        let mut raw = Raw::connect_to(&self.addresses[0], &self.vhost).await;
        raw.confirm_select().await;
        let not_utf8 = b"\xff\xfe";
        let deep = (0..40).fold(Vec::new(), |inner, _| [short(b"n"), b"F".to_vec(), long(&inner)].concat());
        let header = [short(not_utf8), b"S".to_vec(), long(b"x")].concat();
        let kinds = [(CONTENT_TYPE, short(not_utf8)), (HEADERS, long(&header)), (HEADERS, long(&deep))];
        for (flags, properties) in &kinds {
            raw.publish_confirmed(&self.queue, *flags, properties, b"broken input").await;
            self.foreign += 1;
        }
        let mine = self.foreign;
        let there = client(&self.addresses[0], &self.vhost).await;
        let dead = format!("{}.dead", self.queue);
        let end = Instant::now() + LIMIT;
        // Among the dead letters are those that handlers refuse, too: the end of the run counts both apart.
        let least = self.ledger.read().counts().rejected.saturating_sub(crate::chaos::PREFETCH.into()) + mine;
        while (there.ready(&dead).await as u64) < least && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        there.close().await;
        self.undisturbed(epochs);
        Struck::default()
    }
}
