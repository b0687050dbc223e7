//! Reading a dump. Nothing in it is trusted.

use std::io::Read;

use super::error::InvalidDump;
use super::format::{ENTRY_START_BYTES, HEAD_BYTES, KEYSPACES_MAX, Kind};
use super::frame::{FrameReader, Tally, manifest_payload};
use super::summary::{KeyspaceSummary, Progress, Summary};
use crate::format;
use crate::head::LogHead;
use crate::history::Histories;
use crate::limits;
use crate::name;
use crate::replica::{APPLIED_BYTES, Applied, ReplicaState};

/// Largest number in a head. A store that counts a billion a second reaches it in 292 years. Half of the range is left, so
/// that the restored store can go on counting.
const HEAD_NUMBER_MAX: u64 = u64::MAX / 2;

/// The entries of one frame, checked to be well-formed.
pub(super) struct Entries<'a>(&'a [u8]);

/// The next part of a dump.
pub(super) enum Item<'a> {
    /// A keyspace begins. It has at least one entry.
    Keyspace { owner: &'a str, keyspace: &'a str },
    /// More entries of the keyspace.
    Entries(Entries<'a>),
    /// The dump ended properly.
    End(Summary),
}

/// Reads a dump from its beginning, and checks it.
pub(super) struct Decoder<'a> {
    frames: FrameReader<'a>,
    format: u32,
    head: LogHead,
    histories: Option<Histories>,
    replica: Option<ReplicaState>,
    taken_at: u64,
    /// The keyspaces whose entries have all been read.
    done: Vec<KeyspaceSummary>,
    current: Option<Current>,
}

/// The keyspace whose entries are being read.
struct Current {
    owner: String,
    keyspace: String,
    tally: Tally,
    /// Empty before the first entry.
    last_key: Vec<u8>,
}

