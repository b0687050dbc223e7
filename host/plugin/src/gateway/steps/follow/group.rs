//! The task of a group: reads each page once, and sends its bytes to all members.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::bulk::{Sending, ending, sleep_until, time};
use super::super::delivery::Delivery;
use super::super::form::Form;
use super::super::guest::{Guest, Origin, Workers};
use super::super::outflow::Departures;
use super::places::{Next, PAUSE, Pace, Standing, standing, until};
use crate::bindings::gateway::steps::{Cause, Mark};
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::closing::Closing;
use crate::long_read::{PAGE_EVENTS_MAX, Page, Reader};
use crate::trace::Trace;

/// Followers that come to a group.
#[derive(Default)]
pub(super) struct Inbox {
    coming: Mutex<Vec<Sending>>,
    told: Notify,
}

impl Inbox {
    pub(super) fn push(&self, follower: Sending) {
        self.coming.lock().push(follower);
        self.told.notify_one();
    }

    pub(super) fn take(&self) -> Vec<Sending> {
        std::mem::take(&mut self.coming.lock())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.coming.lock().is_empty()
    }
}

/// A group of followers.
pub(super) struct Group {
    origin: Arc<Origin>,
    trace: Trace,
    /// At the place of all members.
    reader: Reader,
    form: Arc<Form>,
    closing: Closing,
    inbox: Arc<Inbox>,
    departures: Arc<Departures>,
    members: HashMap<u64, Member>,
    /// Members so far.
    number: u64,
    /// Followers that wait until the group has come to their place.
    ahead: Vec<Sending>,
    /// When a member has to be looked at, at the earliest.
    due: Option<Instant>,
    pace: Pace,
}

/// A follower that is at the place of its group.
struct Member {
    delivery: Delivery,
    trace: Trace,
}

/// What came of a turn.
#[derive(Default)]
pub(super) struct Turned {
    /// Followers that are not at the group's place any more.
    pub(super) returned: Vec<Sending>,
    /// All members have the end of their response.
    pub(super) is_over: bool,
}

/// Why a turn begins.
enum Wake {
    /// Followers came or left.
    Followers,
    /// There may be something to read.
    News,
    /// A member has to be looked at.
    Due,
    /// The host stops.
    Stopping,
}

impl Group {
    /// The group that a follower begins, and is about to join.
    pub(super) fn of(first: &Sending, inbox: Arc<Inbox>) -> Self {
        let trace = Trace::new();
        let caller = Caller { trace: trace.clone(), request: None };
        Self {
            origin: first.origin.clone(),
            trace,
            reader: Reader { caller, ..first.reader.clone() },
            form: first.form.clone(),
            closing: first.closing.clone(),
            inbox,
            departures: Arc::default(),
            members: HashMap::new(),
            number: 0,
            ahead: Vec::new(),
            due: None,
            pace: Pace::default(),
        }
    }

