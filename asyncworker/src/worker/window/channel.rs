//! The model: a channel as RabbitMQ keeps it, and what each handler concluded.

use std::collections::BTreeMap;

use super::Frame;
use crate::Action;

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