/// Verifies a dump from its first byte to its last, and summarizes its contents. Nothing is written.
///
/// # Errors
///
/// [`InvalidDump`], for the first problem.
pub fn inspect(input: &mut dyn Read, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Summary, InvalidDump> {
    let mut decoder = Decoder::begin(input)?;
    loop {
        if let Item::End(summary) = decoder.next()? {
            return Ok(summary);
        }
        decoder.report(progress);
    }
}

impl<'a> Decoder<'a> {
    /// Reads up to the head.
    pub(super) fn begin(input: &'a mut dyn Read) -> Result<Self, InvalidDump> {
        let mut frames = FrameReader::begin(input)?;
        let kind = frames.next()?;
        if kind != Kind::Head {
            return Err(frames.damaged(format!("its first frame is a {kind:?} and not its head")));
        }
        let (bytes, expected) = (frames.payload().len(), frames.head_bytes());
        if bytes != expected {
            return Err(frames.damaged(format!("its head has {bytes} bytes instead of {expected}")));
        }
        let (format, [sequence, next_position, chain, taken_at, time]) = head_numbers(frames.payload());
        let is_of_replica = format == format::REPLICA_FORMAT_VERSION;
        if !format::is_known(format) || (is_of_replica && !frames.is_of_replica()) {
            return Err(InvalidDump::UnknownFormat { found: format });
        }
        if frames.is_of_replica() && !is_of_replica {
            let reason = format!("its head has format {format}, which is not that of a replica");
            return Err(frames.damaged(reason));
        }
        for (what, number) in [("sequence", sequence), ("next position", next_position), ("time", time)] {
            if number > HEAD_NUMBER_MAX {
                return Err(
                    frames.damaged(format!("the {what} of its head is {number}, which no store reaches"))
                );
            }
        }
        if time > 0 && format == format::FORMAT_WITHOUT_LOG {
            let reason = format!("its head has the time {time}, and a store of format {format} has none");
            return Err(frames.damaged(reason));
        }
        let head = LogHead { sequence, next_position, chain, time };
        let histories = if frames.has_histories() { Some(read_histories(&mut frames, head)?) } else { None };
        let replica = if frames.is_of_replica() { Some(read_replica(&mut frames)?) } else { None };
        Ok(Self { frames, format, head, histories, replica, taken_at, done: Vec::new(), current: None })
    }

    /// How far the log of its group was applied, if it is the dump of a replica.
    pub(super) fn replica(&self) -> Option<&ReplicaState> {
        self.replica.as_ref()
    }

    /// The head of the store.
    pub(super) fn head(&self) -> LogHead {
        self.head
    }

    /// Reads the next part. Must not be called after [`Item::End`].
    pub(super) fn next(&mut self) -> Result<Item<'_>, InvalidDump> {
        match self.frames.next()? {
            Kind::Head => Err(self.frames.damaged("it has a second head".into())),
            Kind::Histories => Err(self.frames.damaged("it has histories where none belong".into())),
            Kind::Replica => {
                Err(self.frames.damaged("it has the state of a replica where none belongs".into()))
            }
            Kind::Keyspace => {
                let current = self.begin_keyspace().map_err(|reason| self.frames.damaged(reason))?;
                let current = self.current.insert(current);
                Ok(Item::Keyspace { owner: &current.owner, keyspace: &current.keyspace })
            }
            Kind::Entries => {
                let Some(current) = &mut self.current else {
                    return Err(self.frames.damaged("it has entries that belong to no keyspace".into()));
                };
                let payload = self.frames.payload();
                check_entries(payload, current).map_err(|reason| self.frames.damaged(reason))?;
                Ok(Item::Entries(Entries(payload)))
            }
            Kind::Manifest => {
                self.end_keyspace().map_err(|reason| self.frames.damaged(reason))?;
                let digest = self.frames.digest_before();
                check_manifest(self.frames.payload(), &self.done, digest)
                    .map_err(|reason| self.frames.damaged(reason))?;
                self.frames.end()?;
                Ok(Item::End(Summary {
                    format: self.format,
                    head: self.head,
                    histories: self.histories.take(),
                    replica: self.replica.take(),
                    taken_at: self.taken_at,
                    keyspaces: std::mem::take(&mut self.done),
                    dump_bytes: self.frames.at(),
                    digest,
                }))
            }
        }
    }

    /// Reports the progress so far.
    pub(super) fn report(&self, progress: &mut dyn FnMut(Progress<'_>)) {
        if let Some(current) = &self.current {
            progress(current.tally.progress(&self.done));
        }
    }

    /// Ends the current keyspace, and begins the one that the frame names.
    fn begin_keyspace(&mut self) -> Result<Current, String> {
        self.end_keyspace()?;
        if self.done.len() == KEYSPACES_MAX {
            return Err(format!("it has more than {KEYSPACES_MAX} keyspaces"));
        }
        let mut rest = self.frames.payload();
        let owner = take_name("owner", &mut rest)?;
        let keyspace = take_name("keyspace", &mut rest)?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow the names of a keyspace", rest.len()));
        }
        if let Some(last) = self.done.last()
            && (last.owner.as_str(), last.keyspace.as_str()) >= (owner.as_str(), keyspace.as_str())
        {
            return Err(format!(
                "keyspace {keyspace} of {owner} follows {} of {}, and they must ascend",
                last.keyspace, last.owner
            ));
        }
        let owned = self.done.iter().filter(|done| done.owner == owner).count();
        // A replica applies what was proposed under the limits of another version.
        if owned == limits::OWNER_KEYSPACES_MAX && self.replica.is_none() {
            return Err(format!("{owner} has more than {owned} keyspaces"));
        }
        let tally = Tally::new(&owner, &keyspace);
        Ok(Current { owner, keyspace, tally, last_key: Vec::new() })
    }

    /// Ends the current keyspace, if any.
    fn end_keyspace(&mut self) -> Result<(), String> {
        let Some(current) = self.current.take() else { return Ok(()) };
        if current.last_key.is_empty() {
            return Err(format!("keyspace {} of {} has no entries", current.keyspace, current.owner));
        }
        self.done.push(current.tally.summary());
        Ok(())
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(take_entry(&mut self.0).expect("the entries were checked to be well-formed"))
    }
}

fn read_histories(frames: &mut FrameReader<'_>, head: LogHead) -> Result<Histories, InvalidDump> {
    let kind = frames.next()?;
    if kind != Kind::Histories {
        return Err(frames.damaged(format!("its second frame is a {kind:?} and not its histories")));
    }
    Histories::decode(frames.payload(), head.next_position).map_err(|reason| frames.damaged(reason))
}

