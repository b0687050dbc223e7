//! The streams component that ships with exesdb, with the exports without which it would not be loaded and no others: to see what
//! a store says of what its component lacks.

use exesdb_streams::Streams;

exesdb_sdk::persistence_plugin!(Streams: stream_writes, stream_reads);
// It has the original's description, because it uses the original's state.
exesdb_sdk::describe_component!(exesdb_streams::describe);
