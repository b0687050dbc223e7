//! What a storage committer needs of batches, borrowed from them.

use crate::bindings::exports::tests::crossing::batches::{
    EntriesPacked, Guard, LogEntry, LogPacked, Packed, Put, PutsPacked, Stamp, StampedPut, Typed,
};

/// The length in a packed guard of a value that must not be there.
const ABSENT: usize = u32::MAX as usize;
/// Bytes of a position.
const POSITION_BYTES: usize = 8;

/// Lists of what is to be checked and written.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    guards: Vec<Entry<'a>>,
    puts: Vec<Entry<'a>>,
    /// Puts, and where in the key (or else the value) which position goes.
    stamps: Vec<(usize, bool, Stamp)>,
    log: Vec<&'a [u8]>,
}

struct Entry<'a> {
    keyspace: &'a str,
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

/// Guards, puts, stamps, events, and the bytes of all: the same whatever the form.
pub(crate) type Size = [usize; 5];

impl<'a> Plan<'a> {
    pub(crate) fn size(&self) -> Size {
        let entries = self.guards.iter().chain(&self.puts);
        let entries =
            entries.map(|entry| entry.keyspace.len() + entry.key.len() + entry.value.map_or(0, <[u8]>::len));
        let bytes = entries.chain(self.log.iter().map(|event| event.len())).sum();
        [self.guards.len(), self.puts.len(), self.stamps.len(), self.log.len(), bytes]
    }

    fn guards(&mut self, guards: &'a [Guard]) {
        self.guards.extend(guards.iter().map(|guard| match guard {
            Guard::Absent(of) => Entry { keyspace: &of.keyspace, key: &of.key, value: None },
            Guard::Equals(of) => Entry { keyspace: &of.keyspace, key: &of.key, value: Some(&of.value) },
        }));
    }

    fn packed_guards(&mut self, mut rest: &'a [u8]) {
        while !rest.is_empty() {
            let [keyspace, key, value] = [(); 3].map(|()| take_number(&mut rest));
            let (keyspace, key) = (text(take(&mut rest, keyspace)), take(&mut rest, key));
            let value = (value != ABSENT).then(|| take(&mut rest, value));
            self.guards.push(Entry { keyspace, key, value });
        }
    }

    fn put(&mut self, keyspace: &'a str, key: &'a [u8], value: &'a [u8]) {
        self.puts.push(Entry { keyspace, key, value: Some(value) });
    }

    fn puts(&mut self, keyspace: &'a str, puts: &'a [Put]) {
        for put in puts {
            self.put(keyspace, &put.key, &put.value);
        }
    }

    fn stamped(&mut self, keyspace: &'a str, puts: &'a [StampedPut]) {
        for put in puts {
            self.put(keyspace, &put.key, &put.value);
            for (in_key, stamps) in [(true, &put.key_stamps), (false, &put.value_stamps)] {
                for stamp in stamps {
                    self.stamp(in_key, *stamp);
                }
            }
        }
    }

    fn packed_puts(&mut self, keyspace: &'a str, mut rest: &'a [u8]) {
        while !rest.is_empty() {
            let [key, value] = [(); 2].map(|()| take_number(&mut rest));
            let counts = take(&mut rest, 4);
            let [key_stamps, value_stamps] =
                [0, 2].map(|at| usize::from(u16::from_le_bytes([counts[at], counts[at + 1]])));
            let mut stamps = take(&mut rest, (key_stamps + value_stamps) * 8);
            let (key, value) = (take(&mut rest, key), take(&mut rest, value));
            self.put(keyspace, key, value);
            for number in 0..key_stamps + value_stamps {
                let [at, offset] = [(); 2].map(|()| take_number(&mut stamps) as u32);
                self.stamp(number < key_stamps, Stamp { at, offset });
            }
        }
    }

    /// A stamp of the last put.
    fn stamp(&mut self, in_key: bool, stamp: Stamp) {
        let put = self.puts.last().expect("a put");
        let bytes = if in_key { put.key.len() } else { put.value.map_or(0, <[u8]>::len) };
        assert!(stamp.at as usize + POSITION_BYTES <= bytes, "a stamp lies in its put");
        self.stamps.push((self.puts.len() - 1, in_key, stamp));
    }

    fn log(&mut self, log: &'a [LogEntry]) {
        self.log.extend(log.iter().map(|entry| match entry {
            LogEntry::Event(envelope) => &**envelope,
            LogEntry::Gap(_) => unreachable!("the guest leaves no gaps"),
        }));
    }

    fn packed_log(&mut self, mut rest: &'a [u8]) {
        while !rest.is_empty() {
            take(&mut rest, POSITION_BYTES);
            self.log.push(take_part(&mut rest));
        }
    }
}

/// The batches of a call, in one of the forms.
pub(crate) trait Batches {
    fn plan(&self) -> Plan<'_>;
}

macro_rules! batches {
    ($($batch:ident { guards: $guards:ident, log: $log:ident, $($puts:ident: $put:ident),+ })*) => {
        $(impl Batches for Vec<$batch> {
            fn plan(&self) -> Plan<'_> {
                let mut plan = Plan::default();
                for batch in self {
                    plan.$guards(&batch.guards);
                    plan.$log(&batch.log);
                    for changes in &batch.changes {
                        $(plan.$put(&changes.keyspace, &changes.$puts);)+
                    }
                }
                plan
            }
        })*
    };
}

batches! {
    Typed { guards: guards, log: log, puts: puts, stamped: stamped }
    LogPacked { guards: guards, log: packed_log, puts: puts, stamped: stamped }
    PutsPacked { guards: guards, log: packed_log, puts: packed_puts, stamped: stamped }
    EntriesPacked { guards: guards, log: packed_log, puts: packed_puts }
    Packed { guards: packed_guards, log: packed_log, puts: packed_puts }
}

/// All batches in one list.
impl Batches for Vec<u8> {
    fn plan(&self) -> Plan<'_> {
        let (mut plan, mut rest) = (Plan::default(), &self[..]);
        while !rest.is_empty() {
            plan.packed_guards(take_part(&mut rest));
            plan.packed_log(take_part(&mut rest));
            for _ in 0..take_number(&mut rest) {
                let keyspace = text(take_part(&mut rest));
                plan.packed_puts(keyspace, take_part(&mut rest));
            }
        }
        plan
    }
}

/// The next bytes. What does not fit is a panic here, and in the host it would be the guest's fault.
fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, behind) = rest.split_at(bytes);
    *rest = behind;
    taken
}

fn take_number(rest: &mut &[u8]) -> usize {
    u32::from_le_bytes(*take(rest, 4).first_chunk().expect("four bytes")) as usize
}

fn take_part<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let bytes = take_number(rest);
    take(rest, bytes)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("names of keyspaces are UTF-8")
}
