//! The model: a channel as RabbitMQ keeps it, and what each handler concluded.

use std::collections::BTreeMap;

use super::{ack, ack_up_to, nack, reject, requeue};
use crate::Action;
use crate::worker::window::Frame;

/// What is wrong with the frames of a window, or with its answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// RabbitMQ takes tag 0 for all that is outstanding.
    TagZero,
    /// The tag is not outstanding: 406, and the channel is closed.
    PreconditionFailed(u64),
    /// The handler has not ended.
    StillRunning(u64),
    /// The handler asked for something else.
    NotTheAction { tag: u64, concluded: Action, frame: Frame },
    /// An ack was multiple for one delivery.
    NeedlesslyMultiple(u64),
    /// A concluded delivery was left.
    Unsettled(u64),
    /// A delivery was left by a drain.
    NotGivenBack(u64),
    /// There are more frames than it takes.
    Frames { sent: usize, fewest: usize },
    /// `delivered` or `conclude` gave the wrong answer.
    Answer { tag: u64, answer: bool },
    /// `concluded` and `outstanding` are not what they count.
    Counts { window: (usize, usize), model: (usize, usize) },
    /// The window keeps more places than twice what is outstanding.
    Places { kept: usize, outstanding: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handler {
    Running,
    Ended(Action),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Flush,
    Drain,
}

#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) outstanding: BTreeMap<u64, Handler>,
}

impl Channel {
    /// A channel whose deliveries are numbered from 1.
    fn of(handlers: impl IntoIterator<Item = Handler>) -> Self {
        Self { outstanding: (1..).zip(handlers).collect() }
    }

    pub(super) fn ended(&self) -> usize {
        self.outstanding.values().filter(|&&handler| handler != Handler::Running).count()
    }

    /// The least number of frames that settle all that has ended.
    fn fewest(&self, moment: Moment) -> usize {
        let handlers = || self.outstanding.values().copied();
        let accepted = Handler::Ended(Action::Ack);
        let refused = handlers().filter(|&h| h != accepted && h != Handler::Running).count();
        let before = handlers().take_while(|&h| h != Handler::Running).any(|h| h == accepted);
        let beyond = handlers().skip_while(|&h| h != Handler::Running).filter(|&h| h == accepted).count();
        let given_back = moment == Moment::Drain && handlers().any(|h| h == Handler::Running);
        refused + beyond + usize::from(before) + usize::from(given_back)
    }

    fn receive(&mut self, frame: Frame, moment: Moment) -> Result<(), Fault> {
        let (tag, multiple) = match frame {
            Frame::Ack { tag, multiple } => (tag, multiple),
            Frame::Reject { tag, .. } => (tag, false),
            Frame::Nack { tag } => (tag, true),
        };
        if tag == 0 {
            return Err(Fault::TagZero);
        }
        if !self.outstanding.contains_key(&tag) {
            return Err(Fault::PreconditionFailed(tag));
        }
        let mut covered = 0;
        while let Some((&lowest, _)) = self.outstanding.first_key_value() {
            let named = if multiple { lowest } else { tag };
            if named > tag {
                break;
            }
            let Some(handler) = self.outstanding.remove(&named) else {
                break;
            };
            covered += 1;
            match (handler, frame) {
                (Handler::Ended(Action::Ack), Frame::Ack { .. })
                | (Handler::Ended(Action::Reject), Frame::Reject { requeue: false, .. })
                | (Handler::Ended(Action::Requeue), Frame::Reject { requeue: true, .. }) => {}
                (Handler::Running, Frame::Nack { .. }) if moment == Moment::Drain => {}
                (Handler::Running, _) => return Err(Fault::StillRunning(named)),
                (Handler::Ended(concluded), frame) => {
                    return Err(Fault::NotTheAction { tag: named, concluded, frame });
                }
            }
            if !multiple {
                break;
            }
        }
        match frame {
            Frame::Ack { multiple: true, .. } if covered == 1 => Err(Fault::NeedlesslyMultiple(tag)),
            _ => Ok(()),
        }
    }

    /// Receives the frames of one flush or drain, and checks what they leave.
    pub(super) fn settle(&mut self, frames: &[Frame], moment: Moment) -> Result<(), Fault> {
        let fewest = self.fewest(moment);
        for &frame in frames {
            self.receive(frame, moment)?;
        }
        for (&tag, &handler) in &self.outstanding {
            if handler != Handler::Running {
                return Err(Fault::Unsettled(tag));
            }
            if moment == Moment::Drain {
                return Err(Fault::NotGivenBack(tag));
            }
        }
        if frames.len() != fewest {
            return Err(Fault::Frames { sent: frames.len(), fewest });
        }
        Ok(())
    }
}

