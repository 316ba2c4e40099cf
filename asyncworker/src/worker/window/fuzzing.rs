//! The window against the model of the broker's rules, by calls that the engine would not make too.

use super::Window;
use super::channel::{Channel, Fault, Handler, Moment};
use crate::Action;
use crate::fuzzing::Choices;

/// The model looks at all that is outstanding at each step: more octets would only be slow.
const LONGEST: usize = 256;
const ACTIONS: [Action; 4] = [Action::Ack, Action::Ack, Action::Reject, Action::Requeue];

/// Reads the octets as calls to a window, and judges its answers and its frames by the model.
pub fn window(octets: &[u8]) {
    let choices = Choices(&octets[..octets.len().min(LONGEST)]);
    let history = History { window: Window::new(), channel: Channel::default(), last: 0 };
    assert_eq!(history.run(choices), Ok(()));
}

struct History {
    window: Window,
    channel: Channel,
    /// The highest tag that came in.
    last: u64,
}

impl History {
    fn run(mut self, mut choices: Choices<'_>) -> Result<(), Fault> {
        while !choices.is_empty() {
            let choice = choices.octet();
            let number = choice >> 3 & 7;
            let action = ACTIONS[usize::from(choice >> 6)];
            match choice & 7 {
                0 => (0..=number).try_for_each(|_| self.deliver(self.last.saturating_add(1)))?,
                1 => self.deliver(self.last.saturating_add(choices.octet().into()))?,
                // Any number: low, high, one that came before.
                2 => self.deliver(choices.number().rotate_left(8 * u32::from(number)))?,
                3 => self.conclude_from(choices.octet().into(), 1, action)?,
                4 => self.conclude_from(choices.octet().into(), 1 + usize::from(number), action)?,
                5 => self.conclude(u64::from(choices.octet()), action)?,
                6 => self.settle(Moment::Flush)?,
                _ if number == 0 => self.settle(Moment::Drain)?,
                _ => self.conclude(self.last.wrapping_sub(number.into()), action)?,
            }
            self.check()?;
        }
        self.settle(Moment::Drain)?;
        self.check()
    }

    fn deliver(&mut self, tag: u64) -> Result<(), Fault> {
        let ascends = tag > self.last;
        if ascends {
            self.last = tag;
            self.channel.outstanding.insert(tag, Handler::Running);
        }
        right(tag, self.window.delivered(tag, 0), ascends)
    }

    /// Concludes so many tags from this place on, whether or not they run.
    fn conclude_from(&mut self, place: usize, number: usize, action: Action) -> Result<(), Fault> {
        let tags: Vec<u64> = self.channel.outstanding.keys().copied().skip(place).take(number).collect();
        tags.into_iter().try_for_each(|tag| self.conclude(tag, action))
    }

    fn conclude(&mut self, tag: u64, action: Action) -> Result<(), Fault> {
        let running = self.channel.outstanding.get_mut(&tag).filter(|handler| **handler == Handler::Running);
        let runs = running.is_some();
        if let Some(handler) = running {
            *handler = Handler::Ended(action);
        }
        right(tag, self.window.conclude(tag, action), runs)
    }

    fn settle(&mut self, moment: Moment) -> Result<(), Fault> {
        let mut frames = Vec::new();
        match moment {
            Moment::Flush => self.window.flush(&mut frames),
            Moment::Drain => self.window.give_back(&mut frames),
        }
        self.channel.settle(&frames, moment)
    }

    fn check(&self) -> Result<(), Fault> {
        let window = (self.window.concluded(), self.window.outstanding());
        let model = (self.channel.ended(), self.channel.outstanding.len());
        if window != model {
            return Err(Fault::Counts { window, model });
        }
        let (kept, outstanding) = (self.window.deliveries.len(), window.1);
        if kept > 2 * outstanding { Err(Fault::Places { kept, outstanding }) } else { Ok(()) }
    }
}

fn right(tag: u64, answer: bool, right: bool) -> Result<(), Fault> {
    if answer == right { Ok(()) } else { Err(Fault::Answer { tag, answer }) }
}
