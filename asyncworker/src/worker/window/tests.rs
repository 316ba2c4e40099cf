//! The window's rules one by one; `histories` checks them all against the model in `window::channel`.

use super::{Frame, Window};
use crate::Action;

mod histories;
mod model;

fn ack(tag: u64) -> Frame {
    Frame::Ack { tag, multiple: false }
}

fn ack_up_to(tag: u64) -> Frame {
    Frame::Ack { tag, multiple: true }
}

fn reject(tag: u64) -> Frame {
    Frame::Reject { tag, requeue: false }
}

fn requeue(tag: u64) -> Frame {
    Frame::Reject { tag, requeue: true }
}

fn nack(tag: u64) -> Frame {
    Frame::Nack { tag }
}

fn delivered(tags: impl IntoIterator<Item = u64>) -> Window {
    let mut window = Window::new();
    for tag in tags {
        assert!(window.delivered(tag, 0), "tag {tag} ascends");
    }
    window
}

fn conclude(window: &mut Window, tags: impl IntoIterator<Item = u64>, action: Action) {
    for tag in tags {
        assert!(window.conclude(tag, action), "tag {tag} runs");
    }
}

fn flush(window: &mut Window) -> Vec<Frame> {
    let mut frames = Vec::new();
    window.flush(&mut frames);
    frames
}

fn give_back(window: &mut Window) -> Vec<Frame> {
    let mut frames = Vec::new();
    window.give_back(&mut frames);
    frames
}

#[test]
fn a_run_of_accepted_tags_is_one_multiple_ack() {
    let mut window = delivered(1..=100);
    conclude(&mut window, 1..=100, Action::Ack);
    assert_eq!((window.concluded(), window.outstanding()), (100, 100));
    assert_eq!(flush(&mut window), [ack_up_to(100)]);
    assert_eq!((window.concluded(), window.outstanding()), (0, 0));
}

#[test]
fn one_accepted_tag_is_an_ack_that_is_not_multiple() {
    let mut window = delivered(1..=2);
    conclude(&mut window, [1], Action::Ack);
    assert_eq!(flush(&mut window), [ack(1)]);
    conclude(&mut window, [2], Action::Ack);
    assert_eq!(flush(&mut window), [ack(2)]);
}

#[test]
fn the_multiple_ack_spans_handlers_that_ended_in_any_order() {
    let mut window = delivered(1..=6);
    conclude(&mut window, [5, 6], Action::Ack);
    conclude(&mut window, [1, 2], Action::Ack);
    conclude(&mut window, [4, 3], Action::Ack);
    assert_eq!(flush(&mut window), [ack_up_to(6)]);
}

#[test]
fn refused_tags_go_before_the_ack_that_would_cover_them() {
    let mut window = delivered(1..=5);
    conclude(&mut window, [1, 3, 5], Action::Ack);
    conclude(&mut window, [4], Action::Requeue);
    conclude(&mut window, [2], Action::Reject);
    assert_eq!(flush(&mut window), [reject(2), requeue(4), ack_up_to(5)]);
}

#[test]
fn the_ack_names_the_last_accepted_tag_and_no_refused_one() {
    let mut window = delivered(1..=4);
    conclude(&mut window, [1, 2], Action::Ack);
    conclude(&mut window, [3], Action::Reject);
    conclude(&mut window, [4], Action::Requeue);
    assert_eq!(flush(&mut window), [reject(3), requeue(4), ack_up_to(2)]);
}

#[test]
fn one_accepted_tag_among_refused_ones_is_not_multiple() {
    let mut window = delivered(1..=3);
    conclude(&mut window, [1, 2], Action::Reject);
    conclude(&mut window, [3], Action::Ack);
    assert_eq!(flush(&mut window), [reject(1), reject(2), ack(3)]);
}

#[test]
fn nothing_accepted_means_no_ack() {
    let mut window = delivered(1..=2);
    conclude(&mut window, [2, 1], Action::Requeue);
    assert_eq!(flush(&mut window), [requeue(1), requeue(2)]);
}

#[test]
fn no_ack_covers_a_running_tag() {
    let mut window = delivered(1..=7);
    conclude(&mut window, [6, 5, 7, 1, 2], Action::Ack);
    conclude(&mut window, [4], Action::Reject);
    assert_eq!(flush(&mut window), [ack_up_to(2), reject(4), ack(5), ack(6), ack(7)]);
    assert_eq!(window.outstanding(), 1);
    conclude(&mut window, [3], Action::Ack);
    assert_eq!(flush(&mut window), [ack(3)]);
    assert_eq!(window.outstanding(), 0);
}

#[test]
fn a_tag_that_is_settled_is_never_named_again() {
    let mut window = delivered(1..=4);
    conclude(&mut window, [2, 4], Action::Ack);
    assert_eq!(flush(&mut window), [ack(2), ack(4)]);
    conclude(&mut window, [1, 3], Action::Ack);
    assert_eq!(flush(&mut window), [ack_up_to(3)]);
    assert_eq!(flush(&mut window), []);
    assert_eq!(give_back(&mut window), []);
}

