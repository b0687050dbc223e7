//! Events, read where they lie: those of a request, and the records of the log.

use exesdb_sdk::packed::{Broken, Envelope, Frame, Frames, Record};
use exesdb_sdk::types::{Error, Position, code, invalid, problem};

/// An event of a request.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// Its position in the request; 0 unless the request gives positions.
    pub position: Position,
    /// The bytes of its envelope.
    pub bytes: &'a [u8],
    /// What the envelope says.
    pub envelope: Envelope<'a>,
}

/// Reads the events of a request. `argument` is their name.
///
/// # Errors
///
/// [`Error::Invalid`], if the bytes are no events.
pub fn read_new<'a>(argument: &str, packed: &'a [u8]) -> Result<Vec<NewEvent<'a>>, Error> {
    let broken = |what: String| invalid(argument, format!("is no list of events: {what}"));
    Frames::new(packed)
        .map(|frame| {
            let Frame { position, record } = frame.map_err(|error| broken(error.to_string()))?;
            let Record::Event(bytes) = record else {
                return Err(broken("it has a gap or a removed event".into()));
            };
            let envelope = Envelope::read(bytes).map_err(|error| broken(error.to_string()))?;
            Ok(NewEvent { position, bytes, envelope })
        })
        .collect()
}

/// An event of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its position.
    pub position: Position,
    /// The bytes of its envelope.
    pub bytes: &'a [u8],
    /// What the envelope says.
    pub envelope: Envelope<'a>,
}

impl Event<'_> {
    /// Whether it is this version of the stream.
    #[must_use]
    pub fn is(&self, stream_id: &str, version: u64) -> bool {
        self.envelope.version == version && self.envelope.stream_id == stream_id
    }
}

/// What stands at a position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged<'a> {
    /// An event.
    Event(Event<'a>),
    /// A removed event.
    Removed,
    /// So many positions without events, from this one on.
    Gap(u64),
}

/// The error for records that are not what they should be, though the host gave them.
pub(crate) fn broken(error: Broken) -> Error {
    problem(code::OTHER, format!("the host gave broken records: {error}"))
}

/// The records of a list of frames, each with its position.
pub fn logged(frames: &[u8]) -> impl Iterator<Item = Result<(Position, Logged<'_>), Error>> {
    Frames::new(frames).map(|frame| {
        let Frame { position, record } = frame.map_err(broken)?;
        let logged = match record {
            Record::Removed { .. } => Logged::Removed,
            Record::Gap { positions } => Logged::Gap(positions),
            Record::Event(bytes) => {
                let envelope = Envelope::read(bytes).map_err(broken)?;
                Logged::Event(Event { position, bytes, envelope })
            }
        };
        Ok((position, logged))
    })
}

/// The events of a list that has nothing else.
pub fn events(frames: &[u8]) -> impl Iterator<Item = Result<Event<'_>, Error>> {
    logged(frames).filter_map(|record| match record {
        Ok((_, Logged::Event(event))) => Some(Ok(event)),
        Ok((_, Logged::Removed | Logged::Gap(_))) => None,
        Err(error) => Some(Err(error)),
    })
}
