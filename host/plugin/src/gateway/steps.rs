//! Gateways as steps: `exesdb:gateway/steps`. The host holds what a request has open, and makes a step for each event.
//!
//! [`exchange`] has the state of a request and the rules, [`rules`] what a step may consist of; both are pure. [`driver`] is the
//! request's task: it does the actions of a step and waits for what they bring. [`intake`] is the request's body on its way to
//! the gateway, [`outflow`] the response's on its way to the client. [`bulk`] sends one page after the other without a step for
//! each, [`feed`] delivers pages as events; both read with [`reader`], by the place that [`reading`] keeps. What has reached the
//! end and follows is [`follow`]'s, where all that follow the same share a reader. [`form`] is what a bulk read makes of pages,
//! [`delivery`] what one client gets of them. [`guest`] makes each call on any instance, and once more if that ends; [`turns`]
//! bounds those of long reads.

mod bulk;
mod delivery;
mod driver;
mod exchange;
mod exports;
mod feed;
mod follow;
mod form;
mod guest;
mod intake;
pub(crate) mod limits;
mod marker;
mod outflow;
mod room;
mod rules;

pub(super) use crate::long_read::half;
pub(super) use exports::{Exports, Indices};
pub use follow::Followers;
pub(super) use guest::Origin;
pub use intake::LimitedBody;
pub(super) use limits::ROOM_BYTES_MAX;
pub(super) use outflow::StepsBody;
pub(super) use room::Room;
