//! `exesdb:host/logging`: writes a guest's records to the host's log, marked as the guest's.

use crate::bindings::store::fields::Field;
use crate::bindings::store::logging::{Host, Level};
use crate::state::State;
use crate::text::printable;

/// Fields of a record, as the interface says.
const FIELDS_MAX: usize = 16;

/// Bytes of a field's name and of its value: fields are for identifiers and numbers.
const FIELD_BYTES_MAX: usize = 256;

/// The field in which the SDK's panic hook records the place in the source.
const PANIC_PLACE: &str = "panic.location";

impl Host for State {
    fn log(&mut self, level: Level, message: String, fields: Vec<Field>) {
        let place = fields.iter().find(|field| field.name == PANIC_PLACE);
        let place = place.map(|field| printable(&field.value, FIELD_BYTES_MAX));
        self.log.record(level, &message, place, || printable_fields(&fields));
    }
}

fn printable_fields(fields: &[Field]) -> String {
    let field = |field: &Field| {
        format!("{}={}", printable(&field.name, FIELD_BYTES_MAX), printable(&field.value, FIELD_BYTES_MAX))
    };
    fields.iter().take(FIELDS_MAX).map(field).collect::<Vec<_>>().join(" ")
}
