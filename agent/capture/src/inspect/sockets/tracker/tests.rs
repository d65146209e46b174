//! Descriptors that come, go and are used again, over samples made by hand.

use super::*;
use bytemuck::Zeroable;

fn record(pid: u32, fd: u32, inode: u64) -> SocketRecord {
    SocketRecord {
        tgid: pid,
        fd,
        inode,
        ..Zeroable::zeroed()
    }
}

fn pass(tracker: &mut Tracker, records: &[SocketRecord]) {
    let records = records.iter().map(|record| (*record, [].as_slice()));
    tracker.pass(records, true, Duration::from_millis(1));
}

#[test]
fn a_number_that_has_another_inode_is_closed_opened_and_reused() {
    let mut tracker = Tracker::new(0);
    pass(&mut tracker, &[record(1, 3, 100), record(1, 4, 101)]);
    pass(&mut tracker, &[record(1, 3, 200), record(1, 5, 101)]);
    let counts = tracker.counts();
    assert_eq!(
        (counts.at_start, counts.opened, counts.closed, counts.reused),
        (2, 2, 2, 1),
        "descriptor 4 was closed and 5 opened, which is no reuse"
    );
    let sockets = tracker.sockets(0);
    let shown: Vec<_> = sockets
        .iter()
        .map(|it| (it.fd, it.inode, it.open))
        .collect();
    assert_eq!(
        shown,
        [
            (3, 100, false),
            (3, 200, true),
            (4, 101, false),
            (5, 101, true)
        ]
    );
    let ids: HashSet<_> = sockets.iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn what_a_broken_pass_does_not_show_is_not_closed() {
    let mut tracker = Tracker::new(0);
    pass(&mut tracker, &[record(1, 3, 100), record(1, 4, 101)]);
    let cut = [(record(1, 3, 100), [].as_slice())];
    tracker.pass(cut.into_iter(), false, Duration::ZERO);
    assert_eq!(tracker.counts().closed, 0);
    assert!(tracker.sockets(0).iter().all(|socket| socket.open));
}

#[test]
fn threads_that_show_the_same_descriptor_twice_make_one_sample() {
    let mut tracker = Tracker::new(0);
    pass(&mut tracker, &[record(1, 3, 100), record(1, 3, 100)]);
    assert_eq!(tracker.sockets(0)[0].samples, 1);
}

#[test]
fn the_table_is_bounded_and_what_falls_out_is_counted() {
    let mut tracker = Tracker::new(0);
    let many: Vec<_> = (0..MAX_SOCKETS as u32 + 7)
        .map(|fd| record(1, fd, u64::from(fd)))
        .collect();
    pass(&mut tracker, &many);
    pass(&mut tracker, &many);
    assert_eq!(tracker.untracked, 7, "the same seven in both passes");
    assert_eq!(tracker.sockets(0).len(), MAX_SOCKETS);
    pass(&mut tracker, &[]);
    assert_eq!(tracker.counts().closed, MAX_SOCKETS as u64);
    assert_eq!(tracker.closed_dropped, (MAX_SOCKETS - MAX_CLOSED) as u64);
    assert_eq!(tracker.sockets(0).len(), MAX_CLOSED);
}

#[test]
fn a_window_names_those_that_were_not_empty() {
    let depth = |fd, receive_queue, send_queue| SocketRecord {
        receive_queue,
        send_queue,
        ..record(1, fd, u64::from(fd))
    };
    let mut tracker = Tracker::new(0);
    pass(&mut tracker, &[depth(3, 0, 0), depth(4, 50, 0)]);
    pass(&mut tracker, &[depth(3, 0, 0), depth(4, 20, 7)]);
    let windows = tracker.window();
    let [window] = windows.as_slice() else {
        panic!("{windows:?}");
    };
    let figures = |it: &SocketWindow| (it.receive_last, it.receive_max, it.send_last, it.send_max);
    assert_eq!(figures(window), (20, 50, 7, 7));
    // The next window begins where this one ended.
    pass(&mut tracker, &[depth(3, 0, 0), depth(4, 0, 0)]);
    assert_eq!(figures(&tracker.window()[0]), (0, 20, 0, 7));
    pass(&mut tracker, &[depth(3, 0, 0), depth(4, 0, 0)]);
    assert_eq!(tracker.window(), []);
}
