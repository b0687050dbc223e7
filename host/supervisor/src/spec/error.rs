//! Why a specification is invalid.

use crate::reason::Reason;

/// Why a specification is invalid: the field, and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Field `id`.
    #[error("id: `{id}` cannot be part of a path; an id is not empty and has no `/`")]
    BadId {
        /// The invalid id.
        id: String,
    },
    /// Field `children`.
    #[error("children: supervisor `{supervisor}` has two children `{id}`; give each its own id")]
    DuplicateId {
        /// The supervisor.
        supervisor: String,
        /// The duplicate id.
        id: String,
    },
    /// Field `intensity`.
    #[error(
        "intensity: the period of supervisor `{supervisor}` is zero; restarts are counted within a period, give it a length"
    )]
    ZeroPeriod {
        /// The supervisor.
        supervisor: String,
    },
    /// Field `significant`.
    #[error(
        "significant: child `{id}` is significant, but its supervisor has auto_shutdown never; set auto_shutdown or drop significant"
    )]
    SignificantWithoutAutoShutdown {
        /// The child.
        id: String,
    },
    /// Field `significant`.
    #[error(
        "significant: child `{id}` is significant and permanent, so its end could never end the supervisor; make it transient or temporary"
    )]
    SignificantPermanent {
        /// The child.
        id: String,
    },
    /// Field `park_when_given_up`.
    #[error(
        "park_when_given_up: child `{id}` is not listed by its supervisor, so nobody could restart it once it is parked; drop park_when_given_up, or list it in a supervisor of its own"
    )]
    ParkUnlisted {
        /// The child.
        id: String,
    },
    /// Field `strategy`.
    #[error(
        "strategy: supervisor `{supervisor}` is simple_one_for_one and has no template; make it with SupervisorSpec::simple or ::dynamic"
    )]
    NoTemplate {
        /// The supervisor.
        supervisor: String,
    },
    /// Field `children`.
    #[error(
        "children: supervisor `{supervisor}` makes its children from a template; start them with start_instance"
    )]
    ChildrenBesideTemplate {
        /// The supervisor.
        supervisor: String,
    },
    /// Field `strategy`.
    #[error("strategy: supervisor `{supervisor}` has a template, which only simple_one_for_one can use")]
    TemplateWithoutSimple {
        /// The supervisor.
        supervisor: String,
    },
}

impl SpecError {
    /// The short form for exit reasons, with OTP's terms where OTP has them.
    pub fn code(&self) -> String {
        match self {
            SpecError::BadId { id } => format!("bad_spec:invalid_id({id})"),
            SpecError::DuplicateId { id, .. } => format!("bad_spec:duplicate_child_name({id})"),
            SpecError::ZeroPeriod { .. } => "bad_flags:invalid_period(0)".to_owned(),
            SpecError::SignificantWithoutAutoShutdown { .. } => {
                "bad_spec:bad_combination(auto_shutdown=never,significant=true)".to_owned()
            }
            SpecError::SignificantPermanent { .. } => {
                "bad_spec:bad_combination(restart=permanent,significant=true)".to_owned()
            }
            SpecError::ParkUnlisted { id } => format!("bad_spec:park_when_given_up({id})"),
            SpecError::NoTemplate { .. } => "bad_spec:no_template".to_owned(),
            SpecError::ChildrenBesideTemplate { .. } => "bad_spec:children_beside_template".to_owned(),
            SpecError::TemplateWithoutSimple { .. } => "bad_flags:template_without_simple".to_owned(),
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        Reason::Error(self.code())
    }
}
