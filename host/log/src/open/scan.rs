//! Reading a segment: which records follow each other from its start.

use crate::checkpoint::{self, FORMAT_VERSION, Groups, Unreadable};
use crate::held::{Held, RecordPlace};
use crate::record::{Kind, Op, Raw};

/// What the file of a segment holds.
pub(super) enum Found {
    /// The segment's checkpoint, and what follows it.
    Begun(Scan),
    /// No checkpoint of this segment.
    NotBegun,
    /// A checkpoint of another version of the format.
    OfVersion(u32),
}

/// The records of a segment.
pub(super) struct Scan {
    pub(super) incarnation: u64,
    /// The groups as of the segment's start.
    pub(super) groups: Groups,
    /// The records after the checkpoint that have operations.
    pub(super) records: Vec<Record>,
    /// Where the records end, and the link of the last one.
    pub(super) end: u64,
    pub(super) link: u64,
    /// Where the heads of records end that follow without being linked; `end` if there is none.
    pub(super) torn_end: u64,
    /// The link of the record that ends where the mark is.
    pub(super) link_at_mark: Option<u64>,
}

/// A record with an operation.
pub(super) struct Record {
    pub(super) group: u64,
    pub(super) op: Op,
    /// For entries.
    pub(super) held: Option<Held>,
}

/// Reads the bytes of segment `id`. The mark is at `mark`, if it is in this segment.
pub(super) fn scan(bytes: &[u8], id: u64, mark: Option<u64>) -> Found {
    let Some(first) = Raw::at_start_of(bytes).filter(|raw| raw.kind == Kind::Checkpoint) else {
        return Found::NotBegun;
    };
    let Some((version, header)) = checkpoint::decode_header(first.payload) else { return Found::NotBegun };
    if !first.follows(header.before) || (version == FORMAT_VERSION && header.segment != id) {
        return Found::NotBegun;
    }
    let groups = match checkpoint::decode(first.payload) {
        Ok((_, groups)) => groups,
        Err(Unreadable::Version(version)) => return Found::OfVersion(version),
        Err(Unreadable::Malformed) => return Found::NotBegun,
    };
    let mut scan = Scan {
        incarnation: header.incarnation,
        groups,
        records: Vec::new(),
        end: first.len() as u64,
        link: first.link,
        torn_end: 0,
        link_at_mark: None,
    };
    let mut at = first.len();
    loop {
        if mark == Some(at as u64) {
            scan.link_at_mark = Some(scan.link);
        }
        let Some(raw) = Raw::at_start_of(&bytes[at..]).filter(|raw| raw.follows(scan.link)) else { break };
        if raw.kind != Kind::Opened {
            // A record that follows and makes no sense was written by nobody who knows the format.
            let Some(op) = Op::decode(raw.kind, raw.payload) else { break };
            let place = RecordPlace { segment: id, offset: at as u64, before: scan.link, link: raw.link };
            let held = matches!(op, Op::Entries(_) | Op::Copied(_)).then(|| Held::at(raw.len(), place));
            scan.records.push(Record { group: raw.group, op, held });
        }
        at += raw.len();
        (scan.end, scan.link) = (at as u64, raw.link);
    }
    scan.torn_end = torn_end(bytes, at) as u64;
    Found::Begun(scan)
}

