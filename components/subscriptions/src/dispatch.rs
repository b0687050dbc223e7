//! The dispatcher of a subscription: what is delivered next, to whom, and what an acknowledgement or a timeout changes.
//!
//! It has no clock and does nothing: [`Dispatcher::step`] takes what has happened, and says what is to be done. What it keeps
//! may be lost at any time; then another one begins at the stored checkpoint, and delivers again what was not settled.

mod consumers;
mod outstanding;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use exesdb_pattern::Pattern;
use exesdb_sdk::packed::{Envelope, Events};
use exesdb_sdk::subscriptions::{
    Advance, Beginning, Delivered, Delivery, DispatcherState, Fed, Input, Joining, Leaving, Outcome, Output,
    Parking, Place, Reading, Refusal, Refusing, Replaying, Resizing, Settings, Settling, Strategy,
    Subscribed,
};

use self::consumers::Consumers;
use self::outstanding::{Event, Outstanding};

/// Events of one read: as many as a page has.
const READ_EVENTS_MAX: usize = 1_000;

/// Events that are read beyond the checkpoint (the rule D5). So many may be delivered again after a fault, because one before
/// them was not settled.
const AHEAD_EVENTS_MAX: usize = 50_000;

/// Events that are parked, and parked events that are forgotten, in one change of what is stored. With so many that are to be
/// stored, nothing is delivered.
const STORED_EVENTS_MAX: usize = 1_000;

/// A consumer has left if it was silent for so many times as long as it may take for an event.
const SILENCES_MAX: u64 = 3;

/// Maximum length of a correlation id in bytes, as in the filters of reads.
const CORRELATION_BYTES_MAX: usize = 256;

/// Maximum length of the reason for which an event is parked, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

const MICROS_OF_MILLI: u64 = 1_000;

/// A subscription at work.
#[derive(Debug)]
pub struct Dispatcher {
    name: String,
    epoch: u64,
    settings: Settings,
    is_of_stream: bool,
    pattern: Option<Pattern>,
    /// Everything before this place was read.
    read: Place,
    is_reading: bool,
    /// Places that were parked before it began, and are not read yet.
    parked_ahead: BTreeSet<Place>,
    outstanding: Outstanding,
    consumers: Consumers,
    storing: Storing,
    acknowledged: u64,
    redelivered: u64,
    ending: Ending,
}

/// Whether a dispatcher is about to end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    /// It is not.
    Not,
    /// The host ends it.
    Drains,
    /// The subscription is to halt, for this reason, when what is settled is stored.
    Halts(String),
    /// It has said that it halts.
    Halted,
}

/// What is to be stored, and when.
#[derive(Debug, Default)]
struct Storing {
    /// The checkpoint that was stored last.
    checkpoint: Place,
    /// When the last one was handed over; none before the first step.
    last: Option<u64>,
    /// Events that were settled since then.
    settled: u32,
    /// By place. An event is among these or `unparked`, as the last word about it says.
    parked: BTreeMap<Place, Parking>,
    unparked: BTreeSet<Place>,
    /// It was handed over, and is not stored yet.
    is_open: bool,
}

impl Storing {
    fn is_full(&self) -> bool {
        self.parked.len() + self.unparked.len() >= STORED_EVENTS_MAX
    }

    fn park(&mut self, parking: Parking) {
        self.unparked.remove(&parking.place);
        self.parked.insert(parking.place, parking);
    }

    fn unpark(&mut self, place: Place) {
        self.parked.remove(&place);
        self.unparked.insert(place);
    }
}

impl Dispatcher {
    /// The dispatcher of a subscription that begins at its checkpoint.
    ///
    /// # Panics
    ///
    /// If the pattern is none, which is checked before it is stored.
    #[must_use]
    pub fn new(Beginning { subscription, epoch, parked }: Beginning) -> Self {
        let checkpoint = subscription.progress.checkpoint;
        let pattern = subscription.selector.pattern.as_deref();
        Self {
            name: subscription.name,
            epoch,
            is_of_stream: matches!(subscription.selector.source, Subscribed::OneStream(_)),
            pattern: pattern.map(|text| Pattern::parse(text).expect("a stored pattern was checked")),
            read: checkpoint,
            is_reading: false,
            parked_ahead: parked.into_iter().collect(),
            outstanding: Outstanding::default(),
            consumers: Consumers::new(subscription.settings.strategy),
            storing: Storing { checkpoint, ..Storing::default() },
            acknowledged: 0,
            redelivered: 0,
            ending: Ending::Not,
            settings: subscription.settings,
        }
    }

