//! Appends and transactions: expected versions, repeats and append conditions.

use exesdb_sdk::types::{AppendCondition, ConditionFailure, Error, Position};

use crate::requests::{AppendRequest, AppendResult, Transaction};
use crate::{Reference, SECOND};

/// By how many microseconds a clock may be set back so that later events take the time of the event before them.
const CLOCK_STEP_MAX: u64 = 60 * SECOND;

impl Reference {
    /// Appends to one stream: a transaction of one append.
    ///
    /// # Errors
    ///
    /// Those of [`Reference::transact`].
    pub fn append(&mut self, request: &AppendRequest) -> Result<AppendResult, Error> {
        let appends = vec![request.clone()];
        let results = self.transact(&Transaction { appends, checks: Vec::new(), conditions: Vec::new() })?;
        Ok(results[0])
    }

    /// Applies all appends of a transaction, or none. Ids take precedence over what the transaction expects.
    ///
    /// # Errors
    ///
    /// [`Error::StreamDeleted`], [`Error::IdConflict`], [`Error::WrongExpectedVersion`], and [`Error::ConditionFailed`] with
    /// the first forbidden event.
    pub fn transact(&mut self, transaction: &Transaction) -> Result<Vec<AppendResult>, Error> {
        let Transaction { appends, checks, conditions } = transaction;
        if let Some(append) = appends.iter().find(|append| self.is_tombstoned(&append.stream_id)) {
            return Err(Error::StreamDeleted(append.stream_id.clone()));
        }
        if let Some(results) = appends.iter().map(|append| self.repeated(append)).collect() {
            return Ok(results);
        }
        let visible = appends.iter().find_map(|append| Some((append, self.visible_id(append)?)));
        if let Some((append, id)) = visible {
            return Err(self.id_conflict(&append.stream_id, id));
        }
        for append in appends {
            self.check_version(&append.stream_id, append.expected)?;
        }
        for check in checks {
            self.check_version(&check.stream_id, check.expected)?;
        }
        for (condition, number) in conditions.iter().zip(0..) {
            if let Some(position) = self.forbidden(condition) {
                return Err(Error::ConditionFailed(ConditionFailure { condition: number, position }));
            }
        }
        Ok(appends.iter().map(|append| self.add_all(append)).collect())
    }

    /// The first result of an append whose events are all visible, at consecutive versions.
    fn repeated(&self, append: &AppendRequest) -> Option<AppendResult> {
        let events: Option<Vec<_>> =
            append.events.iter().map(|event| self.event_with_id(&append.stream_id, &event.id)).collect();
        let events = events?;
        let (first, last) = (events.first()?, events.last()?);
        let is_consecutive = events.iter().map(|event| event.version).eq(first.version..=last.version);
        is_consecutive.then_some(AppendResult {
            first_version: first.version,
            last_version: last.version,
            position: last.position,
        })
    }

    /// The first id of the append that a visible event of its stream has.
    fn visible_id<'a>(&self, append: &'a AppendRequest) -> Option<&'a str> {
        let mut ids = append.events.iter().map(|event| event.id.as_str());
        ids.find(|id| self.event_with_id(&append.stream_id, id).is_some())
    }

    /// The position of the first event that the condition forbids.
    fn forbidden(&self, condition: &AppendCondition) -> Option<Position> {
        let mut matching = self.matching(&condition.query, "");
        let first = matching.find(|event| condition.after.is_none_or(|after| event.position > after));
        first.map(|event| event.position)
    }

    fn add_all(&mut self, append: &AppendRequest) -> AppendResult {
        let first_version = self.next_version(&append.stream_id);
        let created = self.time_of_append(&append.stream_id);
        for event in &append.events {
            self.add(&append.stream_id, self.next_version(&append.stream_id), self.end, created, event);
        }
        AppendResult {
            first_version,
            last_version: self.next_version(&append.stream_id) - 1,
            position: self.end - 1,
        }
    }

    /// The time of an append: not before the stream's last event, unless the clock was set back far.
    fn time_of_append(&self, stream_id: &str) -> u64 {
        match self.last_event(stream_id) {
            Some(last) if last.created.saturating_sub(self.now) <= CLOCK_STEP_MAX => {
                self.now.max(last.created)
            }
            _ => self.now,
        }
    }
}
