//! The model's own test: it knows right frames from wrong ones.

use super::{ack, ack_up_to, nack, reject, requeue};
use crate::Action;
use crate::worker::window::Frame;
use crate::worker::window::channel::{Channel, Fault, Handler, Moment};

/// A channel whose deliveries are numbered from 1.
fn channel(handlers: &[Handler]) -> Channel {
    Channel { outstanding: (1..).zip(handlers.iter().copied()).collect() }
}

#[test]
fn the_model_knows_right_frames_from_wrong_ones() {
    use Action::{Ack, Reject, Requeue};
    use Handler::{Ended, Running};
    use Moment::{Drain, Flush};

    let right = |handlers: &[Handler], frames: &[Frame], moment| {
        let mut channel = channel(handlers);
        assert_eq!(channel.settle(frames, moment), Ok(()), "{handlers:?} {frames:?}");
    };
    let wrong = |handlers: &[Handler], frames: &[Frame], moment, fault| {
        let mut channel = channel(handlers);
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