    /// Takes what has happened. `now` is in microseconds, and never goes back.
    pub fn step(&mut self, now: u64, inputs: Vec<Input>) -> Outcome {
        let (mut outputs, mut counts) = (Vec::new(), Vec::new());
        for input in inputs {
            match input {
                Input::Page(fed) => self.page(&fed),
                Input::Replay(replaying) => self.replay(&replaying),
                Input::Joined(joining) => self.joined(&joining, &mut outputs),
                Input::Resized(Resizing { consumer, window }) => self.consumers.resize(consumer, window),
                Input::Left(leaving) => self.left(leaving),
                Input::Acknowledged(settling) => counts.push(self.acknowledge(&settling)),
                Input::Refused(refusing) => counts.push(self.refuse(refusing)),
                Input::Stored => self.storing.is_open = false,
                Input::NotStored(reason) => {
                    // What was handed over is delivered again by the next dispatcher.
                    self.storing = Storing { checkpoint: Place::MAX, ..Storing::default() };
                    self.halt(reason);
                }
                Input::Drain => {
                    if self.ending == Ending::Not {
                        self.ending = Ending::Drains;
                    }
                }
            }
        }
        self.pass(now, &mut outputs);
        if self.ending == Ending::Not {
            self.deliver(now, &mut outputs);
            self.go_on_reading(&mut outputs);
        }
        let store_at = self.store(now, &mut outputs);
        if let (Ending::Halts(reason), false) = (&self.ending, self.storing.is_open) {
            outputs.push(Output::Halt(reason.clone()));
            self.ending = Ending::Halted;
        }
        let cut_off_at = self.consumers.silent_since().map(|since| since.saturating_add(self.silence()));
        let wake_at = [self.outstanding.deadline(), cut_off_at, store_at].into_iter().flatten().min();
        let wake_at = wake_at.filter(|_| self.ending != Ending::Halted);
        Outcome { outputs, counts, wake_at }
    }

    /// What it keeps at the moment.
    pub fn state(&mut self) -> DispatcherState {
        let count = |events: usize| u32::try_from(events).unwrap_or(u32::MAX);
        let first = self.outstanding.first();
        DispatcherState {
            read: self.read,
            checkpoint: first.map_or(self.read, |(place, _)| place),
            in_flight: count(self.outstanding.in_flight_count()),
            waiting: count(self.outstanding.waiting_count()),
            retrying: count(self.outstanding.retrying_count()),
            oldest: first.map(|(_, created)| created),
            acknowledged: self.acknowledged,
            redelivered: self.redelivered,
            consumers: self.consumers.states(),
        }
    }

    fn timeout(&self) -> u64 {
        u64::from(self.settings.ack_timeout_ms) * MICROS_OF_MILLI
    }

    /// How long a consumer may be silent.
    fn silence(&self) -> u64 {
        self.timeout().saturating_mul(SILENCES_MAX)
    }

    /// Takes back what was not acknowledged in time, and cuts off who says nothing for long.
    fn pass(&mut self, now: u64, outputs: &mut Vec<Output>) {
        while let Some((place, consumer)) = self.outstanding.overdue(now) {
            if let Some(event) = self.outstanding.get(place) {
                self.consumers.overdue(consumer, place, event.lane, &event.id, now);
            }
            self.try_again(place, "no consumer acknowledged it in time");
        }
        if let Some(since) = now.checked_sub(self.silence()) {
            for consumer in self.consumers.silent(since) {
                self.left(Leaving { consumer, failed: true });
                outputs.push(Output::CutOff(consumer));
            }
        }
    }

    fn page(&mut self, fed: &Fed) {
        if !self.is_reading || fed.from != self.read {
            return;
        }
        self.is_reading = false;
        for (place, envelope) in self.events(&fed.events) {
            // What was read before is not taken twice, whatever the host passes.
            if place < self.read || self.parked_ahead.remove(&place) {
                continue;
            }
            if self.pattern.as_ref().is_none_or(|pattern| pattern.matches(&envelope)) {
                let event = Event::new(envelope.id, self.lane(&envelope), envelope.created);
                self.outstanding.add(place, event);
            }
        }
        self.read = self.read.max(fed.next);
    }

    fn replay(&mut self, replaying: &Replaying) {
        let mut gone: BTreeSet<Place> = replaying.places.iter().copied().collect();
        for (place, envelope) in self.events(&replaying.events) {
            if gone.remove(&place) {
                let event = Event::new(envelope.id, self.lane(&envelope), envelope.created);
                self.outstanding.add_replayed(place, event);
            }
        }
        // Retention or deletion hides them by now.
        for place in gone {
            if !self.outstanding.is_replayed(place) {
                self.storing.unpark(place);
            }
        }
    }