#[test]
fn the_model_knows_right_frames_from_wrong_ones() {
    use Action::{Ack, Reject, Requeue};
    use Handler::{Ended, Running};
    use Moment::{Drain, Flush};

    let right = |handlers: &[Handler], frames: &[Frame], moment| {
        let mut channel = Channel::of(handlers.iter().copied());
        assert_eq!(channel.settle(frames, moment), Ok(()), "{handlers:?} {frames:?}");
    };
    let wrong = |handlers: &[Handler], frames: &[Frame], moment, fault| {
        let mut channel = Channel::of(handlers.iter().copied());
        assert_eq!(channel.settle(frames, moment), Err(fault), "{handlers:?} {frames:?}");
    };

    let accepted = [Ended(Ack), Ended(Ack)];
    right(&accepted, &[ack_up_to(2)], Flush);
    wrong(&accepted, &[ack_up_to(0)], Flush, Fault::TagZero);
    wrong(&accepted, &[ack_up_to(3)], Flush, Fault::PreconditionFailed(3));
    wrong(&accepted, &[ack_up_to(2), ack(2)], Flush, Fault::PreconditionFailed(2));
    wrong(&accepted, &[ack_up_to(2), ack_up_to(1)], Flush, Fault::PreconditionFailed(1));
    wrong(&accepted, &[], Flush, Fault::Unsettled(1));
    wrong(&accepted, &[ack(1)], Flush, Fault::Unsettled(2));
    wrong(&accepted, &[ack(1), ack(2)], Flush, Fault::Frames { sent: 2, fewest: 1 });
    wrong(&accepted, &[ack_up_to(1), ack(2)], Flush, Fault::NeedlesslyMultiple(1));
    let returned = Fault::NotTheAction { tag: 1, concluded: Ack, frame: nack(2) };
    wrong(&accepted, &[nack(2)], Drain, returned);

    let mixed = [Ended(Reject), Ended(Ack), Ended(Requeue), Ended(Ack)];
    right(&mixed, &[reject(1), requeue(3), ack_up_to(4)], Flush);
    right(&mixed, &[reject(1), requeue(3), ack_up_to(4)], Drain);
    let covered = Fault::NotTheAction { tag: 1, concluded: Reject, frame: ack_up_to(4) };
    wrong(&mixed, &[ack_up_to(4), reject(1), requeue(3)], Flush, covered);
    let kept = Fault::NotTheAction { tag: 1, concluded: Reject, frame: requeue(1) };
    wrong(&mixed, &[requeue(1), requeue(3), ack_up_to(4)], Flush, kept);
    let dropped = Fault::NotTheAction { tag: 3, concluded: Requeue, frame: reject(3) };
    wrong(&mixed, &[reject(1), reject(3), ack_up_to(4)], Flush, dropped);
    let uncounted = Fault::NotTheAction { tag: 1, concluded: Reject, frame: nack(1) };
    wrong(&mixed, &[nack(1), requeue(3), ack_up_to(4)], Flush, uncounted);

    let running = [Ended(Ack), Running, Ended(Ack), Running];
    right(&running, &[ack(1), ack(3)], Flush);
    right(&running, &[ack(1), ack(3), nack(4)], Drain);
    wrong(&running, &[ack_up_to(3)], Flush, Fault::StillRunning(2));
    wrong(&running, &[ack(1), ack(2), ack(3)], Flush, Fault::StillRunning(2));
    wrong(&running, &[ack(1), ack(3), nack(4)], Flush, Fault::StillRunning(2));
    wrong(&running, &[ack(1), ack(3)], Drain, Fault::NotGivenBack(2));
    wrong(&running, &[ack(1), ack(3), nack(2)], Drain, Fault::NotGivenBack(4));
    let piecemeal = Fault::Frames { sent: 4, fewest: 3 };
    wrong(&running, &[ack(1), ack(3), nack(2), nack(4)], Drain, piecemeal);
    let ended = Fault::NotTheAction { tag: 1, concluded: Ack, frame: nack(4) };
    wrong(&running, &[nack(4)], Drain, ended);
}
