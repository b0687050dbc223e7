//! Decides appends as a streams component does: entries for the ids of events, for each different type and tag, and for the
//! append, and the stream's head with its guard.

use std::hint::black_box;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::CrossingProbe;
use crate::batch::{Batch, Entry, Puts, Required, flat};
use crate::bindings::exports::tests::crossing::batches::{
    Append, Appends, EntriesPacked, Form, Guest, Ids, LogPacked, Packed, PutsPacked, Stamp, Typed,
};
use crate::frame;

/// The position of a stream's first event, with which its keys begin.
const ORIGIN: [u8; 8] = 1_000_000_u64.to_be_bytes();
/// Bytes of a digest in a key.
const DIGEST_BYTES: usize = 12;
/// Where a position is to be filled in.
const HOLE: [u8; 8] = [0; 8];

impl Guest for CrossingProbe {
    fn decide_typed(appends: Appends) -> Vec<Typed> {
        decide(appends)
    }

    fn decide_log_packed(appends: Appends) -> Vec<LogPacked> {
        decide(appends)
    }

    fn decide_puts_packed(appends: Appends) -> Vec<PutsPacked> {
        decide(appends)
    }

    fn decide_entries_packed(appends: Appends) -> Vec<EntriesPacked> {
        decide(appends)
    }

    fn decide_packed(appends: Appends) -> Vec<Packed> {
        decide(appends)
    }

    fn decide_flat(appends: Appends) -> Vec<u8> {
        flat(&decide(appends))
    }

    fn build(form: Form, appends: Appends) {
        match form {
            Form::Nothing => drop(black_box(appends)),
            Form::Typed => drop(black_box(decide::<Typed>(appends))),
            Form::LogPacked => drop(black_box(decide::<LogPacked>(appends))),
            Form::PutsPacked => drop(black_box(decide::<PutsPacked>(appends))),
            Form::EntriesPacked => drop(black_box(decide::<EntriesPacked>(appends))),
            Form::Packed => drop(black_box(decide::<Packed>(appends))),
            Form::Flat => drop(black_box(flat(&decide(appends)))),
        }
    }
}

fn decide<B: Batch>(Appends { appends, now, ids }: Appends) -> Vec<B> {
    appends.into_iter().map(|append| decide_one(append, now, ids)).collect()
}

fn decide_one<B: Batch>(append: Append, now: u64, placed_ids: Ids) -> B {
    let Append { stream_id, next_version, mut events } = append;
    let (mut ids, mut digests, mut labels) = (B::Changes::of("ids"), Vec::new(), Vec::new());
    let mut count = 0;
    frame::walk(&mut events, |envelope| {
        let version = next_version + u64::from(count);
        frame::complete(envelope, version, now);
        let (id, event_type, tags) = frame::texts(envelope);
        let digest = &xxh3_128(id).to_be_bytes()[..DIGEST_BYTES];
        let key_stamps: &[_] = if placed_ids == Ids::Stamped { &[Stamp { at: 0, offset: 0 }] } else { &[] };
        match placed_ids {
            Ids::Together => digests.extend_from_slice(digest),
            Ids::Each | Ids::Stamped => {
                let key: [u8; 8 + DIGEST_BYTES] = join(&ORIGIN, digest);
                ids.put(Entry { key: &key, value: &version.to_be_bytes(), key_stamps, value_stamps: &[] });
            }
        }
        note_label(&mut labels, b't', event_type, count);
        for tag in tags {
            note_label(&mut labels, b'g', tag, count);
        }
        count += 1;
    });

    let last_version = next_version + u64::from(count) - 1;
    let last_key: [u8; 16] = join(&ORIGIN, &last_version.to_be_bytes());
    if placed_ids == Ids::Together {
        ids.put(Entry { key: &last_key, value: &digests, key_stamps: &[], value_stamps: &[] });
    }
    let mut index = B::Changes::of("index");
    let last = [Stamp { at: 0, offset: count - 1 }];
    index.put(Entry { key: &last_key, value: &HOLE, key_stamps: &[], value_stamps: &last });
    let mut label_entries = B::Changes::of("labels");
    for label in labels {
        let key: [u8; DIGEST_BYTES + 8] = join(&label.digest(), &HOLE);
        let key_stamps = &[Stamp { at: DIGEST_BYTES as u32, offset: label.last }];
        label_entries.put(Entry {
            key: &key,
            value: &HOLE,
            key_stamps,
            value_stamps: &[Stamp { at: 0, offset: label.first }],
        });
    }
    let head = |version: u64| join::<16>(&ORIGIN, &version.to_be_bytes());
    let mut streams = B::Changes::of("streams");
    streams.put(Entry {
        key: stream_id.as_bytes(),
        value: &head(last_version),
        key_stamps: &[],
        value_stamps: &[],
    });
    let before = next_version.checked_sub(1).map(head);
    let before = before.as_ref().map(<[u8; 16]>::as_slice);
    let required = Required { keyspace: "streams", key: stream_id.as_bytes(), value: before };
    B::new(required, vec![ids, index, label_entries, streams], events)
}

/// A type or tag of an append, and its first and last event.
struct Label {
    kind: u8,
    text: Vec<u8>,
    first: u32,
    last: u32,
}

fn note_label(labels: &mut Vec<Label>, kind: u8, text: &[u8], event: u32) {
    match labels.iter_mut().find(|label| label.kind == kind && label.text == text) {
        Some(label) => label.last = event,
        None => labels.push(Label { kind, text: text.to_vec(), first: event, last: event }),
    }
}

impl Label {
    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut hash = Xxh3Default::new();
        hash.update(&[self.kind]);
        hash.update(&self.text);
        join(&hash.digest128().to_be_bytes()[..DIGEST_BYTES], &[])
    }
}

fn join<const N: usize>(first: &[u8], second: &[u8]) -> [u8; N] {
    let mut joined = [0; N];
    let (left, right) = joined.split_at_mut(first.len());
    left.copy_from_slice(first);
    right.copy_from_slice(second);
    joined
}