fn read_replica(frames: &mut FrameReader<'_>) -> Result<ReplicaState, InvalidDump> {
    let kind = frames.next()?;
    if kind != Kind::Replica {
        return Err(frames.damaged(format!("its third frame is a {kind:?} and not the state of a replica")));
    }
    let state = frames.payload().split_first_chunk::<APPLIED_BYTES>();
    let state = state.and_then(|(applied, membership)| {
        Some(ReplicaState { applied: Applied::decode(applied)?, membership: membership.into() })
    });
    let state = state.ok_or_else(|| frames.damaged("the state of its replica is malformed".into()))?;
    let Applied { id, time, .. } = state.applied;
    for (what, number) in [("index", id.index), ("term", id.term), ("time", time)] {
        if number > HEAD_NUMBER_MAX {
            let reason = format!("the {what} of its replica is {number}, which none reaches");
            return Err(frames.damaged(reason));
        }
    }
    Ok(state)
}

/// The numbers of a head. Those that it does not have are 0.
fn head_numbers(payload: &[u8]) -> (u32, [u64; 5]) {
    let mut whole = [0; HEAD_BYTES];
    whole[..payload.len()].copy_from_slice(payload);
    let (format, numbers) = whole.split_first_chunk::<4>().expect("a head is longer");
    let numbers = <[[u8; 8]; 5]>::try_from(numbers.as_chunks().0).expect("a head has five numbers");
    (u32::from_be_bytes(*format), numbers.map(u64::from_be_bytes))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_name(what: &str, bytes: &mut &[u8]) -> Result<String, String> {
    let cut = || format!("the {what} name of a keyspace is cut short");
    let count = take(bytes, 1).ok_or_else(cut)?[0];
    let name = take(bytes, count.into()).ok_or_else(cut)?;
    let name =
        std::str::from_utf8(name).map_err(|_| format!("the {what} name of a keyspace is not UTF-8"))?;
    name::check(what, name)?;
    Ok(name.to_owned())
}

fn take_entry<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start: &[u8; ENTRY_START_BYTES] = take(bytes, ENTRY_START_BYTES)?.try_into().ok()?;
    let key = take(bytes, u16::from_be_bytes([start[0], start[1]]).into())?;
    let value = take(bytes, u32::from_be_bytes([start[2], start[3], start[4], start[5]]) as usize)?;
    Some((key, value))
}

/// Checks the entries of a frame and their order after the entries before, and counts them.
fn check_entries(payload: &[u8], current: &mut Current) -> Result<(), String> {
    let Current { owner, keyspace, tally, last_key } = current;
    let mut rest = payload;
    let mut last = last_key.as_slice();
    let mut entries = 0;
    while !rest.is_empty() {
        let at = format_args!("entry {entries} of a frame of keyspace {keyspace} of {owner}");
        let (key, value) = take_entry(&mut rest).ok_or_else(|| format!("{at} is cut short"))?;
        if key.is_empty() || key.len() > limits::KEY_BYTES_MAX {
            let max = limits::KEY_BYTES_MAX;
            return Err(format!("the key of {at} has {} bytes; it must have 1 to {max}", key.len()));
        }
        if value.len() > limits::VALUE_BYTES_MAX {
            let max = limits::VALUE_BYTES_MAX;
            return Err(format!("the value of {at} has {} bytes, over the limit of {max}", value.len()));
        }
        if key <= last {
            return Err(format!("the key of {at} does not follow the one before it"));
        }
        last = key;
        entries += 1;
    }
    if entries == 0 {
        return Err(format!("a frame of keyspace {keyspace} of {owner} has no entries"));
    }
    *last_key = last.to_vec();
    tally.add(entries, payload);
    Ok(())
}

/// Checks that the manifest agrees with what was read.
fn check_manifest(payload: &[u8], keyspaces: &[KeyspaceSummary], digest: u128) -> Result<(), String> {
    let expected = manifest_payload(keyspaces, digest);
    if payload == expected {
        return Ok(());
    }
    let claimed = payload.first_chunk::<4>().map(|count| u32::from_be_bytes(*count));
    Err(match claimed {
        Some(claimed) if claimed as usize != keyspaces.len() => {
            format!("its manifest has {claimed} keyspaces, and {} came before it", keyspaces.len())
        }
        _ => "its manifest does not agree with what came before it".into(),
    })
}