    fn events<'a>(&self, packed: &'a [u8]) -> Vec<(Place, Envelope<'a>)> {
        let is_of_stream = self.is_of_stream;
        let events = Events::new(packed).map(|event| event.expect("the host checks what it passes"));
        events
            .map(|(position, envelope)| (if is_of_stream { envelope.version } else { position }, envelope))
            .collect()
    }

    /// All events have one lane if they are not pinned.
    fn lane(&self, envelope: &Envelope<'_>) -> u64 {
        let correlation = match self.settings.strategy {
            Strategy::RoundRobin | Strategy::DispatchToSingle => return 0,
            Strategy::Pinned => None,
            Strategy::PinnedByCorrelation => correlation_id(envelope.metadata),
        };
        let mut hasher = DefaultHasher::new();
        match &correlation {
            Some(id) => (1, id.as_str()).hash(&mut hasher),
            None => (0, envelope.stream_id).hash(&mut hasher),
        }
        hasher.finish()
    }

    fn joined(&mut self, joining: &Joining, outputs: &mut Vec<Output>) {
        if self.consumers.count() >= self.settings.consumers_max as usize {
            outputs.push(Output::TurnAway(joining.consumer));
        } else {
            self.consumers.join(joining);
        }
    }

    /// The events in flight at a consumer wait again. If the consumer failed, that counts against the first of them alone: a
    /// consumer handles events in order, so it had not begun the others.
    fn left(&mut self, Leaving { consumer, failed }: Leaving) {
        for (at, place) in self.consumers.leave(consumer).into_iter().enumerate() {
            if failed && at == 0 {
                self.try_again(place, "its consumers failed without acknowledging it");
            } else {
                self.outstanding.come_back(place);
            }
        }
    }

    /// Returns how many events were meant.
    fn acknowledge(&mut self, settling: &Settling) -> u32 {
        let consumer = settling.consumer;
        self.consumers.hear(consumer);
        let mut count = 0;
        for place in self.consumers.named(consumer, &settling.events) {
            // One whose time was over counts as long as nobody else has it.
            let is_waiting = self.outstanding.get(place).is_some_and(Event::is_waiting);
            if self.consumers.has(consumer, place) || is_waiting {
                self.take(consumer, place);
                self.consumers.acknowledge(consumer);
                self.acknowledged += 1;
                self.settle(place);
                count += 1;
            }
        }
        count
    }

    /// Returns how many events were meant.
    fn refuse(&mut self, Refusing { consumer, events, refusal }: Refusing) -> u32 {
        self.consumers.hear(consumer);
        let mut count = 0;
        for place in self.consumers.named(consumer, &events) {
            if !self.consumers.has(consumer, place) {
                continue;
            }
            self.take(consumer, place);
            count += 1;
            match &refusal {
                Refusal::Retry => self.try_again(place, "a consumer refused it each time"),
                Refusal::Park(reason) => self.park(place, reason.clone()),
                Refusal::Skip => self.settle(place),
                Refusal::Stop(reason) => {
                    self.outstanding.come_back(place);
                    self.halt(reason.clone());
                }
            }
        }
        count
    }

    fn halt(&mut self, reason: String) {
        if matches!(self.ending, Ending::Not | Ending::Drains) {
            self.ending = Ending::Halts(shortened(reason));
        }
    }

    /// An event is not with its consumer any more.
    fn take(&mut self, consumer: u64, place: Place) {
        if let Some(event) = self.outstanding.get(place) {
            self.consumers.take(consumer, place, event.lane, &event.id);
        }
    }

    /// Counts a failed delivery: the event waits for another one, unless there were too many.
    fn try_again(&mut self, place: Place, reason: &str) {
        if self.outstanding.fail(place) > self.settings.retries_max {
            self.park(place, reason.to_owned());
        } else {
            self.outstanding.come_back(place);
        }
    }

    fn park(&mut self, place: Place, reason: String) {
        let Some((event, _)) = self.outstanding.settle(place) else { return };
        self.storing.settled += 1;
        self.storing.park(Parking { place, deliveries: event.deliveries, reason: shortened(reason) });
    }

    fn settle(&mut self, place: Place) {
        let Some((_, was_parked)) = self.outstanding.settle(place) else { return };
        self.storing.settled += 1;
        if was_parked {
            self.storing.unpark(place);
        }
    }

    /// Delivers what waits, in the order of places, as far as consumers have room.
    fn deliver(&mut self, now: u64, outputs: &mut Vec<Output>) {
        let deadline = now.saturating_add(self.timeout());
        let mut room = if self.storing.is_full() { 0 } else { self.consumers.room() };
        let mut deliveries: BTreeMap<u64, Vec<Delivered>> = BTreeMap::new();
        let mut last = None;
        while room > 0
            && let Some((place, lane)) = self.outstanding.next_waiting(last)
        {
            last = Some((place, lane));
            // In a pinned lane there is no room for what follows, either, so that it stays after this event.
            let Some(consumer) = self.consumers.choose(lane) else { continue };
            let Some(event) = self.outstanding.get(place) else { continue };
            let earlier = event.deliveries;
            self.consumers.send(consumer, place, lane, &event.id);
            self.outstanding.send(place, consumer, deadline);
            self.redelivered += u64::from(earlier > 0);
            room -= 1;
            deliveries.entry(consumer).or_default().push(Delivered { place, earlier });
        }
        let deliver = |(consumer, events)| Output::Deliver(Delivery { consumer, events });
        outputs.extend(deliveries.into_iter().map(deliver));
    }

    /// Reads more if somebody has room for it. Then nothing waits, but for what is in pinned lanes whose consumers have no room.
    fn go_on_reading(&mut self, outputs: &mut Vec<Output>) {
        // Settled events before the checkpoint are forgotten.
        self.outstanding.first();
        let ahead = self.outstanding.beyond_checkpoint();
        let is_full = ahead >= AHEAD_EVENTS_MAX || self.storing.is_full();
        if self.is_reading || self.consumers.room() == 0 || is_full {
            return;
        }
        let buffer = (self.settings.buffer_events as usize).max(1);
        let count = buffer.min(AHEAD_EVENTS_MAX - ahead).min(READ_EVENTS_MAX);
        self.is_reading = true;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        outputs.push(Output::Read(Reading { from: self.read, count }));
    }

    /// Stores what has to be, and says when the next checkpoint is due.
    fn store(&mut self, now: u64, outputs: &mut Vec<Output>) -> Option<u64> {
        let checkpoint = self.outstanding.first().map_or(self.read, |(place, _)| place);
        let is_idle = self.outstanding.in_flight_count() == 0;
        let (is_ending, settings) = (self.ending != Ending::Not, &self.settings);
        let storing = &mut self.storing;
        let interval = u64::from(settings.checkpoint_ms) * MICROS_OF_MILLI;
        let due = storing.last.get_or_insert(now).saturating_add(interval);
        let is_moved = checkpoint > storing.checkpoint;
        let is_worth = is_idle || storing.settled >= settings.checkpoint_events_min;
        let is_due = is_ending || due <= now && is_worth || storing.settled >= settings.checkpoint_events_max;
        let has_parked = !storing.parked.is_empty() || !storing.unparked.is_empty();
        if storing.is_open {
            return None;
        }
        if !(is_moved && is_due || has_parked) {
            return (is_moved && due > now).then_some(due);
        }
        let parked: Vec<Parking> = storing.parked.values().take(STORED_EVENTS_MAX).cloned().collect();
        let unparked: Vec<Place> = storing.unparked.iter().copied().take(STORED_EVENTS_MAX).collect();
        storing.parked.retain(|place, _| parked.last().is_none_or(|last| *place > last.place));
        storing.unparked.retain(|place| unparked.last().is_none_or(|last| place > last));
        // What is parked with the next one would be before the checkpoint without being stored.
        let next = storing.parked.first_key_value().map(|(place, _)| *place);
        let checkpoint = next.map_or(checkpoint, |next| next.min(checkpoint)).max(storing.checkpoint);
        (storing.checkpoint, storing.last, storing.settled, storing.is_open) =
            (checkpoint, Some(now), 0, true);
        let (name, epoch) = (self.name.clone(), self.epoch);
        outputs.push(Output::Store(Advance { name, epoch, checkpoint, parked, unparked }));
        None
    }
}

fn shortened(mut reason: String) -> String {
    while reason.len() > REASON_BYTES_MAX {
        reason.pop();
    }
    reason
}

/// The correlation id in an event's metadata.
fn correlation_id(metadata: &[u8]) -> Option<String> {
    let metadata: serde_json::Value = serde_json::from_slice(metadata).ok()?;
    let id = metadata.get("$correlationId")?.as_str()?;
    (1..=CORRELATION_BYTES_MAX).contains(&id.len()).then(|| id.to_owned())
}