    /// Whether nobody is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.ahead.is_empty()
    }

    /// Waits until there is something to do, and does it.
    pub(super) async fn turn(&mut self) -> Turned {
        let mut turned = Turned::default();
        let done = match self.wake().await {
            Wake::Followers => {
                self.admit(&mut turned);
                Ok(())
            }
            Wake::Due => self.look_at_members(&mut turned).await,
            Wake::Stopping => Err(Cause::Stopping),
            Wake::News => self.next_page(&mut turned).await,
        };
        if let Err(cause) = done {
            turned.returned.append(&mut self.ahead);
            self.conclude(cause).await;
            turned.is_over = true;
        }
        turned
    }

    async fn wake(&self) -> Wake {
        let news = async {
            if self.ahead.is_empty() && self.reader.reading.is_live() {
                self.reader.news().await;
            }
        };
        tokio::select! {
            () = self.closing.closed() => Wake::Stopping,
            () = self.inbox.told.notified() => Wake::Followers,
            () = self.departures.some() => Wake::Followers,
            () = sleep_until(self.due) => Wake::Due,
            () = news, if !self.is_empty() => Wake::News,
        }
    }

    /// Removes those who left, and looks where those are who came.
    fn admit(&mut self, turned: &mut Turned) {
        for number in self.departures.take() {
            self.members.remove(&number);
        }
        let coming = self.inbox.take();
        self.place(coming, turned);
    }

    fn place(&mut self, coming: Vec<Sending>, turned: &mut Turned) {
        for follower in coming {
            let place = (!self.is_empty()).then(|| place(&self.reader));
            match standing(place, self::place(&follower.reader)) {
                Standing::Joins => {
                    if self.is_empty() {
                        self.reader.reading = follower.reader.reading.clone();
                    }
                    self.join(follower);
                }
                Standing::Waits => self.ahead.push(follower),
                Standing::Behind => turned.returned.push(unreached(follower)),
            }
        }
        if self.members.is_empty() && !self.ahead.is_empty() {
            // Nobody needs what is before the first of them.
            self.ahead.sort_unstable_by_key(|follower| self::place(&follower.reader));
            self.reader.reading = self.ahead[0].reader.reading.clone();
            let (at_place, ahead) = std::mem::take(&mut self.ahead)
                .into_iter()
                .partition(|follower| self::place(&follower.reader) == self::place(&self.reader));
            self.ahead = ahead;
            Vec::into_iter(at_place).for_each(|follower| self.join(follower));
        }
    }

    fn join(&mut self, follower: Sending) {
        let Sending { delivery, trace, .. } = follower;
        self.number += 1;
        if !delivery.out.watch(&self.departures, self.number) {
            return;
        }
        self.due = earlier(self.due, delivery.due(self.slack()));
        self.members.insert(self.number, Member { delivery, trace });
    }

    /// Returns members to themselves, at the place of `reader`.
    fn return_to(&mut self, numbers: Vec<u64>, reader: &Reader, turned: &mut Turned) {
        for number in numbers {
            let Some(Member { delivery, trace }) = self.members.remove(&number) else { continue };
            delivery.out.unwatch();
            let caller = Caller { trace: trace.clone(), request: None };
            turned.returned.push(Sending {
                origin: self.origin.clone(),
                worker: None,
                trace,
                reader: Reader { caller, ..reader.clone() },
                form: self.form.clone(),
                delivery,
                closing: self.closing.clone(),
                unreached: None,
            });
        }
    }

    /// Reads a page, and sends it to all members.
    async fn next_page(&mut self, turned: &mut Turned) -> Result<(), Cause> {
        let before = self.reader.clone();
        let until = until(self.ahead.iter().map(|follower| place(&follower.reader)));
        let (page, encoded) = {
            let turns = self.reader.turns.clone();
            let _turn = turns.shared().await;
            // It is not given up when somebody comes or leaves: under load it would never be read.
            let page = tokio::select! {
                page = self.reader.page(PAGE_EVENTS_MAX, until) => page,
                () = self.closing.closed() => return Err(Cause::Stopping),
            };
            let mut page = page.map_err(Cause::Failed)?;
            let events = std::mem::take(&mut page.events);
            let encoded = match page.count {
                0 => Ok(None),
                _ => self.form.page(&self.guest(), events).await.map(Some),
            };
            let encoded = encoded.map_err(|error| {
                // The responses end before this page.
                self.reader.reading = before.reading.clone();
                Cause::Failed(error)
            })?;
            (page, encoded)
        };
        let behind = self.numbers(Delivery::is_behind);
        self.return_to(behind, &before, turned);
        self.send(page, encoded).await.map_err(Cause::Failed)?;
        if self.reader.reading.is_over() {
            return Err(Cause::Complete);
        }
        let is_short = until.is_some_and(|first| place(&self.reader) < first);
        if is_short && self.reader.reading.is_live() {
            // They wait for what is still to come, or their stream was deleted.
            turned.returned.extend(self.ahead.drain(..).map(unreached));
        }
        let ahead = std::mem::take(&mut self.ahead);
        self.place(ahead, turned);
        Ok(())
    }

    /// Sends a page, and the marks that are due after it.
    async fn send(&mut self, page: Page, encoded: Option<Bytes>) -> Result<(), Error> {
        let (now, reading) = (time(self.origin.context.clock), &self.reader.reading);
        let marks = |(number, member): (&u64, &mut Member)| {
            Some((*number, member.delivery.mark_after(&page, reading, now)?))
        };
        let marks: Vec<(u64, Mark)> = self.members.iter_mut().filter_map(marks).collect();
        let next = reading.next();
        if let Some(encoded) = &encoded {
            for member in self.members.values_mut() {
                member.delivery.push_page(encoded.clone(), next);
                pause(self.pace.delivered()).await;
            }
        } else {
            self.members.values_mut().for_each(|member| member.delivery.push_page(Bytes::new(), next));
        }
        self.send_marks(marks).await
    }

    /// Sends marks of the same time and place, each of which is encoded once.
    async fn send_marks(&mut self, marks: Vec<(u64, Mark)>) -> Result<(), Error> {
        let mut encoded: Vec<(std::mem::Discriminant<Mark>, Bytes)> = Vec::new();
        for (number, mark) in marks {
            let kind = std::mem::discriminant(&mark);
            let bytes = match encoded.iter().find(|(known, _)| *known == kind) {
                Some((_, bytes)) => bytes.clone(),
                None => {
                    let bytes = self.form.mark(&self.guest(), mark).await?;
                    encoded.push((kind, bytes.clone()));
                    bytes
                }
            };
            if let Some(member) = self.members.get(&number) {
                member.delivery.push(bytes);
            }
            pause(self.pace.delivered()).await;
        }
        Ok(())
    }

    /// Sends the marks that are due because nothing was sent for long. Members that take too little, or whose time is over, are
    /// on their own again.
    async fn look_at_members(&mut self, turned: &mut Turned) -> Result<(), Cause> {
        let now = Instant::now();
        let leave = self.numbers(|delivery| {
            delivery.is_behind() || delivery.deadline().is_some_and(|deadline| deadline <= now)
        });
        let reader = self.reader.clone();
        self.return_to(leave, &reader, turned);
        let (time, reading) = (time(self.origin.context.clock), &self.reader.reading);
        let idle = |(number, member): (&u64, &mut Member)| {
            Some((*number, member.delivery.idle_mark(reading, time)?))
        };
        let marks = self.members.iter_mut().filter_map(idle).collect();
        let slack = self.slack();
        self.due = self.members.values().filter_map(|member| member.delivery.due(slack)).min();
        self.send_marks(marks).await.map_err(Cause::Failed)
    }

    /// Ends the responses of all members, with the same bytes.
    async fn conclude(&mut self, cause: Cause) {
        let reading = &self.reader.reading;
        let ended = self.form.end(&self.guest(), ending(cause, reading.next(), reading)).await;
        let members = std::mem::take(&mut self.members).into_values();
        // Without last bytes, they are reset when they are dropped.
        if let Ok((body, trailers)) = ended {
            members.for_each(|member| member.delivery.finish(body.clone(), trailers.clone()));
        }
    }

    fn numbers(&self, choose: impl Fn(&Delivery) -> bool) -> Vec<u64> {
        let chosen = self.members.iter().filter(|(_, member)| choose(&member.delivery));
        chosen.map(|(number, _)| *number).collect()
    }

    fn guest(&self) -> Guest<'_> {
        Guest { workers: Workers::Any(&self.origin), trace: &self.trace }
    }

    fn slack(&self) -> Duration {
        Duration::from_millis(self.form.wanted().slack_ms())
    }
}

/// A follower to which its group does not come.
fn unreached(follower: Sending) -> Sending {
    Sending { unreached: Some(place(&follower.reader)), ..follower }
}

/// Where a reader goes on.
fn place(reader: &Reader) -> u64 {
    reader.reading.next().unwrap_or(0)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

async fn pause(next: Next) {
    match next {
        Next::Goes => {}
        Next::Yields => tokio::task::yield_now().await,
        Next::Pauses => tokio::time::sleep(PAUSE).await,
    }
}
