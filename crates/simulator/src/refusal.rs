/// Why a request gets no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Method,
    Token,
    /// The parameter that is missing or bad.
    Parameter(&'static str),
    Throttled,
    System,
}