#[test]
fn settled_tags_do_not_make_an_ack_multiple() {
    let mut window = delivered(1..=4);
    conclude(&mut window, [1, 2], Action::Ack);
    assert_eq!(flush(&mut window), [ack_up_to(2)]);
    conclude(&mut window, [4], Action::Ack);
    assert_eq!(flush(&mut window), [ack(4)]);
    conclude(&mut window, [3], Action::Ack);
    assert_eq!(flush(&mut window), [ack(3)]);
}

#[test]
fn a_flush_of_nothing_is_no_frame() {
    assert_eq!(flush(&mut Window::new()), []);
    assert_eq!(flush(&mut delivered(1..=3)), []);
}

#[test]
fn a_flush_appends_to_the_frames_it_is_given() {
    let mut window = delivered(1..=2);
    let mut frames = vec![nack(9)];
    conclude(&mut window, [1], Action::Ack);
    window.flush(&mut frames);
    window.give_back(&mut frames);
    assert_eq!(frames, [nack(9), ack(1), nack(2)]);
}

#[test]
fn an_outcome_counts_once() {
    let mut window = delivered(1..=2);
    assert!(window.conclude(2, Action::Ack));
    assert!(!window.conclude(2, Action::Reject), "it has an outcome");
    assert_eq!(flush(&mut window), [ack(2)]);
    assert!(!window.conclude(2, Action::Reject), "it is settled");
    assert_eq!((window.concluded(), window.outstanding()), (0, 1));
    assert_eq!(flush(&mut window), []);
}

#[test]
fn an_unknown_tag_has_no_outcome() {
    let mut window = Window::new();
    assert!(!window.conclude(1, Action::Ack), "nothing came in");
    let mut window_with_gaps = delivered([3, 5, 9]);
    for tag in [0, 1, 2, 4, 6, 7, 8, 10, u64::MAX] {
        assert!(!window_with_gaps.conclude(tag, Action::Ack), "tag {tag} did not come in");
    }
    assert_eq!(window_with_gaps.concluded(), 0);
    conclude(&mut window_with_gaps, [5, 3, 9], Action::Ack);
    assert_eq!(flush(&mut window_with_gaps), [ack_up_to(9)]);
}

#[test]
fn a_tag_that_does_not_ascend_is_ignored() {
    let mut window = delivered([1, 4]);
    for tag in [0, 1, 2, 3, 4] {
        assert!(!window.delivered(tag, 0), "tag {tag} does not ascend");
    }
    assert_eq!(window.outstanding(), 2);
    conclude(&mut window, [1, 4], Action::Ack);
    assert_eq!(flush(&mut window), [ack_up_to(4)]);
    assert!(!window.delivered(4, 0), "nor once everything is settled");
    assert!(window.delivered(5, 0));
}

#[test]
fn tag_zero_is_no_delivery() {
    let mut window = Window::new();
    assert!(!window.delivered(0, 0));
    assert_eq!(give_back(&mut window), []);
}

#[test]
fn the_highest_tags_are_tags_like_any() {
    let mut window = delivered([1, u64::MAX - 1, u64::MAX]);
    conclude(&mut window, [u64::MAX, u64::MAX - 1], Action::Ack);
    assert_eq!(flush(&mut window), [ack(u64::MAX - 1), ack(u64::MAX)]);
    assert!(!window.delivered(u64::MAX, 0));
    conclude(&mut window, [1], Action::Reject);
    assert_eq!(flush(&mut window), [reject(1)]);
}

#[test]
fn a_drain_settles_what_ended_and_gives_back_the_rest_with_one_nack() {
    let mut window = delivered(1..=8);
    conclude(&mut window, [1, 2, 5, 8], Action::Ack);
    conclude(&mut window, [4], Action::Reject);
    let frames = give_back(&mut window);
    assert_eq!(frames, [ack_up_to(2), reject(4), ack(5), ack(8), nack(7)]);
    assert_eq!((window.concluded(), window.outstanding()), (0, 0));
    assert!(!window.conclude(3, Action::Ack), "it was given back");
    assert_eq!(flush(&mut window), []);
    assert_eq!(give_back(&mut window), []);
}

#[test]
fn a_delivery_after_a_drain_is_given_back_by_the_next() {
    let mut window = delivered(1..=2);
    assert_eq!(give_back(&mut window), [nack(2)]);
    assert!(!window.delivered(2, 0));
    assert!(window.delivered(3, 0));
    assert_eq!(give_back(&mut window), [nack(3)]);
}

#[test]
fn a_stuck_handler_does_not_make_the_window_grow() {
    let mut window = delivered([1]);
    let mut frames = Vec::new();
    let mut longest = 0;
    for first in (2_u64..200_000).step_by(100) {
        for tag in first..first + 100 {
            assert!(window.delivered(tag, 0));
        }
        longest = longest.max(window.deliveries.len());
        conclude(&mut window, first..first + 100, Action::Ack);
        frames.clear();
        window.flush(&mut frames);
        assert_eq!(frames.len(), 100);
    }
    assert!(longest <= 202, "{longest} places for 101 outstanding deliveries");
    assert_eq!(give_back(&mut window), [nack(1)]);
}