/// How far heads of records lead from `at` on. The file was used before, so what lies there may as well be part of an old
/// record; that it looks like a head is unlikely then, and no harm: the bytes are only kept.
fn torn_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(raw) = Raw::at_start_of(&bytes[at..]) {
        at += raw.len();
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{Found, Scan, scan};
    use crate::checkpoint::{FORMAT_VERSION, Groups, Header, decode_header, encode};
    use crate::record::{HEAD_BYTES, Kind, encode_entries, link, push};

    fn header() -> Header {
        Header { incarnation: 3, segment: 9, before: 17 }
    }

    fn segment(payload: &[u8], records: &[(Kind, Vec<u8>)]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut link = push(&mut bytes, Kind::Checkpoint, 0, payload, header().before);
        let mut ends = vec![bytes.len()];
        for (kind, payload) in records {
            link = push(&mut bytes, *kind, 5, payload, link);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn begun(bytes: &[u8]) -> Scan {
        match scan(bytes, 9, None) {
            Found::Begun(scan) => scan,
            Found::NotBegun | Found::OfVersion(_) => panic!("it was begun"),
        }
    }

    /// The same bytes with the links that belong to them, up to the first record that is cut off.
    fn linked(bytes: &[u8]) -> Vec<u8> {
        let mut linked = bytes.to_vec();
        let (mut at, mut before) = (0, 0);
        while let Some(head) = bytes[at..].first_chunk::<HEAD_BYTES>() {
            let [a, b, c, d, ..] = *head;
            let end = (at + HEAD_BYTES).saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
            let Some(place) = linked.get_mut(end..end.saturating_add(8)) else { break };
            let payload = &bytes[at + HEAD_BYTES..end];
            if at == 0 {
                before = decode_header(payload).map_or(0, |(_, header)| header.before);
            }
            before = link(before, head, payload);
            place.copy_from_slice(&before.to_be_bytes());
            at = end + 8;
        }
        linked
    }

    #[test]
    fn fuzzed_segments_are_read_up_to_where_they_end() {
        let mut records = 0;
        exesdb_fuzz::fuzz("segments", |bytes| {
            for bytes in [bytes.to_vec(), linked(bytes)] {
                if let Found::Begun(scan) = scan(&bytes, 9, Some(bytes.len() as u64 / 2)) {
                    assert!(scan.end <= scan.torn_end && scan.torn_end <= bytes.len() as u64);
                    assert!(scan.records.len() as u64 <= scan.end, "more was read than there is");
                    records += scan.records.len();
                }
            }
        });
        assert!(records > 0, "every input was refused");
    }

    fn records() -> Vec<(Kind, Vec<u8>)> {
        vec![
            (Kind::Opened, vec![1, 2, 3]),
            (Kind::State, b"vote".to_vec()),
            (Kind::Entries, encode_entries(1, &["a".into(), "b".into()])),
        ]
    }

    #[test]
    fn records_are_read_up_to_the_first_that_does_not_follow() {
        let (mut bytes, ends) = segment(&encode(&header(), &Groups::new()), &records());
        bytes.extend([0; 4096]);
        let whole = begun(&bytes);
        assert_eq!((whole.incarnation, whole.end as usize), (3, ends[3]));
        assert_eq!((whole.records.len(), whole.torn_end), (2, whole.end));
        for (index, end) in ends.iter().enumerate().skip(1) {
            let mut bent = bytes.clone();
            bent[end - 1] ^= 1;
            let scan = begun(&bent);
            assert_eq!(scan.end as usize, ends[index - 1], "up to the record before");
            assert_eq!(scan.torn_end as usize, ends[3], "with the heads of all others");
        }
    }

    #[test]
    fn the_link_at_the_mark_is_found() {
        let (bytes, ends) = segment(&encode(&header(), &Groups::new()), &records());
        for (at, expected) in
            [(ends[0], true), (ends[2], true), (ends[3], true), (ends[2] + 1, false), (0, false)]
        {
            let Found::Begun(scan) = scan(&bytes, 9, Some(at as u64)) else { panic!("it was begun") };
            assert_eq!(scan.link_at_mark.is_some(), expected, "{at}");
        }
    }

    #[test]
    fn a_file_without_a_checkpoint_of_its_own_is_not_begun() {
        let payload = encode(&header(), &Groups::new());
        let (bytes, _) = segment(&payload, &records());
        assert!(matches!(scan(&bytes, 8, None), Found::NotBegun), "it was another segment");
        assert!(matches!(scan(&[0; 4096], 9, None), Found::NotBegun));
        assert!(matches!(scan(&[], 9, None), Found::NotBegun));
        for at in 0..payload.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0x10;
            assert!(matches!(scan(&bent, 9, None), Found::NotBegun), "byte {at}");
        }
        let mut other = payload;
        other[3] += 1;
        let (bytes, _) = segment(&other, &[]);
        assert!(matches!(scan(&bytes, 9, None), Found::OfVersion(version) if version == FORMAT_VERSION + 1));
    }

    #[test]
    fn records_that_make_no_sense_end_the_segment() {
        for (kind, payload) in [
            (Kind::Checkpoint, encode(&header(), &Groups::new())),
            (Kind::Entries, vec![0; 3]),
            (Kind::Truncate, vec![0xff; 8]),
            (Kind::Remove, vec![1]),
        ] {
            let (bytes, ends) = segment(&encode(&header(), &Groups::new()), &[(kind, payload)]);
            assert_eq!(begun(&bytes).end as usize, ends[0], "{kind:?}");
        }
    }
}
